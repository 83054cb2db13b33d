//! What a single text of a plan may be. Its values go into iPXE scripts, kernel command lines, shell commands and URLs,
//! so each has a closed set of characters here, narrower than cloud and Nutanix allow: a second fence behind whatever
//! escaping the writers of those do.

use std::net::Ipv4Addr;

/// Why a text can't stand there, and what can.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub code: &'static str,
    pub why: String,
    pub instead: String,
}

type Checked = Result<(), Complaint>;

fn complain(code: &'static str, why: impl Into<String>, instead: impl Into<String>) -> Complaint {
    Complaint { code, why: why.into(), instead: instead.into() }
}

fn ensure(holds: bool, code: &'static str, why: &str, instead: &str) -> Checked {
    if holds { Ok(()) } else { Err(complain(code, why, instead)) }
}

fn all(text: &str, extra: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// `^[a-z]([-a-z0-9]*[a-z0-9])?$`, the cloud's own rule for server names, at most `longest` characters. The prefix
/// `ibm-` is the provider's.
fn cloud_name(text: &str, longest: usize) -> Checked {
    let lower = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let ends = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    if !(lower && ends) {
        let why = "not lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen";
        return Err(complain("bad_name", why, "write a name such as \"server-001\""));
    }
    if text.len() > longest {
        return Err(complain("bad_name", format!("{} characters", text.len()), format!("write {longest} at most")));
    }
    ensure(
        !text.starts_with("ibm-"),
        "reserved_name",
        "names that begin with ibm- are the provider's",
        "choose another beginning",
    )
}

pub(crate) fn server_id(text: &str) -> Checked {
    cloud_name(text, 40)
}

pub(crate) fn server_name(text: &str) -> Checked {
    cloud_name(text, 63)
}

/// Nutanix publishes no full rule; letters, digits, `.`, `_` and `-` are taken by Prism, `ncli` and `cluster` alike.
pub(crate) fn cluster_name(text: &str) -> Checked {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    ensure(
        first && all(text, "._-") && text.len() <= 75,
        "bad_name",
        "not 1 to 75 letters, digits, dots, underscores and hyphens that begin with a letter or digit",
        "write a name such as \"my-nutanix-cluster\"",
    )
}

/// Ids are opaque; their characters are not.
pub(crate) fn cloud_id(text: &str) -> Checked {
    if text.starts_with("crn:") {
        return Err(complain("bad_id", "a CRN, and an id is needed", "write what follows its last colon"));
    }
    let good = all(text, "_-") && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 64;
    ensure(
        good,
        "bad_id",
        "not an id: 1 to 64 letters, digits, underscores and hyphens",
        "copy the id from the cloud's console or CLI (not the name)",
    )
}

/// `us-south-1`: a region and a number.
pub(crate) fn zone(text: &str) -> Checked {
    let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let number = |n: &str| matches!(n.len(), 1..=3) && n.chars().all(|c| c.is_ascii_digit());
    let good = text.rsplit_once('-').is_some_and(|(region, n)| {
        number(n) && region.split('-').all(part) && region.starts_with(|c: char| c.is_ascii_lowercase())
    });
    ensure(
        good && text.len() <= 63,
        "bad_zone",
        "not a zone: a region, a hyphen and a number",
        "write a zone such as \"us-south-1\"",
    )
}

pub(crate) fn profile_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

const AREAS: &[&str] = &[
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Brazil",
    "Canada",
    "Chile",
    "Etc",
    "Europe",
    "Indian",
    "Mexico",
    "Pacific",
    "US",
];

/// Shape only: the tz database is on the CVM and not here.
pub(crate) fn timezone(text: &str) -> Checked {
    if matches!(text, "UTC" | "GMT") {
        return Ok(());
    }
    let place = |p: &str| p.starts_with(|c: char| c.is_ascii_uppercase()) && all(p, "_+-");
    let good = text.len() <= 40
        && text.split_once('/').is_some_and(|(area, places)| AREAS.contains(&area) && places.split('/').all(place));
    let instead = match text.split_once('/').and_then(|(area, rest)| Some((nearest(area, AREAS)?, rest))) {
        Some((area, rest)) if all(rest, "_+-/") && !AREAS.iter().any(|a| text.starts_with(&format!("{a}/"))) => {
            format!("did you mean \"{area}/{rest}\"?")
        }
        _ => "write \"UTC\" or a name such as \"Europe/Berlin\"".to_owned(),
    };
    if good { Ok(()) } else { Err(complain("bad_timezone", "not a name of the tz database", instead)) }
}

/// An IPv4 address, or a host name by RFC 1123.
pub(crate) fn host(text: &str) -> Checked {
    let label = |l: &str| matches!(l.len(), 1..=63) && all(l, "-") && !l.starts_with('-') && !l.ends_with('-');
    let last_is_number = text.rsplit('.').next().is_some_and(|l| l.chars().all(|c| c.is_ascii_digit()));
    if last_is_number {
        return address(text).map(drop);
    }
    ensure(
        text.len() <= 253 && text.split('.').all(label),
        "bad_host",
        "neither a host name nor an IPv4 address",
        "write a server such as \"pool.ntp.org\" or \"161.26.0.6\"",
    )
}

pub(crate) fn cluster_function(text: &str) -> Checked {
    let good = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    ensure(good, "bad_cluster_function", "not a word of capitals, digits and underscores", "write [\"AOS\"]")
}

pub(crate) fn node_position(text: &str) -> Checked {
    let good = text.len() <= 8
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    ensure(good, "bad_node_position", "not a position in a block", "write \"A\", \"B\", \"C\" or \"D\"")
}

/// Names as Linux gives them (Documentation/admin-guide/devices.txt; NVMe namespaces): letters count SCSI, virtio, Xen and
/// IDE drives, whose partitions end in a number; NVMe and MMC drives have numbers, and `p` before that of a partition.
fn is_whole_drive(name: &str) -> bool {
    let is_number = |text: &str| matches!(text.len(), 1..=4) && text.bytes().all(|b| b.is_ascii_digit());
    let is_letters = |text: &str| matches!(text.len(), 1..=3) && text.bytes().all(|b| b.is_ascii_lowercase());
    if let Some((controller, namespace)) = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n')) {
        return is_number(controller) && is_number(namespace);
    }
    let lettered = ["sd", "vd", "xvd", "hd"].iter().any(|kind| name.strip_prefix(kind).is_some_and(is_letters));
    lettered || name.strip_prefix("mmcblk").is_some_and(is_number)
}

