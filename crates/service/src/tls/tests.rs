//! Our own authority and certificate through starts, crashes, years and changes; the operator's pair through good and bad.

use super::{
    TlsError,
    authority::Authority,
    certificate::{Facts, Validity},
    leaf::{Leaf, Plane, Reason},
    pair::{PairFiles, name_to_ask_for},
};
use crate::secrets::SealedFiles;
use metalform_model::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// A day of 2026.
pub(crate) const NOW: Timestamp = Timestamp(1_770_000_000_000_000);

/// A folder that is gone with the test.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("metalform-tls-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.0.join(name)).unwrap().permissions().mode() & 0o777
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn make(folder: &Folder, at: Timestamp) -> (Leaf, Option<Reason>) {
    Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Control, &names(&["127.0.0.1", "localhost"]), at)
        .unwrap()
}

/// What a client with that certificate of an authority says of it.
fn check(leaf: &Leaf, ca: &str, name: &str, at: Timestamp) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_micros(at.0.try_into().unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&leaf.key.cert[0], &[], &name, &[], at).map(drop)
}

#[test]
fn the_first_start_makes_what_a_client_trusts_and_the_second_makes_nothing() {
    let folder = Folder::new();
    let (leaf, reason) = make(&folder, NOW);
    assert_eq!(reason, Some(Reason::Missing));
    assert_eq!(["ca.pem", "ca.key", "server.pem"].map(|name| folder.mode(name)), [0o644, 0o600, 0o600]);
    let ca = folder.read("ca.pem");
    for name in ["localhost", "127.0.0.1"] {
        check(&leaf, &ca, name, NOW).unwrap();
    }
    assert!(check(&leaf, &ca, "example.com", NOW).is_err());
    let before = ["ca.pem", "ca.key", "server.pem"].map(|name| folder.read(name));
    let (_, reason) = make(&folder, NOW + DAY);
    assert_eq!(reason, None);
    assert_eq!(["ca.pem", "ca.key", "server.pem"].map(|name| folder.read(name)), before);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 3, "nothing half done is left");
}

#[test]
fn it_is_renewed_after_two_thirds_and_at_any_later_time_under_the_same_authority() {
    for (days, renewed) in [(59, false), (61, true), (89, true), (91, true), (1000, true)] {
        let folder = Folder::new();
        let (first, _) = make(&folder, NOW);
        let ca = folder.read("ca.pem");
        let later = NOW + DAY * days;
        let (leaf, reason) = make(&folder, later);
        assert_eq!(reason, renewed.then_some(Reason::Due), "{days}");
        assert_eq!(leaf.key.cert != first.key.cert, renewed, "{days}");
        assert_eq!(folder.read("ca.pem"), ca, "{days}");
        check(&leaf, &ca, "localhost", later).unwrap();
    }
}

#[test]
fn an_authority_that_nears_its_end_is_renewed_and_old_copies_of_it_are_good_until_their_own() {
    let folder = Folder::new();
    make(&folder, NOW);
    let (old, key) = (folder.read("ca.pem"), folder.read("ca.key"));
    let later = NOW + DAY * (365 * 7);
    let (leaf, _) = make(&folder, later);
    let new = folder.read("ca.pem");
    assert_ne!(old, new);
    assert_eq!(folder.read("ca.key"), key);
    for ca in [&old, &new] {
        check(&leaf, ca, "localhost", later).unwrap();
    }
    let much_later = NOW + DAY * (365 * 12);
    let (leaf, _) = make(&folder, much_later);
    check(&leaf, &folder.read("ca.pem"), "localhost", much_later).unwrap();
}

#[test]
fn what_was_made_while_the_clock_was_years_ahead_is_made_anew() {
    let folder = Folder::new();
    make(&folder, NOW + DAY * 4000);
    let key = folder.read("ca.key");
    let (leaf, reason) = make(&folder, NOW);
    assert_eq!((reason, folder.read("ca.key")), (Some(Reason::Due), key));
    check(&leaf, &folder.read("ca.pem"), "localhost", NOW).unwrap();
}

