//! What went wrong with one call, and what that means for asking again.
//!
//! Three questions, for the caller to steer by:
//! - [`Error::is_ambiguous`]: the world may have changed. Look before asking anybody again.
//! - [`Error::is_transient`]: the same question may be answered well later.
//! - [`Error::is_permanent_request_error`]: what was asked is wrong; another node would say the same.
//!
//! What is neither needs an operator ([`Error::hint`]) or another way ([`Error::is_not_offered`]).

use crate::{Cause, Fingerprint, Rejection, TransportError, excerpt};
use std::{fmt, net::Ipv4Addr};

/// What was asked of a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Prism, `GET v2.0/cluster`.
    ReadCluster,
    /// Prism, `GET v2.0/hosts`.
    ReadHosts,
    /// Prism, `POST v1/utils/change_default_system_password`.
    ChangePassword,
    /// Prism, `POST v2.0/clusters`.
    CreateThroughPrism,
    /// Foundation, `POST /foundation/clusters`.
    CreateThroughFoundation,
    /// Foundation, `GET /foundation/version`.
    ReadFoundationVersion,
    /// Foundation, `POST /foundation/image_nodes` that images nothing.
    FormThroughImageNodes,
    /// Foundation, `GET /foundation/progress`.
    ReadFoundationProgress,
}

impl Operation {
    fn is_create(self) -> bool {
        match self {
            Operation::CreateThroughPrism | Operation::CreateThroughFoundation | Operation::FormThroughImageNodes => {
                true
            }
            Operation::ReadCluster
            | Operation::ReadHosts
            | Operation::ChangePassword
            | Operation::ReadFoundationVersion
            | Operation::ReadFoundationProgress => false,
        }
    }

    fn is_of_foundation(self) -> bool {
        match self {
            Operation::CreateThroughFoundation
            | Operation::ReadFoundationVersion
            | Operation::FormThroughImageNodes
            | Operation::ReadFoundationProgress => true,
            Operation::ReadCluster
            | Operation::ReadHosts
            | Operation::ChangePassword
            | Operation::CreateThroughPrism => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::ReadCluster => "read the cluster from Prism",
            Operation::ReadHosts => "read the hosts from Prism",
            Operation::ChangePassword => "change the password of Prism",
            Operation::CreateThroughPrism => "create the cluster through Prism",
            Operation::CreateThroughFoundation => "create the cluster through Foundation",
            Operation::ReadFoundationVersion => "read Foundation's version",
            Operation::FormThroughImageNodes => "form the cluster through Foundation",
            Operation::ReadFoundationProgress => "read the progress of Foundation",
        })
    }
}

/// A call that did not do what it should. The kind is the next link of the chain.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} at {address}:{port}")]
pub struct Error {
    /// What was asked.
    pub operation: Operation,
    /// Whom.
    pub address: Ipv4Addr,
    /// On which port.
    pub port: u16,
    /// The key that the peer showed, if it answered at all; over plain HTTP there is none.
    pub fingerprint: Option<Fingerprint>,
    /// What went wrong.
    #[source]
    pub kind: Box<ErrorKind>,
}

