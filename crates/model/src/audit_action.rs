//! The stable words of the audit for what was tried. `docs/audit.md` tells what each means; a test holds the two together.

/// A call of the control plane that reads.
pub const API_GET: &str = "api.get";
/// A call of the control plane that adds or asks for something.
pub const API_POST: &str = "api.post";
/// A call of the control plane that lets something go.
pub const API_DELETE: &str = "api.delete";
/// A call of the control plane by a method that it has no route for.
pub const API_OTHER: &str = "api.other";
/// An address whose token was wrong too often is not listened to for a while.
pub const API_LOCKED_OUT: &str = "api.locked_out";
/// A plan was accepted.
pub const CLUSTER_DEPLOY: &str = "cluster.deploy";
/// A cluster is to be gone.
pub const CLUSTER_DESTROY: &str = "cluster.destroy";
/// What failed of a cluster gets another try.
pub const CLUSTER_RETRY: &str = "cluster.retry";
/// A cluster whose plan waits for the word is to be formed.
pub const CLUSTER_FORM: &str = "cluster.form";
/// An API token was made.
pub const TOKEN_CREATE: &str = "token.create";
/// An API token was revoked.
pub const TOKEN_REVOKE: &str = "token.revoke";
/// Somebody logged in, or was refused.
pub const SESSION_LOGIN: &str = "session.login";
/// Somebody logged out.
pub const SESSION_LOGOUT: &str = "session.logout";
/// The sessions of somebody were ended by an admin, or by the service.
pub const SESSION_END: &str = "session.end";
/// An account whose password was wrong too often is not listened to for a while.
pub const SESSION_LOCKED_OUT: &str = "session.locked_out";
/// A user was made.
pub const USER_CREATE: &str = "user.create";
/// A user was removed.
pub const USER_REMOVE: &str = "user.remove";
/// A user got another password.
pub const USER_PASSWORD: &str = "user.password";
/// A cluster's passwords were read.
pub const CREDENTIALS_READ: &str = "credentials.read";
/// Everything that is sealed was sealed under another secret key.
pub const SECRET_ROTATE: &str = "secret.rotate";
/// A machine asked for its boot script.
pub const BOOT_SCRIPT: &str = "boot.script";
/// A script in user data asked whether its boot attempt is open.
pub const BOOT_ATTEMPT: &str = "boot.attempt";
/// A machine exchanged its boot token for a session.
pub const BOOT_SESSION: &str = "boot.session";
/// A machine asked for its configuration.
pub const BOOT_CONFIG: &str = "boot.config";
/// The installer asked for its Arizona document.
pub const BOOT_ARIZONA: &str = "boot.arizona";
/// A boot script told where it stands, and was refused.
pub const BOOT_STEP: &str = "boot.step";
/// A machine reported, and was refused.
pub const BOOT_REPORT: &str = "boot.report";
/// The installer told of its progress, and was refused.
pub const BOOT_PROGRESS: &str = "boot.progress";
/// A boot image was asked for.
pub const BOOT_IMAGE: &str = "boot.image";
/// Something else of the boot plane was asked for, and refused.
pub const BOOT_OTHER: &str = "boot.other";
/// The service runs without looking at the addresses that machines ask from.
pub const SOURCE_CHECK_OFF: &str = "boot.source_check_off";
/// Records of the boot plane were dropped while the database could not be written.
pub const RECORDS_LOST: &str = "boot.records_lost";
/// A boot attempt began: its token is good from now on.
pub const ATTEMPT_OPENED: &str = "boot.attempt_opened";
/// A boot attempt ended: its token is worth nothing any more.
pub const ATTEMPT_CLOSED: &str = "boot.attempt_closed";
/// The service began to work.
pub const SERVICE_STARTED: &str = "service.started";
/// The service was told to stop, and did.
pub const SERVICE_STOPPED: &str = "service.stopped";
/// The service found the audit not to be as its signed heads say.
pub const AUDIT_CHECKED: &str = "audit.checked";

/// All of them.
pub const ALL: [&str; 37] = [
    API_GET,
    API_POST,
    API_DELETE,
    API_OTHER,
    API_LOCKED_OUT,
    CLUSTER_DEPLOY,
    CLUSTER_DESTROY,
    CLUSTER_RETRY,
    CLUSTER_FORM,
    TOKEN_CREATE,
    TOKEN_REVOKE,
    SESSION_LOGIN,
    SESSION_LOGOUT,
    SESSION_END,
    SESSION_LOCKED_OUT,
    USER_CREATE,
    USER_REMOVE,
    USER_PASSWORD,
    CREDENTIALS_READ,
    SECRET_ROTATE,
    BOOT_SCRIPT,
    BOOT_ATTEMPT,
    BOOT_SESSION,
    BOOT_CONFIG,
    BOOT_ARIZONA,
    BOOT_STEP,
    BOOT_REPORT,
    BOOT_PROGRESS,
    BOOT_IMAGE,
    BOOT_OTHER,
    SOURCE_CHECK_OFF,
    RECORDS_LOST,
    ATTEMPT_OPENED,
    ATTEMPT_CLOSED,
    SERVICE_STARTED,
    SERVICE_STOPPED,
    AUDIT_CHECKED,
];
