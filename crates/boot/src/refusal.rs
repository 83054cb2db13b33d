//! Every way in which a request is not granted: one word each, the same in the answer, in the audit and on the console.
//!
//! To a machine that asked for its script a refusal is a valid script: fixed text, nothing of the request in it. iPXE drops
//! the body of any other answer, so the status is 200 there; but 503 with `Retry-After` makes every iPXE ask again by
//! itself, without end and without a restart, so that is how machines are parked.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use metalform_model::ReportPhase;
use serde_json::{Value, json};

/// Why not.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The peer's address lies outside of `[boot] allow`.
    #[error("this address may not use the boot plane")]
    NetworkNotAllowed,
    /// No living node has that id or address.
    #[error("no such server is known here")]
    UnknownServer,
    /// The peer's address is not the node's.
    #[error("this is not the address of that server")]
    ForeignAddress,
    /// No `t`.
    #[error("the boot token is missing")]
    TokenMissing,
    /// `t` is not the attempt's token.
    #[error("the boot token is not the right one")]
    TokenWrong,
    /// The token alone, in an attempt that has had a session.
    #[error("the boot token was exchanged for a session, whose signature is missing")]
    SessionNeeded,
    /// A signature, where no session was begun.
    #[error("this server has no session")]
    SessionUnknown,
    /// No signature of the session's key over this request.
    #[error("the signature is not that of the session's key over this request")]
    SignatureWrong,
    /// A request of the session that was made before, or one that was overtaken.
    #[error("a request of this session with the number {last} was made before")]
    SignatureStale {
        /// The greatest number so far.
        last: u64,
    },
    /// Plain HTTP, where the script pins TLS.
    #[error("the boot script of this round pins TLS, and this came over plain HTTP")]
    TlsRequired,
    /// Another key has this round's session.
    #[error("the session of this boot is another key's")]
    SessionTaken,
    /// The body names no key.
    #[error("the body names no key: {reason}")]
    BadSession {
        /// What the reader found.
        reason: String,
    },
    /// The token alone has fetched as many documents as it may.
    #[error("the boot token alone has fetched {limit} documents in this round")]
    TooManyDocuments {
        /// So many are allowed.
        limit: u32,
    },
    /// The script is fetched too often.
    #[error("this server asks for its script too often")]
    TooManyScripts,
    /// No boot attempt is open.
    #[error("this server is not being installed")]
    NotInstalling,
    /// The node has its system: boot from the disk.
    #[error("this server is installed and boots from its disk")]
    Installed,
    /// Later.
    #[error("this server has to wait")]
    NotNow,
    /// Directory or recorder don't answer.
    #[error("the store does not answer")]
    StoreAway,
    /// There is no script for this node: no such template, a value that can't stand in a script, or a method without meaning.
    #[error("there is no script for this server")]
    NoScript,
    /// What its image set says of itself can't be read now, so nobody knows what its script would have to hold.
    #[error("the image set of this server can not be read now")]
    SetUnreadable,
    /// Something else than `t` in the query.
    #[error("the only query parameter is t")]
    UnknownParameter,
    /// The last part of the path is no IPv4 address.
    #[error("that is no IPv4 address")]
    BadAddress,
    /// The last part of the path is no step of a boot script.
    #[error("that is no step of a boot script")]
    BadStep,
    /// The node's image set has no manifest, so its installer can't be configured.
    #[error("there is no Arizona document for this server")]
    NoArizona,
    /// Its user data is a URL where a script in it asked, or the other way round.
    #[error("the user data of this server is of the other kind")]
    OtherUserData,
    /// It was asked whether it is.
    #[error("this server is not installed")]
    NotInstalled,
    /// The query is no progress of an installer.
    #[error("the query is no progress: {reason}")]
    BadProgress {
        /// What is missing.
        reason: &'static str,
    },
    /// The body is no report.
    #[error("the body is no report: {reason}")]
    BadReport {
        /// What the reader found.
        reason: String,
    },
    /// The body is longer than a report may be.
    #[error("the body is longer than {limit} bytes")]
    ReportTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The installation does not run backwards.
    #[error("phase {phase} can't follow {last}", phase = phase.as_str(), last = last.as_str())]
    PhaseBackwards {
        /// Reported now.
        phase: ReportPhase,
        /// Committed before.
        last: ReportPhase,
    },
    /// No such file in the set, or no such set.
    #[error("there is no such image file")]
    UnknownImage,
    /// The range begins behind the end.
    #[error("the range lies beyond the file's {len} bytes")]
    RangeBeyond {
        /// Length of the file.
        len: u64,
    },
    /// The file is there but can't be read.
    #[error("the image file can't be read")]
    ImageUnreadable,
    /// The file is not what the manifest of its set says.
    #[error("the image file is not what its set's manifest says")]
    ImageUnverified,
    /// Its digest is still being computed.
    #[error("the image file is being checked")]
    ImageNotReady,
    /// Not ready to boot machines.
    #[error("not ready: {reason}")]
    NotReady {
        /// What is missing.
        reason: String,
    },
    /// No such path.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// Wrong method for the path.
    #[error("this path does not take that method")]
    WrongMethod,
}

