//! Ids, CRNs, hrefs and names. Everything random about the cloud comes from the one generator here.

use super::{error::ApiError, fields::Refused, settings::CloudSettings};
use metalform_model::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use uuid::Uuid;

/// The account everything belongs to.
pub(super) const ACCOUNT: &str = "5a1ded0fc10dd0fa11ce00000000c10d";

/// What every resource of the VPC API has.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Grows with every resource made: the order of lists, and the mark a refused request is undone to.
    pub seq: u64,
    pub id: String,
    pub crn: String,
    pub href: String,
    pub name: String,
    pub created_at: Timestamp,
    /// So many list calls still miss it (a fault).
    pub unlisted: u32,
}

impl Identity {
    /// `{crn, href, id, name, resource_type}`.
    pub fn reference(&self, resource_type: &str) -> Value {
        json!({"crn": self.crn, "href": self.href, "id": self.id, "name": self.name, "resource_type": resource_type})
    }
}

/// A kind of resource: its collection's path, its type in CRNs, and whether it belongs to a zone.
pub(super) struct Kind {
    pub path: &'static str,
    pub crn: &'static str,
    pub zonal: bool,
}

/// The source of all ids and chances.
#[derive(Debug)]
pub(super) struct Mint {
    rng: StdRng,
    seq: u64,
}

impl Mint {
    pub fn new(seed: u64) -> Self {
        Mint { rng: StdRng::seed_from_u64(seed), seq: 0 }
    }

    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    pub fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid().to_string()
    }

    /// An id of something in zone us-south-1 (`0717-…`) or in region us-south (`r006-…`).
    pub fn id(&mut self, zonal: bool) -> String {
        format!("{}-{}", if zonal { "0717" } else { "r006" }, self.uuid())
    }

    pub fn identity(&mut self, kind: &Kind, settings: &CloudSettings, name: &str, now: Timestamp) -> Identity {
        let id = self.id(kind.zonal);
        self.identity_with(kind, settings, id, name, now)
    }

    pub fn identity_with(
        &mut self,
        kind: &Kind,
        settings: &CloudSettings,
        id: String,
        name: &str,
        now: Timestamp,
    ) -> Identity {
        self.seq += 1;
        let place = if kind.zonal { &settings.zone } else { &settings.region };
        Identity {
            seq: self.seq,
            crn: format!("crn:v1:bluemix:public:is:{place}:a/{ACCOUNT}::{}:{id}", kind.crn),
            href: format!("{}/{}/{id}", settings.vpc_url, kind.path),
            id,
            name: name.into(),
            created_at: now,
            unlisted: 0,
        }
    }

    /// A locally administered unicast address.
    pub fn mac(&mut self) -> String {
        let b: [u8; 4] = self.rng.random();
        format!("02:00:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3])
    }

    /// 0.9 to 1.1: how slow or fast this server is.
    pub fn jitter(&mut self) -> f64 {
        self.rng.random_range(0.9..1.1)
    }

    /// A name for what came without one.
    pub fn words(&mut self) -> String {
        const WORDS: [&str; 24] = [
            "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "inlet", "jungle", "kelp",
            "ledge", "marsh", "north", "ocean", "prism", "quartz", "ridge", "shore", "tundra", "umber", "vale",
            "willow", "yarrow",
        ];
        let mut word = || WORDS[self.rng.random_range(0..WORDS.len())];
        format!("{}-{}-{}-{}", word(), word(), word(), word())
    }

    pub fn token(&mut self) -> String {
        Uuid::from_u128(self.rng.random()).simple().to_string()
    }
}

/// `2026-01-02T03:04:05.006Z`, as the VPC API writes times.
pub(super) fn stamp(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..23).unwrap_or(&text))
}

/// The two patterns for names (terraform-provider-ibm's validators) with their common length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum NameRule {
    /// Servers and reserved IPs: begins with a letter.
    Letter,
    /// Virtual network interfaces and attachments: may begin with a digit, but is no number.
    LetterOrDigit,
}

/// Checks a name; `ibm-` belongs to the provider where `ibm_reserved`.
pub(super) fn check_name(field: &str, name: &str, rule: NameRule, ibm_reserved: bool) -> Refused<()> {
    let alphabet = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut chars = name.chars();
    let (first, last) = (chars.next().unwrap_or('-'), name.chars().last().unwrap_or('-'));
    let first_fits = match rule {
        NameRule::Letter => first.is_ascii_lowercase(),
        NameRule::LetterOrDigit => {
            first.is_ascii_lowercase() || (first.is_ascii_digit() && chars.any(|c| !c.is_ascii_digit()))
        }
    };
    if !first_fits || last == '-' || !name.chars().all(alphabet) || name.len() > 63 {
        return Err(ApiError::invalid(
            field,
            format!("{name:?} must have 1 to 63 of a-z, 0-9 and -, begin with a letter and not end with -"),
        ));
    }
    if ibm_reserved && name.starts_with("ibm-") {
        return Err(ApiError::invalid(field, "names beginning with ibm- are reserved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_two_patterns() {
        let long = "a".repeat(64);
        for (name, letter, letter_or_digit) in [
            ("node-01", true, true),
            ("a", true, true),
            ("1a", false, true),
            ("1-a", false, true),
            ("123", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("1-", false, false),
            ("Node", false, false),
            ("a_b", false, false),
            ("", false, false),
            (long.as_str(), false, false),
        ] {
            assert_eq!(check_name("name", name, NameRule::Letter, false).is_ok(), letter, "{name}");
            assert_eq!(check_name("name", name, NameRule::LetterOrDigit, false).is_ok(), letter_or_digit, "{name}");
        }
        assert!(check_name("name", "ibm-x", NameRule::Letter, true).is_err());
        assert!(check_name("name", "ibm-x", NameRule::Letter, false).is_ok());
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(stamp(Timestamp(1_767_322_445_006_999)), "2026-01-02T02:54:05.006Z");
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (mut a, mut b, mut c) = (Mint::new(7), Mint::new(7), Mint::new(8));
        assert_eq!((a.id(true), a.mac(), a.words()), (b.id(true), b.mac(), b.words()));
        assert_ne!(a.id(true), c.id(true));
    }
}