pub(crate) fn device(text: &str) -> Checked {
    ensure(
        text.strip_prefix("/dev/").is_some_and(is_whole_drive),
        "bad_device",
        "not the path of a whole drive",
        "write \"/dev/nvme2n1\", or a table with serial, model or min_gb such as { serial = \"S5XANG0N\" }",
    )
}

pub(crate) fn serial(text: &str) -> Checked {
    ensure(
        matches!(text.len(), 1..=64) && all(text, "._-"),
        "bad_selector",
        "not a serial number: 1 to 64 letters, digits, dots, underscores and hyphens",
        "write it as `lsblk -o serial` shows it",
    )
}

pub(crate) fn model(text: &str) -> Checked {
    ensure(
        matches!(text.len(), 1..=64) && all(text, " ._-+/") && text.trim() == text,
        "bad_selector",
        "not part of a model name: 1 to 64 letters, digits, spaces and . _ - + /",
        "write it as `lsblk -o model` shows it, or a part of that",
    )
}

/// An address a machine or a server may have. Loopback is allowed: simulated networks live there.
pub(crate) fn address(text: &str) -> Result<Ipv4Addr, Complaint> {
    let ip: Ipv4Addr = text.parse().map_err(|_| {
        let (why, instead) = match text {
            _ if text.contains(':') => ("an IPv6 address or one with a port", "write an IPv4 address alone"),
            _ if text.contains('/') => {
                ("an address with a prefix length", "write the address alone, without the slash and what follows")
            }
            _ => (
                "not an IPv4 address",
                "write four numbers from 0 to 255 without leading zeros, such as \"10.240.0.11\"",
            ),
        };
        complain("bad_address", why, instead)
    })?;
    let [a, b, c, _] = ip.octets();
    let unusable = match (a, b) {
        (0, _) => Some("an address of \"this network\""),
        (169, 254) => Some("a link-local address, which the cloud uses for its own services"),
        (224..=239, _) => Some("a multicast address"),
        (240.., _) => Some("a reserved or broadcast address"),
        _ => None,
    };
    if let Some(why) = unusable {
        return Err(complain("unusable_address", why, "write an address of the subnet"));
    }
    if [a, b, c] == [192, 168, 5] {
        let why = "192.168.5.0/24 is Nutanix' own network between a host and its controller VM";
        return Err(complain("reserved_address", why, "write an address of another network"));
    }
    Ok(ip)
}

/// The candidate that a mistyped word most likely means: at most a third of it differs.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if word.len() > 60 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let distance = |candidate: &str| edits(&word, &candidate.to_lowercase().replace('-', "_"));
    let (nearest, edits) = candidates.iter().map(|c| (*c, distance(c))).min_by_key(|(_, edits)| *edits)?;
    (edits * 3 <= nearest.len().max(word.len())).then_some(nearest)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_nearest_and_a_strange_one_finds_none() {
        let words = ["compute-storage", "storage", "compute"];
        for (word, found) in [
            ("computestorage", Some("compute-storage")),
            ("Storage", Some("storage")),
            ("computer", Some("compute")),
            ("database", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &words), found, "{word}");
        }
    }

    #[test]
    fn no_checked_text_holds_a_character_that_a_shell_or_script_reads_as_its_own() {
        let checks: &[fn(&str) -> Checked] = &[
            server_id,
            server_name,
            cluster_name,
            cloud_id,
            zone,
            timezone,
            host,
            cluster_function,
            node_position,
            device,
            serial,
        ];
        for check in checks {
            for hostile in [
                "", " ", "a b", "a;b", "a$(b)", "a`b`", "a'b", "a\"b", "a\\b", "a\nb", "a&b", "a|b", "a>b", "a${b}",
                "a%b", "ä", "a\0",
            ] {
                assert!(check(hostile).is_err(), "{hostile:?}");
            }
        }
        for hostile in ["x; reboot", "x$(reboot)", "x\ny", "x\"", "x'", " x"] {
            assert!(model(hostile).is_err(), "{hostile:?}");
        }
    }
}