#[test]
fn other_names_make_another_certificate() {
    let folder = Folder::new();
    make(&folder, NOW);
    let more = names(&["127.0.0.1", "localhost", "metalform.example.com", "fd00::7"]);
    let (leaf, reason) = Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Control, &more, NOW).unwrap();
    assert_eq!((reason, &leaf.facts.names), (Some(Reason::OtherNames), &more));
    for name in ["metalform.example.com", "fd00::7"] {
        check(&leaf, &folder.read("ca.pem"), name, NOW).unwrap();
    }
    assert_eq!(make(&folder, NOW).1, Some(Reason::OtherNames), "and a name that is taken away leaves it");
}

/// Every state that a crash can leave, in the order the files are written.
#[test]
fn a_crash_at_any_point_of_the_first_start_costs_nothing_but_what_was_not_written() {
    let whole = Folder::new();
    make(&whole, NOW);
    let written = ["ca.key", "ca.pem", "server.pem"];
    for done in 0..=written.len() {
        for cut in [0, 10, 1_000_000] {
            let folder = Folder::new();
            for name in &written[..done] {
                fs::copy(whole.0.join(name), folder.0.join(name)).unwrap();
            }
            if let Some(name) = written.get(done) {
                let text = whole.read(name);
                fs::write(folder.0.join(format!("{name}.new")), &text[..cut.min(text.len())]).unwrap();
            }
            let (leaf, reason) = make(&folder, NOW + DAY);
            check(&leaf, &folder.read("ca.pem"), "localhost", NOW + DAY).unwrap();
            assert_eq!(reason.is_some(), done < written.len());
            if done > 0 {
                assert_eq!(folder.read("ca.key"), whole.read("ca.key"));
                check(&leaf, &whole.read("ca.pem"), "localhost", NOW + DAY).unwrap();
            }
            assert_eq!(written.map(|name| folder.mode(name)), [0o600, 0o644, 0o600]);
        }
    }
}

