//! Everything a command can end badly with, told once, at the edge: what failed, its causes, what to do next; and the
//! exit code that goes with it.

use crate::{output::Output, output::clean, plan_faults::fault_line};
use metalform_model::{ClusterStatus, Failure};
use serde_json::{Value, json};
use std::{error::Error as StdError, fmt, io, path::PathBuf};
use thiserror::Error;

/// Why a command could not be carried out.
#[derive(Debug, Error)]
pub enum CliError {
    /// Nothing listens there, or the network is in the way.
    #[error("no service answers at {server}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What the last attempt came to.
        source: RootCause,
    },
    /// Somebody listens there, and can't be talked to in confidence.
    #[error("{}", fault.says(server))]
    Tls {
        /// Its address.
        server: String,
        /// What is wrong.
        fault: TlsFault,
        /// In the words of the TLS library.
        source: RootCause,
    },
    /// The connection was made and broke; the service may have got the request.
    #[error("could not {doing}: the connection to {server} broke")]
    Broken {
        /// What was asked.
        doing: String,
        /// The service's address.
        server: String,
        /// How it broke.
        source: RootCause,
    },
    /// The connection was made, and then nothing came.
    #[error("could not {doing}: {server} doesn't answer")]
    Silent {
        /// What was asked.
        doing: String,
        /// The service's address.
        server: String,
    },
    /// The service said no, in its own words.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// What answers isn't a Metalform service.
    #[error("could not {doing}: {server} answers {status}, and not the way Metalform does")]
    Foreign {
        /// What was asked.
        doing: String,
        /// Its address.
        server: String,
        /// HTTP status.
        status: u16,
    },
    /// The service wants a token and there is none.
    #[error("there is no token for the service at {server}")]
    NoToken {
        /// The service's address.
        server: String,
        /// Where it was looked for.
        file: PathBuf,
        /// What became of that.
        source: io::Error,
    },
    /// The service's address can't be one.
    #[error("{address:?} can't be the service's address: {why}")]
    BadServer {
        /// As it was given.
        address: String,
        /// Why not.
        why: &'static str,
    },
    /// The certificates to trust can't be used.
    #[error("the certificates in {} can't be used", .path.display())]
    BadCertificates {
        /// `METALFORM_CA_FILE`, or what the configuration names.
        path: PathBuf,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A file that was named can't be read.
    #[error("can't read {name}")]
    Unreadable {
        /// Path, or `standard input`.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The file of server profiles is wrong.
    #[error("the server profiles in {} can't be used", .path.display())]
    BadProfiles {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: metalform_model::ProfileFileError,
    },
    /// A plan that the plan alone shows to be wrong.
    #[error("{name} has {}", count(*.errors, "error"))]
    BadPlan {
        /// The plan's file.
        name: String,
        /// How many.
        errors: usize,
        /// Every fault, warnings too, as documents.
        faults: Value,
    },
    /// Scripts that would strand a machine.
    #[error("{} in {}", count(*.errors, "error"), count(*.files, "script"))]
    BadScripts {
        /// How many.
        errors: usize,
        /// How many scripts were checked.
        files: usize,
        /// Every fault, as documents.
        faults: Value,
    },
    /// Deployments that ended badly.
    #[error("{}", not_ready(.0))]
    NotReady(Vec<ClusterStatus>),
    /// A cluster that vanished while it was watched.
    #[error("the cluster {cluster} was released while it was awaited")]
    ReleasedMeanwhile {
        /// Its name.
        cluster: String,
    },
    /// The configuration is wrong.
    #[error("the configuration can't be used")]
    Config(#[source] metalform_service::ConfigError),
    /// The service could not start, or stopped badly.
    #[error("the service stopped")]
    Serve(#[source] metalform_service::ServeError),
    /// A secret can't be kept, or its key not be changed.
    #[error("the secrets can't be worked on")]
    Secret(#[source] metalform_service::SecretError),
    /// `doctor` found something.
    #[error("{} found", count(*.0, "problem"))]
    Unwell(usize),
    /// A folder or file of our own could not be made.
    #[error("could not {doing} {}", .path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Faults of a demo that can't strike in the world it would have.
    #[error("{} can't strike {whom}", names.join(", "))]
    IdleFaults {
        /// Of the faults.
        names: Vec<String>,
        /// What such a world has.
        whom: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A flag of emulated machines, and there are none.
    #[error("{0} is of emulated machines, and these are simulated")]
    NotEmulated(&'static str),
    /// The simulated world could not be started.
    #[error("the simulated world can't be started")]
    Simulator(#[source] metalform_simulator::faces::SimulatorError),
    /// The lab of emulated machines can't be made.
    #[error("the lab of emulated machines can't be made")]
    Lab(#[source] crate::lab::LabError),
    /// The simulated world gave a configuration that can't be read back.
    #[error("the simulated world's own configuration can't be read")]
    SimulatorConfig(#[source] toml::de::Error),
    /// An image set that can't be made.
    #[error("nothing was imported")]
    Import(#[source] metalform_images::ImportError),
    /// An image set that can't be added to.
    #[error("no image set was made")]
    Overlay(#[source] metalform_images::OverlayError),
    /// An image set that can't be looked at.
    #[error("the image set can't be checked")]
    ImageSet(#[source] metalform_images::SetError),
    /// The folder of image sets.
    #[error("the image sets can't be shown")]
    Images(#[source] metalform_images::FileError),
    /// No folder where image sets should be.
    #[error("there is no folder of image sets {}", .dir.display())]
    NoImageFolder {
        /// As it was given.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder of other things.
    #[error("there is no image set in {}, and other things are", .0.display())]
    NoImageSets(PathBuf),
    /// A default that no machine gets.
    #[error("the default image set {id:?} is not in {}", .dir.display())]
    NoDefaultSet {
        /// What the file `default` says.
        id: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A recipe that is none.
    #[error("the recipe in {} can't be used", .path.display())]
    BadRecipe {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Sets that aren't what their manifests say.
    #[error("{}", damaged(.0))]
    Damaged(Value),
    /// The audit of a data folder can't be read.
    #[error("the audit can't be checked")]
    Audit(#[source] metalform_store::AuditHeadError),
    /// A file with a public key that is none.
    #[error("the public key in {} can't be used", .path.display())]
    BadPublicKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: metalform_store::BadPublicKey,
    },
    /// An audit that isn't as it was written.
    #[error("{}", broken_audit(.0))]
    BrokenAudit(Box<metalform_store::AuditReport>),
    /// A password that nobody should have.
    #[error(transparent)]
    BadPassword(metalform_model::BadPassword),
    /// A password that was mistyped once.
    #[error("the two passwords differ")]
    PasswordsDiffer,
    /// Standard output can't be written.
    #[error("the output can't be written")]
    Output(#[source] io::Error),
    /// The process could not be set up.
    #[error("could not start")]
    Start(#[source] io::Error),
    /// Ctrl-C or a request to end while a cluster was watched.
    #[error("stopped watching {cluster}; it goes on")]
    StoppedWatching {
        /// Its name.
        cluster: String,
    },
    /// Ctrl-C or a request to end, before the end.
    #[error("stopped before the end")]
    Interrupted,
}

/// Why there is no TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is signed by nobody that is trusted here.
    Untrusted,
    /// It is for other names.
    OtherName,
    /// It doesn't hold now.
    OutOfTime,
    /// What answers doesn't speak TLS, or not ours.
    NoTls,
}

impl TlsFault {
    /// What the library's error means to the operator.
    pub fn of(error: &rustls::Error) -> TlsFault {
        use rustls::CertificateError as Bad;
        match error {
            rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                TlsFault::OtherName
            }
            rustls::Error::InvalidCertificate(
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
            ) => TlsFault::OutOfTime,
            rustls::Error::InvalidCertificate(_) => TlsFault::Untrusted,
            _ => TlsFault::NoTls,
        }
    }

    fn says(self, server: &str) -> String {
        match self {
            TlsFault::Untrusted => format!("the certificate of {server} is signed by nobody that is trusted here"),
            TlsFault::OtherName => format!("the certificate of {server} is for other names"),
            TlsFault::OutOfTime => format!("the certificate of {server} doesn't hold at this time"),
            TlsFault::NoTls => format!("{server} doesn't speak HTTPS"),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            TlsFault::Untrusted => {
                "copy tls/ca.pem from the data folder of the service here, and name the copy: METALFORM_CA_FILE=ca.pem; on \
                 the service's own machine name its configuration with --config"
            }
            TlsFault::OtherName => {
                "ask by one of them, or write this one into `[control] names` of the service and restart it"
            }
            TlsFault::OutOfTime => {
                "check the clocks of both machines; the service renews a certificate of its own by itself"
            }
            TlsFault::NoTls => {
                "a service with `tls = \"off\"` is asked by http://, on its own machine; else check address and port"
            }
        }
    }

    fn code(self) -> &'static str {
        match self {
            TlsFault::Untrusted => "untrusted_certificate",
            TlsFault::OtherName => "certificate_of_another",
            TlsFault::OutOfTime => "certificate_out_of_time",
            TlsFault::NoTls => "no_tls",
        }
    }
}

/// The service's own error document.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// A stable word.
    pub code: String,
    /// What failed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What a program may want beside it.
    pub details: Value,
}

impl Refusal {
    /// Faults of the plan, where it is one.
    fn faults(&self) -> &[Value] {
        self.details["faults"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// The service's words for a plan that has to be written otherwise.
const BAD_PLAN_CODES: &[&str] = &["bad_plan", "cloud_refuses_plan"];

/// An error of the HTTP client, shown as its innermost cause alone: the layers above say the address again, and no more.
#[derive(Debug)]
pub struct RootCause(pub reqwest::Error);

impl fmt::Display for RootCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_timeout() {
            return f.write_str("it took too long");
        }
        let mut innermost: &dyn StdError = &self.0;
        while let Some(deeper) = innermost.source() {
            innermost = deeper;
        }
        fmt::Display::fmt(innermost, f)
    }
}

impl StdError for RootCause {}

impl CliError {
    /// 1: failed, 2: wrong usage or bad plan, 3: a deadline passed.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::BadPlan { .. }
            | CliError::BadScripts { .. }
            | CliError::BadServer { .. }
            | CliError::BadCertificates { .. }
            | CliError::BadProfiles { .. }
            | CliError::Unreadable { .. }
            | CliError::IdleFaults { .. }
            | CliError::NotEmulated(_)
            | CliError::BadRecipe { .. }
            | CliError::BadPublicKey { .. }
            | CliError::BadPassword(_)
            | CliError::PasswordsDiffer
            | CliError::NoImageFolder { .. }
            | CliError::NoImageSets(_)
            | CliError::Config(_) => 2,
            CliError::Images(error) if error.is_usage() => 2,
            CliError::Import(error) if error.is_usage() => 2,
            CliError::Overlay(error) if error.is_usage() => 2,
            CliError::ImageSet(metalform_images::SetError::Unknown { .. }) => 2,
            CliError::Refused(refusal) if BAD_PLAN_CODES.contains(&refusal.code.as_str()) => 2,
            CliError::NotReady(clusters) if clusters.iter().any(missed_deadline) => 3,
            CliError::Unreachable { .. }
            | CliError::Tls { .. }
            | CliError::Broken { .. }
            | CliError::Silent { .. }
            | CliError::Refused(_)
            | CliError::Foreign { .. }
            | CliError::NoToken { .. }
            | CliError::NotReady(_)
            | CliError::ReleasedMeanwhile { .. }
            | CliError::Serve(_)
            | CliError::Secret(_)
            | CliError::Unwell(_)
            | CliError::File { .. }
            | CliError::Simulator(_)
            | CliError::Lab(_)
            | CliError::SimulatorConfig(_)
            | CliError::Import(_)
            | CliError::Overlay(_)
            | CliError::ImageSet(_)
            | CliError::Images(_)
            | CliError::NoDefaultSet { .. }
            | CliError::Damaged(_)
            | CliError::Audit(_)
            | CliError::BrokenAudit(_)
            | CliError::Output(_)
            | CliError::Start(_)
            | CliError::StoppedWatching { .. }
            | CliError::Interrupted => 1,
        }
    }

    /// A stable word.
    fn code(&self) -> &str {
        match self {
            CliError::Unreachable { .. } => "unreachable",
            CliError::Tls { fault, .. } => fault.code(),
            CliError::Broken { .. } => "connection_broke",
            CliError::Silent { .. } => "no_answer",
            CliError::Refused(refusal) => &refusal.code,
            CliError::Foreign { .. } => "not_metalform",
            CliError::NoToken { .. } => "no_token",
            CliError::BadServer { .. } => "bad_server",
            CliError::BadCertificates { .. } => "bad_certificates",
            CliError::Unreadable { .. } => "unreadable",
            CliError::BadProfiles { .. } => "bad_profiles",
            CliError::BadPlan { .. } => "bad_plan",
            CliError::BadScripts { .. } => "bad_script",
            CliError::NotReady(clusters) if clusters.iter().any(missed_deadline) => Failure::DEADLINE,
            CliError::NotReady(_) => "not_ready",
            CliError::ReleasedMeanwhile { .. } => "released",
            CliError::Config(_) => "bad_config",
            CliError::IdleFaults { .. } => "fault_cannot_strike",
            CliError::NotEmulated(_) => "not_emulated",
            CliError::Serve(_) => "serve",
            CliError::Secret(_) => "secret",
            CliError::Unwell(_) => "unwell",
            CliError::File { .. } => "file",
            CliError::Simulator(_) | CliError::SimulatorConfig(_) => "simulator",
            CliError::Lab(_) => "lab",
            CliError::Import(_) => "image_import",
            CliError::Overlay(_) => "image_overlay",
            CliError::ImageSet(metalform_images::SetError::Unknown { .. }) => "unknown_image_set",
            CliError::ImageSet(_) => "image_set",
            CliError::Images(_) => "images",
            CliError::NoImageFolder { .. } => "no_image_folder",
            CliError::NoImageSets(_) => "no_image_sets",
            CliError::NoDefaultSet { .. } => "no_default_set",
            CliError::BadRecipe { .. } => "bad_recipe",
            CliError::Damaged(_) => "image_damaged",
            CliError::Audit(_) => "audit",
            CliError::BadPublicKey { .. } => "bad_public_key",
            CliError::BrokenAudit(_) => "audit_broken",
            CliError::BadPassword(_) => "bad_password",
            CliError::PasswordsDiffer => "passwords_differ",
            CliError::Output(_) => "output",
            CliError::Start(_) => "start",
            CliError::StoppedWatching { .. } | CliError::Interrupted => "interrupted",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            CliError::Unreachable { .. } => {
                "start it with `metalform serve`, or say where it is: --config FILE on its own machine, METALFORM_SERVER \
                 elsewhere"
            }
            CliError::Tls { fault, .. } => fault.hint(),
            CliError::Broken { .. } => "the service may have taken the request: look with `metalform status`",
            CliError::Refused(refusal) => return refusal.hint.clone(),
            CliError::Silent { .. } => "look at the service's own log; what it had taken on goes on",
            CliError::Foreign { .. } => {
                "is METALFORM_SERVER (or `[control] listen`) the address of a Metalform service?"
            }
            CliError::NoToken { .. } => {
                "on the service's own machine name its configuration with --config, as a user who may read the token; \
                 elsewhere set METALFORM_TOKEN"
            }
            CliError::BadServer { .. } => "METALFORM_SERVER looks like https://metalform.example.com:8443",
            CliError::BadCertificates { .. } => {
                "METALFORM_CA_FILE names a PEM file of certificates, such as a copy of tls/ca.pem of the data folder"
            }
            CliError::BadProfiles { source, .. } => source.hint(),
            CliError::BadPlan { .. } => "mend the plan; nothing was created",
            CliError::BadScripts { .. } => "a service that finds them in its templates doesn't start",
            CliError::NotReady(clusters) => return clusters.iter().find_map(|c| c.hint.clone()),
            CliError::Config(source) => return Some(source.hint().to_string()),
            CliError::Serve(source) => return Some(source.hint().to_string()),
            CliError::Secret(source) => return Some(source.hint()),
            CliError::IdleFaults { hint, .. } => hint,
            CliError::NotEmulated(_) => "add `--machines qemu`",
            CliError::Simulator(source) => return Some(source.hint()),
            CliError::Lab(source) => source.hint(),
            CliError::Import(source) => source.hint(),
            CliError::Overlay(source) => source.hint(),
            CliError::ImageSet(source) => source.hint(),
            CliError::Images(source) => source.hint(),
            CliError::NoImageFolder { .. } | CliError::NoImageSets(_) => {
                "name the right one with --dir, or in `[images] dir` of the configuration; `metalform image import ISO` makes a set"
            }
            CliError::NoDefaultSet { .. } => {
                "machines get nothing until it names a set: `metalform image list` shows those there are; `metalform image import ISO --default` makes one the default"
            }
            CliError::BadRecipe { .. } => "docs/images.md shows what a recipe looks like",
            CliError::Damaged(_) => "remove the set's folder and import it again; until then it isn't served",
            CliError::Audit(source) => source.hint(),
            CliError::BadPublicKey { .. } => "the service writes one to audit.pub of its data folder",
            CliError::BrokenAudit(report) => return report.faults.first().map(|fault| fault.hint().to_owned()),
            CliError::BadPassword(error) => error.hint(),
            CliError::PasswordsDiffer => "nothing was changed; try again",
            CliError::StoppedWatching { cluster } => return Some(format!("`metalform events {cluster} --follow`")),
            CliError::Unreadable { .. }
            | CliError::Unwell(_)
            | CliError::ReleasedMeanwhile { .. }
            | CliError::File { .. }
            | CliError::SimulatorConfig(_)
            | CliError::Output(_)
            | CliError::Start(_)
            | CliError::Interrupted => return None,
        };
        Some(hint.to_owned())
    }

    /// What is told below the first line: the faults of a plan, the clusters that failed, or the chain of causes.
    fn causes(&self) -> Vec<String> {
        match self {
            CliError::Refused(refusal) => {
                // Some messages name the faults themselves.
                let lines = refusal.faults().iter().map(fault_line);
                lines.filter(|line| !refusal.message.contains(line)).collect()
            }
            // The faults are what was asked for, and were data.
            CliError::Damaged(_) => Vec::new(),
            CliError::BrokenAudit(report) => report.faults.iter().map(ToString::to_string).collect(),
            CliError::BadPlan { faults, .. } => faults.as_array().into_iter().flatten().map(fault_line).collect(),
            CliError::NotReady(clusters) if clusters.len() > 1 => clusters.iter().map(failure_line).collect(),
            CliError::NoToken { file, source, .. } => vec![format!("{}: {source}", file.display())],
            _ => {
                let mut causes = Vec::new();
                let mut next = self.source();
                while let Some(cause) = next {
                    causes.push(cause.to_string());
                    next = cause.source();
                }
                // `#[error(transparent)]` layers say the same twice.
                causes.dedup();
                causes
            }
        }
    }

    /// Whether what was printed before says it all to a program.
    fn is_told_by_the_outcome(&self) -> bool {
        matches!(
            self,
            CliError::NotReady(_)
                | CliError::ReleasedMeanwhile { .. }
                | CliError::Damaged(_)
                | CliError::Unwell(_)
                | CliError::BrokenAudit(_)
                | CliError::NoDefaultSet { .. }
        )
    }

    /// Tells it: in words on standard error; to a program as one document on standard output.
    pub fn tell(&self, out: &Output, json: bool) {
        out.note(&in_words(&self.to_string(), &self.causes(), self.hint().as_deref()));
        if json && !self.is_told_by_the_outcome() {
            // Whoever can't be told has been told on standard error.
            let _ = out.json(&self.document());
        }
    }

    fn document(&self) -> Value {
        let details = match self {
            CliError::Refused(refusal) => refusal.details.clone(),
            CliError::BadPlan { faults, .. } | CliError::BadScripts { faults, .. } => json!({"faults": faults}),
            _ => json!({"causes": self.causes()}),
        };
        json!({"error": {"code": self.code(), "message": self.to_string(), "hint": self.hint(), "details": details}})
    }
}

/// `error: …`, a line for each cause, `hint: …`.
pub fn in_words(message: &str, causes: &[String], hint: Option<&str>) -> String {
    let mut told = format!("error: {}", lines(message));
    for cause in causes {
        told += &format!("\n  cause: {}", lines(cause));
    }
    if let Some(hint) = hint {
        told += &format!("\n  hint: {}", lines(hint));
    }
    told
}

/// A parser's message has several lines; those after the first are set in.
fn lines(text: &str) -> String {
    text.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n    ")
}

/// `1 error`, `2 errors`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn missed_deadline(cluster: &ClusterStatus) -> bool {
    cluster.failure.as_deref() == Some(Failure::DEADLINE)
}

fn failure_line(cluster: &ClusterStatus) -> String {
    format!("{}: {}", cluster.name, cluster.reason)
}

/// `sets`, as `image verify` tells them.
fn damaged(sets: &Value) -> String {
    let ids: Vec<&str> = sets.as_array().into_iter().flatten().filter_map(|set| set["id"].as_str()).collect();
    match ids[..] {
        [one] => format!("the image set {one} is damaged"),
        _ => format!("{} are damaged: {}", count(ids.len(), "image set"), ids.join(", ")),
    }
}

fn broken_audit(report: &metalform_store::AuditReport) -> String {
    match report.first_broken() {
        Some(line) => format!("the audit isn't as it was written, from line {line} on"),
        None => "the audit isn't as it was written".to_owned(),
    }
}

fn not_ready(clusters: &[ClusterStatus]) -> String {
    match clusters {
        [one] => failure_line(one),
        many => format!("{} clusters are not ready", many.len()),
    }
}
