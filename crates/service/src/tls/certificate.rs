//! What a certificate says of itself: for how long, and for which hosts. When one of ours is due for a new one is decided
//! here, by nothing but the time.

use metalform_model::Timestamp;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const SECOND: i64 = 1_000_000;

/// Clients' clocks run behind ours at times.
const BACKDATED: Duration = Duration::from_secs(3600);

/// From when until when a certificate holds; both to the second, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// That of a certificate which is made now.
    pub fn starting(now: Timestamp, lifetime: Duration) -> Validity {
        let to_second = |at: Timestamp| Timestamp(at.0.max(0) / SECOND * SECOND);
        Validity { not_before: to_second(now - BACKDATED), not_after: to_second(now + lifetime) }
    }

    /// No longer than the certificate above it.
    pub fn within(self, above: Validity) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after.min(above.not_after) }
    }

    /// When one of ours is made anew: after two thirds. What is left is the time to notice that it doesn't work.
    pub fn renew_at(self) -> Timestamp {
        Timestamp(self.not_before.0 + (self.not_after.0 - self.not_before.0) / 3 * 2)
    }

    /// Whether one of ours is to be made anew. Also where it doesn't hold yet: it was made while the clock was ahead.
    pub fn is_due(self, now: Timestamp) -> bool {
        now < self.not_before || now >= self.renew_at()
    }
}

/// A certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub validity: Validity,
    /// DNS names in small letters, and IP addresses as they are written.
    pub names: BTreeSet<String>,
}

impl Facts {
    /// `None`: it is no X.509 certificate.
    pub fn of(der: &[u8]) -> Option<Facts> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(SECOND));
        let validity = certificate.validity();
        let validity = Validity { not_before: at(validity.not_before), not_after: at(validity.not_after) };
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
        Some(Facts { validity, names: names.unwrap_or_default() })
    }
}

/// Whether the one is signed by the other's key, under its name.
pub(super) fn is_signed_by(der: &[u8], authority: &[u8]) -> bool {
    let (Ok((_, signed)), Ok((_, authority))) = (X509Certificate::from_der(der), X509Certificate::from_der(authority))
    else {
        return false;
    };
    signed.issuer() == authority.subject() && signed.verify_signature(Some(authority.public_key())).is_ok()
}

/// The public key of a certificate.
pub(super) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    /// From 1970 to beyond the year 2200.
    const TIMES: std::ops::Range<i64> = 0..7_500_000_000_000_000;

    proptest! {
        #[test]
        fn what_is_made_now_is_not_due_now_and_is_due_before_it_ends(now in TIMES, days in 1u32..4000) {
            let now = Timestamp(now);
            let validity = Validity::starting(now, DAY * days);
            prop_assert!(!validity.is_due(now));
            prop_assert!(validity.is_due(validity.not_after - (DAY * days) / 4));
        }

        #[test]
        fn what_is_not_due_holds_and_a_third_of_its_time_is_left(from in TIMES, span in TIMES, now in TIMES) {
            let validity = Validity { not_before: Timestamp(from), not_after: Timestamp(from + span) };
            if !validity.is_due(Timestamp(now)) {
                prop_assert!(validity.not_before.0 <= now && now <= validity.not_after.0);
                prop_assert!((validity.not_after.0 - now) >= span / 3);
            }
        }

        #[test]
        fn once_due_it_stays_due(from in TIMES, span in TIMES, first in TIMES, later in TIMES) {
            let validity = Validity { not_before: Timestamp(from), not_after: Timestamp(from + span) };
            if first >= from && validity.is_due(Timestamp(first)) {
                prop_assert!(validity.is_due(Timestamp(first + later)));
            }
        }

        #[test]
        fn nothing_outlives_what_signed_it(now in TIMES, mine in 1u32..400, above in 1u32..400) {
            let above = Validity::starting(Timestamp(now), DAY * above);
            let mine = Validity::starting(Timestamp(now), DAY * mine).within(above);
            prop_assert!(mine.not_after <= above.not_after);
        }
    }

    #[test]
    fn what_ends_before_it_begins_is_always_due() {
        let validity = Validity { not_before: Timestamp(2_000_000_000), not_after: Timestamp(1_000_000_000) };
        for now in [0, 1_000_000_000, 1_500_000_000, 2_000_000_000, 3_000_000_000] {
            assert!(validity.is_due(Timestamp(now)), "{now}");
        }
    }
}