/// The kinds of failure.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// Certainly not carried out: the request never left.
    #[error("the request was not sent")]
    NotSent(#[source] TransportError),
    /// The request may have been carried out: its answer is missing.
    #[error("the answer is missing, the request may have been carried out")]
    Unknown(#[source] TransportError),
    /// The peer showed another key than the pinned ones. Nothing was sent.
    #[error("the peer shows the key {seen}, which is not the pinned one")]
    PinMismatch {
        /// The pinned keys.
        expected: Vec<Fingerprint>,
        /// The key that was shown.
        seen: Fingerprint,
    },
    /// 401: wrong user or password.
    #[error("user name or password refused")]
    Unauthorized,
    /// Too many wrong passwords: the account is locked.
    #[error("the account is locked")]
    LockedOut,
    /// The CVM is up and belongs to no cluster. Only of reads.
    #[error("the CVM belongs to no cluster")]
    NotConfigured,
    /// Something answers in place of Prism while that starts: a page, a gateway's error. Only of reads.
    #[error("Prism is not up yet (status {status}): {excerpt}")]
    NotYet {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// The server refused.
    #[error("{0}")]
    Rejected(Rejection),
    /// An answer that is neither a refusal nor what was asked for.
    #[error("an answer that is not understood (status {status}): {excerpt}")]
    Protocol {
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
        /// Why it could not be read, where that is known.
        #[source]
        cause: Option<Cause>,
    },
}

impl Error {
    /// The error of a request without an answer.
    pub(crate) fn transport(operation: Operation, at: (Ipv4Addr, u16), error: TransportError) -> Self {
        let kind = match error {
            TransportError::PinMismatch { expected, seen } => ErrorKind::PinMismatch { expected, seen },
            lost if lost.may_have_been_sent() => ErrorKind::Unknown(lost),
            unsent => ErrorKind::NotSent(unsent),
        };
        Self::answered(operation, at, None, kind)
    }

    /// The error of an answer with any status but 2xx.
    pub(crate) fn refused(
        operation: Operation,
        at: (Ipv4Addr, u16),
        fingerprint: Option<Fingerprint>,
        status: u16,
        body: &[u8],
    ) -> Self {
        let kind = match status {
            400..600 if says_locked(body) => ErrorKind::LockedOut,
            401 => ErrorKind::Unauthorized,
            400..600 => ErrorKind::Rejected(Rejection::read(status, body)),
            _ => ErrorKind::Protocol { status, excerpt: excerpt::of_body(body), cause: None },
        };
        Self::answered(operation, at, fingerprint, kind)
    }

    pub(crate) fn answered(
        operation: Operation,
        (address, port): (Ipv4Addr, u16),
        fingerprint: Option<Fingerprint>,
        kind: ErrorKind,
    ) -> Self {
        Self { operation, address, port, fingerprint, kind: Box::new(kind) }
    }

    /// Whether a create may have been carried out. Never true of a read.
    ///
    /// Besides a missing answer that is a 2xx that can't be read, and a 5xx that is not the server's own word: a
    /// gateway that gave up waiting says nothing about what goes on behind it. 501 and 503 are refusals, whoever says
    /// them.
    pub fn is_ambiguous(&self) -> bool {
        self.operation.is_create()
            && match &*self.kind {
                ErrorKind::Unknown(_) => true,
                ErrorKind::Protocol { status, .. } => (200..300).contains(status),
                ErrorKind::Rejected(r) => r.status >= 500 && !matches!(r.status, 501 | 503) && !r.is_the_servers_word(),
                ErrorKind::NotSent(_)
                | ErrorKind::PinMismatch { .. }
                | ErrorKind::Unauthorized
                | ErrorKind::LockedOut
                | ErrorKind::NotConfigured
                | ErrorKind::NotYet { .. } => false,
            }
    }

    /// Whether the same call may succeed later. An ambiguous create is not transient in this sense: look first.
    ///
    /// 403 counts as transient: Prism has been seen to answer it under parallel basic authentication
    /// (terraform-provider-nutanix issue 93). So does every failure to connect: a CVM that starts refuses, resets and
    /// times out in any order.
    pub fn is_transient(&self) -> bool {
        !self.is_ambiguous()
            && match &*self.kind {
                ErrorKind::NotSent(_) | ErrorKind::Unknown(_) | ErrorKind::NotConfigured | ErrorKind::NotYet { .. } => {
                    true
                }
                ErrorKind::Rejected(r) => matches!(r.status, 403 | 408 | 425 | 429 | 500 | 502..600),
                ErrorKind::Protocol { .. }
                | ErrorKind::PinMismatch { .. }
                | ErrorKind::Unauthorized
                | ErrorKind::LockedOut => false,
            }
    }

    /// Whether the request itself is wrong (400, 422): asking another node won't help.
    pub fn is_permanent_request_error(&self) -> bool {
        matches!(&*self.kind, ErrorKind::Rejected(r) if matches!(r.status, 400 | 422))
    }

    /// Whether the server has no such call (404, 405, 501 to a create). Nutanix's published v1 and v2.0 definitions
    /// offer no POST on `/clusters`, so most releases answer so.
    pub fn is_not_offered(&self) -> bool {
        self.operation.is_create()
            && matches!(&*self.kind, ErrorKind::Rejected(r) if matches!(r.status, 404 | 405 | 501))
    }

    /// Whether somebody answers there, but not in TLS: as the Foundation of published clients does.
    pub fn speaks_no_tls(&self) -> bool {
        matches!(&*self.kind, ErrorKind::NotSent(TransportError::Tls(_)))
    }

    /// Whether the machine is there and nothing listens on the port.
    pub fn is_refused_connection(&self) -> bool {
        matches!(&*self.kind, ErrorKind::NotSent(TransportError::Refused))
    }

    /// What a person may do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if self.is_not_offered() {
            return Some(
                "this release of Nutanix forms no clusters over this API; the way that every release has is its `cluster` command, over SSH",
            );
        }
        if self.is_ambiguous() {
            return Some("look whether the cluster exists, on every node, before it is created again");
        }
        match &*self.kind {
            ErrorKind::NotSent(TransportError::Refused) if self.operation.is_of_foundation() => {
                Some("nothing listens there: Foundation is not running on this CVM, or runs elsewhere")
            }
            ErrorKind::NotSent(TransportError::Refused) => {
                Some("nothing listens there yet; many releases start Prism only once a cluster exists")
            }
            ErrorKind::NotSent(TransportError::Tls(_)) => Some("check that the port is right and speaks HTTPS"),
            ErrorKind::NotSent(_) => Some("check the route, the security groups and that the CVM is up"),
            ErrorKind::PinMismatch { .. } => Some(
                "a CVM has a new key after imaging and may get one when its cluster is formed; \
                 at any other time find out who answers at this address",
            ),
            ErrorKind::Unauthorized if self.operation == Operation::CreateThroughFoundation => {
                Some("check Foundation's user and password; repeated failures may lock the account")
            }
            ErrorKind::Unauthorized => {
                Some("check prism_user and prism_password_file; repeated failures lock the account")
            }
            ErrorKind::LockedOut => {
                Some("stop everything that logs in, then on a CVM: allssh \"sudo faillock --user admin --reset\"")
            }
            ErrorKind::Rejected(_) if self.is_permanent_request_error() => {
                Some("correct the plan's cluster settings; another node would refuse the same")
            }
            ErrorKind::Unknown(_)
            | ErrorKind::NotConfigured
            | ErrorKind::NotYet { .. }
            | ErrorKind::Rejected(_)
            | ErrorKind::Protocol { .. } => None,
        }
    }
}