impl Refusal {
    /// Stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NetworkNotAllowed => "network_not_allowed",
            Refusal::UnknownServer => "unknown_server",
            Refusal::ForeignAddress => "foreign_address",
            Refusal::TokenMissing => "token_missing",
            Refusal::TokenWrong => "token_wrong",
            Refusal::SessionNeeded => "session_needed",
            Refusal::SessionUnknown => "session_unknown",
            Refusal::SignatureWrong => "signature_wrong",
            Refusal::SignatureStale { .. } => "signature_stale",
            Refusal::TlsRequired => "tls_required",
            Refusal::SessionTaken => "session_taken",
            Refusal::BadSession { .. } => "bad_session",
            Refusal::TooManyDocuments { .. } => "too_many_documents",
            Refusal::TooManyScripts => "too_many_scripts",
            Refusal::NotInstalling => "not_installing",
            Refusal::Installed => "installed",
            Refusal::NotNow => "not_now",
            Refusal::StoreAway => "store_away",
            Refusal::NoScript => "no_script",
            Refusal::SetUnreadable => "image_set_unreadable",
            Refusal::UnknownParameter => "unknown_parameter",
            Refusal::BadAddress => "bad_address",
            Refusal::BadStep => "bad_step",
            Refusal::NoArizona => "no_arizona",
            Refusal::OtherUserData => "other_user_data",
            Refusal::NotInstalled => "not_installed",
            Refusal::BadProgress { .. } => "bad_progress",
            Refusal::BadReport { .. } => "bad_report",
            Refusal::ReportTooLarge { .. } => "report_too_large",
            Refusal::PhaseBackwards { .. } => "phase_backwards",
            Refusal::UnknownImage => "unknown_image",
            Refusal::RangeBeyond { .. } => "range_beyond",
            Refusal::ImageUnreadable => "image_unreadable",
            Refusal::ImageUnverified => "image_unverified",
            Refusal::ImageNotReady => "image_not_ready",
            Refusal::NotReady { .. } => "not_ready",
            Refusal::UnknownPath => "unknown_path",
            Refusal::WrongMethod => "wrong_method",
        }
    }

    /// The status everywhere but on the script route.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::UnknownParameter
            | Refusal::BadAddress
            | Refusal::BadStep
            | Refusal::BadSession { .. }
            | Refusal::BadProgress { .. }
            | Refusal::BadReport { .. } => StatusCode::BAD_REQUEST,
            Refusal::TokenMissing => StatusCode::UNAUTHORIZED,
            Refusal::NetworkNotAllowed
            | Refusal::ForeignAddress
            | Refusal::TokenWrong
            | Refusal::SessionNeeded
            | Refusal::SessionUnknown
            | Refusal::SignatureWrong
            | Refusal::TlsRequired => StatusCode::FORBIDDEN,
            Refusal::UnknownServer
            | Refusal::NoScript
            | Refusal::NoArizona
            | Refusal::UnknownImage
            | Refusal::UnknownPath => StatusCode::NOT_FOUND,
            Refusal::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotInstalling
            | Refusal::Installed
            | Refusal::OtherUserData
            | Refusal::NotInstalled
            | Refusal::SignatureStale { .. }
            | Refusal::SessionTaken
            | Refusal::PhaseBackwards { .. } => StatusCode::CONFLICT,
            Refusal::TooManyDocuments { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::ReportTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::RangeBeyond { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Refusal::NotNow
            | Refusal::TooManyScripts
            | Refusal::StoreAway
            | Refusal::SetUnreadable
            | Refusal::ImageUnreadable
            | Refusal::ImageUnverified
            | Refusal::ImageNotReady
            | Refusal::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may be granted later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::NetworkNotAllowed => "add the machine's network to `[boot] allow`",
            Refusal::UnknownServer => "deploy a plan that names it, or correct the URL in the server's user data",
            Refusal::ForeignAddress => {
                "ask from the node's `mgmt_ip`; with NAT in between set `[boot] source_check = \"off\"`"
            }
            Refusal::TokenMissing => "the URL in the server's user data ends in `?t=TOKEN`",
            Refusal::TokenWrong => "a token is good for one boot attempt: reinitialize the server for a new one",
            Refusal::SessionNeeded | Refusal::SessionUnknown | Refusal::SignatureWrong => {
                "the agent of this boot signs what it asks for; restart the machine for another exchange"
            }
            Refusal::TlsRequired => {
                "ask over https:// on the same port; an agent that is older than the service needs a new image set: \
                 `metalform image overlay --agent`"
            }
            Refusal::SignatureStale { .. } => "sign it again with a greater number",
            Refusal::SessionTaken => "restart the machine: each fetch of its script allows another session",
            Refusal::BadSession { .. } => "send {\"key\": \"64 hex digits\"}: an Ed25519 public key",
            Refusal::TooManyDocuments { .. } => "each fetch of the boot script allows as many again",
            Refusal::NotInstalling => "`metalform status` says where the node stands",
            Refusal::Installed => "to install it again, retry the cluster",
            Refusal::NotNow | Refusal::TooManyScripts | Refusal::ImageNotReady => "ask again after Retry-After",
            Refusal::StoreAway => "ask again after Retry-After; the service's own log says what the store lacks",
            Refusal::SetUnreadable => "`metalform explain` says why; the machine asks again by itself",
            Refusal::NoScript => "the service's log names the template or value at fault",
            Refusal::UnknownParameter => "remove everything from the query but `t`",
            Refusal::BadAddress => "use the node's `mgmt_ip`",
            Refusal::BadStep => {
                "a step is dhcp, kernel, initrd, boot, boot-checked, boot-unchecked, retry, error-kernel-digest, error-initrd-digest, tls-untrusted, tls-failed, or error- and the value of ${errno}"
            }
            Refusal::OtherUserData => {
                "[ibm_cloud] user_data holds for the boot attempts that begin after it was set; `metalform retry` begins one"
            }
            Refusal::NotInstalled => "ask whether its boot attempt is open",
            Refusal::NoArizona => "import the image set with `metalform image import`: its manifest names the files",
            Refusal::BadProgress { .. } => "POST <monitoring_url_root>&step=<step>&offset=<number>",
            Refusal::BadReport { .. } => "send {seq, phase, status, percent, message, log, facts} as JSON",
            Refusal::ReportTooLarge { .. } => "send fewer log lines at once",
            Refusal::PhaseBackwards { .. } => "a machine that started again reports `booting` first",
            Refusal::UnknownImage => "SHA256SUMS lists the files of a set",
            Refusal::RangeBeyond { .. } => "HEAD tells the length",
            Refusal::ImageUnreadable => "the service needs read permission: 0644 for files, 0755 for folders",
            Refusal::ImageUnverified => "`metalform image verify SET` tells what is wrong; import the set again",
            Refusal::NotReady { .. } => "the service's own log says what is missing",
            Refusal::UnknownPath => {
                "machines use /boot/ipxe, /boot/attempt, /boot/step, /boot/session, /boot/server, /boot/arizona, /boot/report, /boot/progress and /pxe/images"
            }
            Refusal::WrongMethod => "GET and HEAD everywhere, POST for sessions, reports and progress",
        }
    }

    fn details(&self) -> Value {
        match self {
            Refusal::BadReport { reason } | Refusal::BadSession { reason } | Refusal::NotReady { reason } => {
                json!({ "reason": reason })
            }
            Refusal::SignatureStale { last } => json!({ "last": last }),
            Refusal::TooManyDocuments { limit } => json!({ "limit": limit }),
            Refusal::ReportTooLarge { limit } => json!({ "limit": limit }),
            Refusal::PhaseBackwards { phase, last } => json!({ "phase": phase, "last": last }),
            Refusal::RangeBeyond { len } => json!({ "len": len }),
            _ => json!({}),
        }
    }

    /// Seconds; short for what a restart of something mends, longer for what waits for its turn.
    fn retry_after(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Refusal::NotNow => "30",
            Refusal::TooManyDocuments { .. } => "60",
            _ => "10",
        })
    }

    /// For everybody but iPXE.
    pub(crate) fn into_json(self) -> Response {
        let body = json!({"error": {
            "code": self.code(), "message": self.to_string(), "hint": self.hint(), "details": self.details(),
        }});
        let mut response = (self.status(), Json(body)).into_response();
        if self.is_transient() {
            response.headers_mut().insert(header::RETRY_AFTER, self.retry_after());
        }
        if let Refusal::RangeBeyond { len } = self {
            let range = HeaderValue::try_from(format!("bytes */{len}")).expect("digits are a header value");
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }

    /// For a beacon: without `Retry-After`, which would make iPXE ask again without end, and nothing may hold up a boot for
    /// the sake of being told of it.
    pub(crate) fn into_final_json(self) -> Response {
        let mut response = self.into_json();
        response.headers_mut().remove(header::RETRY_AFTER);
        response
    }

    /// For iPXE.
    pub(crate) fn into_script(self) -> Response {
        let script = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        let status = if self.is_transient() { self.status() } else { StatusCode::OK };
        let mut response = (status, script, self.script()).into_response();
        if self.is_transient() {
            response.headers_mut().insert(header::RETRY_AFTER, self.retry_after());
        }
        response
    }

    /// A refused machine restarts after a minute and asks again; where `reboot` is not compiled in, the firmware goes on.
    /// An installed one boots from its disk: `sanboot` does it under BIOS and often fails under UEFI, where leaving iPXE
    /// lets the firmware take its next boot entry.
    pub(crate) fn script(&self) -> String {
        let then = match self {
            Refusal::Installed => "sanboot --no-describe --drive 0x80 || exit 0\n",
            _ => "echo Metalform: restarting in 60 seconds to ask again\nsleep 60\nreboot || exit 1\n",
        };
        format!("#!ipxe\necho Metalform: {self} [{}]\n{then}", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::TemplateFault;

    const ON_THE_SCRIPT_ROUTE: [Refusal; 13] = [
        Refusal::NetworkNotAllowed,
        Refusal::UnknownServer,
        Refusal::ForeignAddress,
        Refusal::TokenMissing,
        Refusal::TokenWrong,
        Refusal::NotInstalling,
        Refusal::Installed,
        Refusal::NotNow,
        Refusal::TooManyScripts,
        Refusal::StoreAway,
        Refusal::SetUnreadable,
        Refusal::NoScript,
        Refusal::OtherUserData,
    ];

    #[test]
    fn a_refusal_to_a_machine_is_a_script_that_ipxe_can_run() {
        assert_eq!(
            Refusal::UnknownServer.script(),
            "#!ipxe\n\
             echo Metalform: no such server is known here [unknown_server]\n\
             echo Metalform: restarting in 60 seconds to ask again\n\
             sleep 60\n\
             reboot || exit 1\n"
        );
        for refusal in ON_THE_SCRIPT_ROUTE {
            let script = refusal.script();
            let faults: Vec<(usize, TemplateFault)> = crate::script::lint(&script);
            assert!(faults.is_empty(), "{faults:?}");
            assert!(script.contains(&format!("[{}]", refusal.code())));
            let echoed: Vec<&str> = script.lines().filter(|line| line.starts_with("echo ")).collect();
            assert!(!echoed.is_empty());
            for line in echoed {
                assert!(line.bytes().all(|b| b.is_ascii_alphanumeric() || b" :,._[]".contains(&b)), "{line}");
            }
        }
    }

    #[test]
    fn an_installed_machine_is_sent_to_its_disk_and_never_restarted() {
        assert_eq!(
            Refusal::Installed.script(),
            "#!ipxe\n\
             echo Metalform: this server is installed and boots from its disk [installed]\n\
             sanboot --no-describe --drive 0x80 || exit 0\n"
        );
    }

    #[test]
    fn machines_are_parked_and_not_restarted_when_waiting_helps() {
        for (refusal, status, retry_after) in [
            (Refusal::NotNow, 503, Some("30")),
            (Refusal::TooManyScripts, 503, Some("10")),
            (Refusal::StoreAway, 503, Some("10")),
            (Refusal::SetUnreadable, 503, Some("10")),
            (Refusal::TokenWrong, 200, None),
            (Refusal::Installed, 200, None),
        ] {
            let response = refusal.into_script();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        }
    }
}