#[test]
fn a_server_certificate_that_is_damaged_or_was_readable_or_is_another_authoritys_is_made_anew() {
    let (folder, other) = (Folder::new(), Folder::new());
    make(&folder, NOW);
    make(&other, NOW);
    let path = folder.0.join("server.pem");
    for text in ["", "no certificate", &folder.read("server.pem")[..300], &folder.read("ca.pem")] {
        fs::write(&path, text).unwrap();
        assert_eq!(make(&folder, NOW).1, Some(Reason::Unreadable), "{text:?}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(make(&folder, NOW).1, Some(Reason::Unreadable));
    assert_eq!(folder.mode("server.pem"), 0o600);
    fs::copy(other.0.join("server.pem"), &path).unwrap();
    assert_eq!(make(&folder, NOW).1, Some(Reason::OtherAuthority));
    assert_eq!(make(&folder, NOW).1, None);
}

#[test]
fn an_authority_that_can_not_be_used_is_never_replaced_by_itself() {
    let (folder, other) = (Folder::new(), Folder::new());
    make(&folder, NOW);
    make(&other, NOW);
    let (cert, key) = (folder.read("ca.pem"), folder.read("ca.key"));
    let refused = |wanted: &str| {
        let error =
            Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Control, &names(&["localhost"]), NOW)
                .unwrap_err();
        assert!(format!("{error:?}").starts_with(wanted), "{wanted}: {error:?}");
        assert!(!error.hint().is_empty());
    };
    fs::remove_file(folder.0.join("ca.key")).unwrap();
    refused("KeyLost");
    fs::copy(other.0.join("ca.key"), folder.0.join("ca.key")).unwrap();
    refused("Mismatch");
    fs::write(folder.0.join("ca.key"), "no key").unwrap();
    refused("Content");
    fs::write(folder.0.join("ca.key"), &key).unwrap();
    fs::set_permissions(folder.0.join("ca.key"), fs::Permissions::from_mode(0o604)).unwrap();
    refused("Key(Open");
    fs::set_permissions(folder.0.join("ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.0.join("ca.pem"), "no certificate").unwrap();
    refused("Content");
    assert_eq!(folder.read("ca.key"), key);
    fs::write(folder.0.join("ca.pem"), cert).unwrap();
    make(&folder, NOW);
}

/// Whoever copied the certificate and then lost the file: the same name over the same key.
#[test]
fn an_authoritys_certificate_that_was_removed_comes_back_over_the_same_key() {
    let folder = Folder::new();
    make(&folder, NOW);
    let old = folder.read("ca.pem");
    fs::remove_file(folder.0.join("ca.pem")).unwrap();
    let (leaf, _) = make(&folder, NOW + DAY);
    check(&leaf, &old, "localhost", NOW + DAY).unwrap();
    Authority::load_or_make(&folder.0, &SealedFiles::for_tests(), NOW + DAY).unwrap();
}

/// A pair of files as an operator has them: signed by itself, for these names.
pub(crate) fn write_pair(folder: &Path, name: &str, hosts: &[&str], validity: (Timestamp, Timestamp)) -> PairFiles {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    let (not_before, not_after) = validity;
    super::authority::set_validity(&mut params, Validity { not_before, not_after });
    let key = KeyPair::generate().unwrap();
    let files = PairFiles { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    fs::write(&files.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files
}

fn use_pair(files: &PairFiles) -> Result<Facts, TlsError> {
    files.read().and_then(|text| files.check(&text, NOW)).map(|(_, facts)| facts)
}

#[test]
fn an_operators_pair_that_no_client_would_take_is_refused_with_the_reason() {
    let folder = Folder::new();
    let year = (NOW - DAY, NOW + DAY * 365);
    let good = write_pair(&folder.0, "good", &["Metalform.example.com", "10.1.2.3"], year);
    assert_eq!(use_pair(&good).unwrap().names, names(&["10.1.2.3", "metalform.example.com"]));

    let refused = |files: &PairFiles, wanted: &str, told: &[&Path]| {
        let error = use_pair(files).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains(wanted), "{wanted}: {text}");
        assert!(told.iter().all(|path| text.contains(&path.display().to_string())), "{text}");
        assert!(!error.hint().is_empty());
    };
    let other = write_pair(&folder.0, "other", &["a.example.com"], year);
    let crossed = PairFiles { cert: good.cert.clone(), key: other.key.clone() };
    refused(&crossed, "is not that of the certificate", &[&good.cert, &other.key]);
    let old = write_pair(&folder.0, "old", &["a.example.com"], (NOW - DAY * 30, NOW - DAY));
    refused(&old, "expired at", &[&old.cert]);
    let early = write_pair(&folder.0, "early", &["a.example.com"], (NOW + DAY, NOW + DAY * 30));
    refused(&early, "is not valid before", &[&early.cert]);
    let nameless = write_pair(&folder.0, "nameless", &[], year);
    refused(&nameless, "names no host", &[&nameless.cert]);
    let swapped = PairFiles { cert: good.key.clone(), key: good.key.clone() };
    refused(&swapped, "holds no certificate", &[&good.key]);
    let absent = PairFiles { cert: good.cert.clone(), key: folder.0.join("absent") };
    refused(&absent, "absent", &[]);
    let open = write_pair(&folder.0, "open", &["a.example.com"], year);
    fs::set_permissions(&open.key, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&open, "may be read by others", &[&open.key]);
}

#[test]
fn a_client_on_this_machine_asks_by_a_name_of_the_certificate_unless_the_address_is_one() {
    let folder = Folder::new();
    let year = (NOW - DAY, NOW + DAY * 365);
    let loopback = "127.0.0.1".parse().unwrap();
    let asked = |hosts: &[&str]| name_to_ask_for(&write_pair(&folder.0, "pair", hosts, year).cert, loopback);
    assert_eq!(asked(&["metalform.example.com", "10.0.0.5"]).as_deref(), Some("metalform.example.com"));
    assert_eq!(asked(&["*.example.com"]).as_deref(), Some("metalform.example.com"));
    assert_eq!(asked(&["metalform.example.com", "127.0.0.1"]), None);
    assert_eq!(asked(&["10.0.0.5"]), None);
    assert_eq!(name_to_ask_for(&folder.0.join("absent"), loopback), None);
}

/// Of the boot plane's: another key, and the authority's certificate with it, which is all that a machine compares.
#[test]
fn the_boot_planes_certificate_is_shown_with_the_one_that_scripts_pin() {
    let folder = Folder::new();
    let (control, _) = make(&folder, NOW);
    let boot_names = names(&["10.240.0.5", "127.0.0.1", "localhost"]);
    let load = |at| Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Boot, &boot_names, at).unwrap();
    let (boot, reason) = load(NOW);
    assert_eq!((reason, folder.mode("boot.pem")), (Some(Reason::Missing), 0o600));
    let ca = folder.read("ca.pem");
    check(&boot, &ca, "10.240.0.5", NOW).unwrap();
    assert_ne!(boot.key.cert[0], control.key.cert[0]);
    assert_eq!(control.key.cert.len(), 1, "people have the authority's already");
    let shown = |leaf: &Leaf| leaf.key.cert[1..].to_vec();
    assert_eq!(shown(&boot), [CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()]);
    assert_eq!(load(NOW + DAY).1, None);
    // After years it is shown with the renewed one, and an agent that has seen the one before goes by its key.
    let later = NOW + DAY * (365 * 7);
    let (renewed, reason) = load(later);
    assert_eq!(reason, Some(Reason::Due));
    let now = CertificateDer::from_pem_slice(folder.read("ca.pem").as_bytes()).unwrap();
    assert_ne!(now, shown(&boot)[0]);
    check(&renewed, &ca, "10.240.0.5", later).unwrap();
    // A script that stands in user data since then pins the one before: it is shown, too, until its own end.
    assert_eq!(shown(&renewed), [now.clone(), shown(&boot)[0].clone()]);
    assert_eq!(shown(&load(later + DAY).0), shown(&renewed), "also by the next process");
    assert_eq!(shown(&load(NOW + DAY * (365 * 10 + 10)).0), [now]);
}

/// A crash between the two writes of a renewal leaves one certificate in both files.
#[test]
fn what_is_renewed_is_kept_before_and_shown_once() {
    let folder = Folder::new();
    let load = |at| {
        Leaf::load_or_make(&folder.0, &SealedFiles::for_tests(), Plane::Boot, &names(&["localhost"]), at).unwrap().0
    };
    let first = load(NOW);
    fs::copy(folder.0.join("ca.pem"), folder.0.join("ca-earlier.pem")).unwrap();
    assert_eq!(load(NOW).key.cert, first.key.cert);
    let later = load(NOW + DAY * (365 * 7));
    assert_eq!(later.key.cert.len(), 3, "leaf, the present one, the one before");
    assert_eq!(later.key.cert[2], first.key.cert[1]);

    // Of another key nothing is shown: the leaf is none of its.
    let other = Folder::new();
    Authority::load_or_make(&other.0, &SealedFiles::for_tests(), NOW).unwrap();
    fs::copy(other.0.join("ca.pem"), folder.0.join("ca-earlier.pem")).unwrap();
    assert_eq!(load(NOW + DAY * (365 * 7)).key.cert.len(), 2);
    // What can't be read isn't taken for nothing.
    fs::write(folder.0.join("ca-earlier.pem"), "-----BEGIN CERTIFICATE-----\nno").unwrap();
    let read = Authority::load_or_make(&folder.0, &SealedFiles::for_tests(), NOW + DAY * (365 * 7));
    assert!(matches!(read, Err(TlsError::Content { .. })), "{read:?}");
}