/// Whether the answer says that the account is locked. Prism's words are "Account Locked" (seen on fresh CE nodes).
pub(crate) fn says_locked(body: &[u8]) -> bool {
    contains(body, &["account locked", "account is locked"])
}

/// Whether the answer says that there is no cluster. The `cluster` command's words are "Cluster is currently
/// unconfigured"; REST's are not known.
pub(crate) fn says_unconfigured(body: &[u8]) -> bool {
    contains(body, &["unconfigured", "not configured"])
}

fn contains(body: &[u8], phrases: &[&str]) -> bool {
    let text = String::from_utf8_lossy(body).to_lowercase();
    phrases.iter().any(|phrase| text.contains(phrase))
}

/// The innermost reason of a chain, which says most in few words.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const AT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 5), 9440);

    fn answered(operation: Operation, status: u16, body: &'static str) -> Error {
        Error::refused(operation, AT, Some(Fingerprint([1; 32])), status, body.as_bytes())
    }

    /// `a`mbiguous, `t`ransient, `p`ermanent request error, `n`ot offered.
    fn flags(error: &Error) -> String {
        [
            ('a', error.is_ambiguous()),
            ('t', error.is_transient()),
            ('p', error.is_permanent_request_error()),
            ('n', error.is_not_offered()),
        ]
        .iter()
        .filter(|(_, set)| *set)
        .map(|(flag, _)| flag)
        .collect()
    }

    #[test]
    fn what_an_answer_to_a_create_means_for_asking_again() {
        const OWN: &str = r#"{"message":"no"}"#;
        const PAGE: &str = "<html>no</html>";
        for (status, body, expected) in [
            (302, PAGE, ""),
            (400, OWN, "p"),
            (401, OWN, ""),
            (403, OWN, "t"),
            (403, r#"{"message":"Account Locked"}"#, ""),
            (404, PAGE, "n"),
            (405, OWN, "n"),
            (408, PAGE, "t"),
            (409, OWN, ""),
            (422, OWN, "p"),
            (429, OWN, "t"),
            (500, OWN, "t"),
            (500, PAGE, "a"),
            (501, PAGE, "n"),
            (502, PAGE, "a"),
            (503, PAGE, "t"),
            (504, PAGE, "a"),
        ] {
            let error = answered(Operation::CreateThroughPrism, status, body);
            assert_eq!(flags(&error), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_a_failed_transport_means_for_asking_again() {
        let second = Duration::from_secs(1);
        for (make, create, read) in [
            ((|_| TransportError::Refused) as fn(Duration) -> TransportError, "t", "t"),
            (|_| TransportError::Unreachable("reset".into()), "t", "t"),
            (TransportError::ConnectTimeout, "t", "t"),
            (|_| TransportError::Tls("no TLS".into()), "t", "t"),
            (|_| TransportError::PinMismatch { expected: vec![], seen: Fingerprint([2; 32]) }, "", ""),
            (|_| TransportError::Lost("reset".into()), "a", "t"),
            (TransportError::ReplyTimeout, "a", "t"),
        ] {
            for (operation, expected) in [
                (Operation::CreateThroughPrism, create),
                (Operation::CreateThroughFoundation, create),
                (Operation::FormThroughImageNodes, create),
                (Operation::ReadCluster, read),
                (Operation::ReadFoundationVersion, read),
                (Operation::ReadFoundationProgress, read),
            ] {
                let error = Error::transport(operation, AT, make(second));
                assert_eq!(flags(&error), expected, "{operation}: {:?}", error.kind);
                assert_eq!(error.speaks_no_tls(), matches!(make(second), TransportError::Tls(_)));
            }
        }
    }

    #[test]
    fn a_read_is_never_ambiguous() {
        for read in [Operation::ReadCluster, Operation::ReadFoundationVersion, Operation::ReadFoundationProgress] {
            assert_eq!(flags(&answered(read, 502, "<html>")), "t");
        }
    }

    #[test]
    fn an_error_tells_what_failed_then_why_then_what_to_do() {
        let error = Error::transport(
            Operation::CreateThroughPrism,
            AT,
            TransportError::Lost("connection reset by peer".into()),
        );
        let mut chain = vec![error.to_string()];
        let mut link = std::error::Error::source(&error);
        while let Some(current) = link {
            chain.push(current.to_string());
            link = current.source();
        }
        assert_eq!(
            chain,
            [
                "cannot create the cluster through Prism at 10.0.0.5:9440",
                "the answer is missing, the request may have been carried out",
                "the connection broke before the answer was complete",
                "connection reset by peer",
            ]
        );
        assert_eq!(error.hint(), Some("look whether the cluster exists, on every node, before it is created again"));
        assert_eq!(
            answered(Operation::CreateThroughFoundation, 401, "").hint(),
            Some("check Foundation's user and password; repeated failures may lock the account")
        );
    }
}
