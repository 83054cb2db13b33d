//! Metalform's nouns and decisions: the plan, nodes and clusters with their phases, what comes next, and the documents
//! that machines get. Nothing here does I/O, waits, or reads a clock.

mod account;
mod api_role;
mod api_token;
mod arizona_document;
pub mod audit_action;
mod boot_step;
mod causes;
mod cluster;
mod config_document;
mod decide_accounts;
mod decide_cluster;
mod decide_formation;
mod decide_node;
mod decision;
mod driver;
mod event;
mod evidence;
mod explain;
mod fold;
mod formation;
mod image_manifest;
mod installer_call;
mod node;
mod pace;
mod password_rules;
mod plan;
mod plan_fault;
mod plan_hash;
mod plan_reader;
pub mod plan_rules;
mod profile;
mod report;
mod resource;
mod session;
mod settings;
mod status;
mod time;
mod trust_level;
mod user;
mod web_session;

pub use account::{Account, AccountRecord, AccountState};
pub use api_role::{ApiRole, Scope};
pub use api_token::{ApiToken, Lifetime, LifetimeError, TokenStanding};
pub use arizona_document::{InstallerFiles, MONITORING_URL_ROOT, arizona_document};
pub use boot_step::BootStep;
pub use causes::with_causes;
pub use cluster::{ClusterPhase, ClusterRecord, Intents, Site, SubnetFacts};
pub use config_document::{NodeNetwork, node_config};
pub use decide_accounts::{SecurePlace, ShowPassword};
pub use decide_cluster::{ClusterAction, ClusterDecision, ClusterLooks, ClusterView, cluster_looks, decide_cluster};
pub use decide_node::{
    CvmLook, NodeAction, NodeDecision, NodeLooks, NodeView, ShowCredentials, decide_node, node_deadline, node_looks,
};
pub use decision::{Decision, Failure, Trouble};
pub use driver::{Driver, Offer, Surface, choose_driver};
pub use event::{Event, NewEvent, kind};
pub use evidence::{AuditEntry, Evidence, Seen};
pub use explain::{Awaited, Diagnosis, Explanation, Observed, RefusedRequest, explain_node};
pub use fold::SecureOutcome;
pub use formation::{
    Advice, Check, ChecksBefore, CleanStep, Cleaning, ClusterSeen, FormationAttempt, FormationJob, FormationSeen,
    FormationState, JobSays, MemberSays, MemberSeen, Refusal, failed_checks,
};
pub use image_manifest::{
    ARIZONA_WORD, DEFAULT_FILE, IMAGE_SET_DIGITS, INITRD_FILE, ImageFile, ImageManifest, ImageRole, InstalledBy,
    KERNEL_FILE, MANIFEST_FILE, MANIFEST_FORMAT, MAX_DEFAULT_BYTES, MAX_MANIFEST_BYTES, Recipe, SUMS_FILE,
    is_image_file_name, is_image_set_id, is_image_set_name, is_made_image_set_id,
};
pub use installer_call::InstallerCall;
pub use node::{
    BootAttempt, BootProgress, CvmAnswer, CvmProgress, HeldScript, InlineScript, NodePhase, NodeRecord, PartialImage,
    PowerAction, PowerCall, RefusedImage, ServerSeen, ServerStatus, SessionSeen, StepSeen,
};
pub use pace::{Pace, TooFast};
pub use password_rules::{BadPassword, MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS, check_password};
pub use plan::{
    ChosenBy, ClusterPlan, DataDrive, DriveSelector, FormationChoice, NodePlan, Placement, Plan, Role, Start,
};
pub use plan_fault::{Place, PlanFault, Severity};
pub use plan_hash::plan_hash;
pub use plan_reader::{CheckedPlan, MAX_PLAN_BYTES, PlanFormat, read_plan};
pub use plan_rules::words::nearest;
pub use profile::{Profile, ProfileFileError, Profiles};
pub use report::{Finding, Report, ReportPhase, ReportStatus, Verdict};
pub use resource::{Resource, ResourceState, Slot, resource_name};
pub use session::{RequestSignature, SIGNATURE_HEADER, SessionKey, SessionTextError, Trust, signed_text};
pub use settings::Timeouts;
pub use status::{ClusterStatus, NodeStatus};
pub use time::{Clock, Timestamp, in_words};
pub use trust_level::{BootTrust, ImagesInIpxe, ScriptOrigin, TrustLevel};
pub use user::User;
pub use web_session::{SessionStanding, SingleSignOn, WebSession};
