//! A plane's certificate while the service runs: ours is renewed in time, the operator's is read again when its files change.
//! What can't be used changes nothing; it is told once.
//!
//! Files are compared by what they hold. Their times were rejected: a link that is swapped, as container platforms do it,
//! may bring an older one, and two writes within a tick look like one.

use super::{
    TlsError,
    acme::Acme,
    certificate::{Facts, Validity},
    folder,
    leaf::{Leaf, Plane},
    names::{Host, names},
    pair::{PairFiles, PairText},
    presented::{Presented, acceptor},
};
use crate::{
    config::{Config, ControlTls},
    secrets::SealedFiles,
};
use metalform_boot::{BootHost, CaPin};
use metalform_model::{Clock, Timestamp};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, error::Error as StdError, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Between two looks at the files, or at the clock.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// How long before the end of an operator's certificate we begin to say so.
const REMIND: Duration = Duration::from_secs(14 * 24 * 3600);

/// The certificate in use, and where the next one comes from.
pub(crate) struct ServerTls {
    presented: Arc<Presented>,
    source: Source,
    acme: Option<Acme>,
}

enum Source {
    Ours(Ours),
    Operators(Operators),
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// Nothing to tell.
    Same,
    /// Another certificate is presented from now on.
    Replaced(Facts),
    /// The one before is kept.
    Refused { error: String, hint: String },
}

impl ServerTls {
    /// The boot plane's, whoever's the control plane's is: what scripts pin is our own authority. `None`: plain HTTP alone.
    ///
    /// It is for the host of `public_url`, the address that is listened on, and loopback. The machine's name and its other
    /// addresses, which the control plane's is for, too, are nothing to tell that network.
    pub fn start_boot(
        config: &Config,
        sealed: &SealedFiles,
        host: &BootHost,
        now: Timestamp,
    ) -> Result<Option<ServerTls>, TlsError> {
        if !config.boot.speaks_tls() {
            return Ok(None);
        }
        let spec = NamesSpec { listen: config.boot.listen, added: vec![host.host().to_owned()], is_local: false };
        let (presented, ours) = Ours::start(folder(&config.data_dir), sealed.clone(), Plane::Boot, spec, now)?;
        Ok(Some(ServerTls { presented, source: Source::Ours(ours), acme: None }))
    }

    /// What boot scripts pin, where it is the boot plane's.
    pub fn ca_pin(&self) -> Option<CaPin> {
        match &self.source {
            Source::Ours(ours) => ours.pin.clone(),
            Source::Operators(_) => None,
        }
    }

    /// As the configuration says; `None`: plain HTTP. `listen` is where the control plane really listens.
    pub fn start(
        config: &Config,
        sealed: &SealedFiles,
        listen: SocketAddr,
        now: Timestamp,
    ) -> Result<Option<ServerTls>, TlsError> {
        let (presented, source) = match &config.control.tls {
            ControlTls::Off => return Ok(None),
            ControlTls::SelfMade => {
                let mut added = config.control.names.clone();
                // Until the authority has issued one, ours is all there is.
                added.extend(config.control.acme.iter().flat_map(|acme| acme.domains.clone()));
                let spec = NamesSpec { listen, added, is_local: true };
                let folder = folder(&config.data_dir);
                let (presented, ours) = Ours::start(folder, sealed.clone(), Plane::Control, spec, now)?;
                (presented, Source::Ours(ours))
            }
            ControlTls::Pair { cert, key } => {
                let (presented, operators) = Operators::start(PairFiles { cert: cert.clone(), key: key.clone() }, now)?;
                (presented, Source::Operators(operators))
            }
        };
        let acme = config.control.acme.clone().map(|acme| {
            Acme::start(folder(&config.data_dir), sealed.clone(), acme, &presented, now).map_err(TlsError::from)
        });
        Ok(Some(ServerTls { presented, source, acme: acme.transpose()? }))
    }

    /// Whether the certificate is the operator's.
    pub fn is_operators(&self) -> bool {
        matches!(self.source, Source::Operators(_))
    }

    /// What the listener speaks.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        acceptor(self.presented.clone(), self.acme.is_some())
    }

    /// Looks again every few seconds, and when `reload` is notified, until stopped.
    pub async fn keep(mut self, clock: Arc<dyn Clock>, reload: Arc<Notify>, stop: CancellationToken) {
        let mut asked = false;
        loop {
            if let Some(acme) = &mut self.acme {
                // Minutes at worst, in which nothing else of this is looked at: ours has a third of its time left when it is due.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = acme.look(&self.presented, clock.now(), asked) => {}
                }
            }
            asked = tokio::select! {
                () = stop.cancelled() => return,
                () = reload.notified() => true,
                () = tokio::time::sleep(BETWEEN_LOOKS) => false,
            };
            let now = clock.now();
            // The files may be on a network's drive.
            let looked = tokio::task::spawn_blocking(move || {
                let looked = match &mut self.source {
                    Source::Ours(ours) => ours.look(&self.presented, now, asked),
                    Source::Operators(operators) => operators.look(&self.presented, now, asked),
                };
                match looked {
                    Looked::Same if asked => tracing::info!("the certificate is as it was"),
                    Looked::Same => {}
                    Looked::Replaced(facts) => tell_of("new connections get another certificate", &facts),
                    Looked::Refused { error, hint } => {
                        tracing::warn!(error, hint, "no new certificate can be used; the one before is kept");
                    }
                }
                self
            });
            self = match looked.await {
                Ok(same) => same,
                Err(error) => {
                    tracing::error!(%error, "the certificate is not looked after any more; restart the service");
                    return;
                }
            };
        }
    }
}

/// What the names of our own certificate come from.
struct NamesSpec {
    listen: SocketAddr,
    added: Vec<String>,
    /// And from the machine: its name, and where `listen` is every address, each that it has.
    is_local: bool,
}

impl NamesSpec {
    fn names(&self) -> BTreeSet<String> {
        let host = if self.is_local { Host::here() } else { Host::default() };
        names(self.listen, &self.added, &host)
    }
}

/// Our own certificate.
struct Ours {
    folder: PathBuf,
    /// What opens the authority's key, for the next certificate.
    sealed: SealedFiles,
    plane: Plane,
    spec: NamesSpec,
    validity: Validity,
    told: Option<String>,
    /// Of the authority's certificate, where that is shown with ours.
    pin: Option<CaPin>,
}

/// SHA-256 of the authority's certificate, where it is shown.
fn pin_of(leaf: &Leaf) -> Option<[u8; 32]> {
    leaf.key.cert.get(1).map(|authority| Sha256::digest(authority).into())
}

impl Ours {
    fn start(
        folder: PathBuf,
        sealed: SealedFiles,
        plane: Plane,
        spec: NamesSpec,
        now: Timestamp,
    ) -> Result<(Arc<Presented>, Ours), TlsError> {
        let (leaf, _) = Leaf::load_or_make(&folder, &sealed, plane, &spec.names(), now)?;
        let pin = pin_of(&leaf).map(CaPin::new);
        let Leaf { key, facts } = leaf;
        Ok((Presented::new(key), Ours { folder, sealed, plane, spec, validity: facts.validity, told: None, pin }))
    }

    /// The machine's names are asked only when somebody asks to reload: addresses come and go on a machine that runs
    /// containers, and none of those is worth a new certificate by itself.
    fn look(&mut self, presented: &Presented, now: Timestamp, asked: bool) -> Looked {
        if !asked && !self.validity.is_due(now) {
            return Looked::Same;
        }
        match Leaf::load_or_make(&self.folder, &self.sealed, self.plane, &self.spec.names(), now) {
            Ok((leaf, reason)) => {
                if let Some((pin, sha256)) = self.pin.as_ref().zip(pin_of(&leaf)) {
                    pin.replace(sha256);
                }
                let Leaf { key, facts } = leaf;
                presented.replace(key);
                self.validity = facts.validity;
                self.told = None;
                if reason.is_some() { Looked::Replaced(facts) } else { Looked::Same }
            }
            Err(error) => refused(&mut self.told, asked, &error),
        }
    }
}

/// The operator's.
struct Operators {
    files: PairFiles,
    /// What the files held at the last look; `None`: they could not be read.
    last: Option<PairText>,
    /// Whether that is what is presented.
    is_good: bool,
    told: Option<String>,
    validity: Validity,
    reminded: Option<&'static str>,
}

impl Operators {
    fn start(files: PairFiles, now: Timestamp) -> Result<(Arc<Presented>, Operators), TlsError> {
        let text = files.read()?;
        let (key, facts) = files.check(&text, now)?;
        tell_of("the operator's certificate is used", &facts);
        let validity = facts.validity;
        let mut operators = Operators { files, last: Some(text), is_good: true, told: None, validity, reminded: None };
        operators.remind(now);
        Ok((Presented::new(Arc::new(key)), operators))
    }

    /// A pair that can't be used is told at the second look that finds it so: the two files are rarely written in the same
    /// moment, and between the two they don't match.
    fn look(&mut self, presented: &Presented, now: Timestamp, asked: bool) -> Looked {
        self.remind(now);
        let (text, checked, is_same) = match self.files.read() {
            Ok(text) => {
                let is_same = self.last.as_ref() == Some(&text);
                if is_same && self.is_good && !asked {
                    return Looked::Same;
                }
                let checked = self.files.check(&text, now);
                (Some(text), checked, is_same)
            }
            Err(error) => (None, Err(error), self.last.is_none()),
        };
        self.last = text;
        self.is_good = checked.is_ok();
        match checked {
            Ok((key, facts)) => {
                self.told = None;
                let is_new = presented.now().cert != key.cert;
                presented.replace(Arc::new(key));
                self.validity = facts.validity;
                self.remind(now);
                if is_new { Looked::Replaced(facts) } else { Looked::Same }
            }
            Err(error) if is_same || asked => refused(&mut self.told, asked, &error),
            Err(_) => Looked::Same,
        }
    }

    /// Each of the two once.
    fn remind(&mut self, now: Timestamp) {
        let reminder = reminder(self.validity, now);
        if let Some(text) = reminder.filter(|_| reminder != self.reminded) {
            tracing::warn!(file = %self.files.cert.display(), until = %self.validity.not_after, "{text}");
        }
        self.reminded = reminder;
    }
}

pub(super) fn reminder(validity: Validity, now: Timestamp) -> Option<&'static str> {
    if now > validity.not_after {
        Some("the operator's certificate has expired: clients refuse it")
    } else if now > validity.not_after - REMIND {
        Some("the operator's certificate expires soon: have it renewed")
    } else {
        None
    }
}

pub(super) fn tell_of(what: &str, facts: &Facts) {
    let names = facts.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    tracing::info!(names, until = %facts.validity.not_after, "{what}");
}

/// An error with its causes, unless it was the last thing told and nobody asked.
fn refused(told: &mut Option<String>, asked: bool, error: &TlsError) -> Looked {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    if !asked && told.as_ref() == Some(&text) {
        return Looked::Same;
    }
    *told = Some(text.clone());
    Looked::Refused { error: text, hint: error.hint() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::WallClock,
        listener::{self, Limits, Speaks},
        tls::{
            testing,
            tests::{DAY, Folder, NOW, write_pair},
        },
    };
    use axum::{Router, routing::get};
    use std::{
        fs,
        sync::atomic::{AtomicI64, Ordering},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::client::TlsStream;

    const YEAR: (Timestamp, Timestamp) = (NOW, Timestamp(NOW.0 + 365 * 86_400_000_000));

    fn is_refused(looked: Looked, why: &str) -> bool {
        matches!(looked, Looked::Refused { error, hint } if error.contains(why) && !hint.is_empty())
    }

    #[test]
    fn a_new_pair_is_taken_and_a_broken_one_is_told_once_and_changes_nothing() {
        let folder = Folder::new();
        let files = write_pair(&folder.0, "pair", &["a.example.com"], YEAR);
        let (presented, mut operators) = Operators::start(files.clone(), NOW).unwrap();
        let first = presented.now().cert.clone();
        assert_eq!(operators.look(&presented, NOW, false), Looked::Same);

        let next = write_pair(&folder.0, "next", &["b.example.com"], YEAR);
        fs::copy(&next.cert, &files.cert).unwrap();
        assert_eq!(operators.look(&presented, NOW, false), Looked::Same, "its key may be on the way");
        assert!(is_refused(operators.look(&presented, NOW, false), "is not that of the certificate"));
        assert_eq!(operators.look(&presented, NOW, false), Looked::Same, "told once");
        assert!(is_refused(operators.look(&presented, NOW, true), "is not that"), "but whoever asks is told");
        assert_eq!(presented.now().cert, first);

        fs::copy(&next.key, &files.key).unwrap();
        assert!(matches!(operators.look(&presented, NOW, false), Looked::Replaced(_)));
        assert_ne!(presented.now().cert, first);
        assert_eq!(operators.look(&presented, NOW, false), Looked::Same);
    }

    #[test]
    fn files_that_vanish_or_are_cut_short_keep_the_certificate_and_are_taken_once_they_are_back() {
        let folder = Folder::new();
        let files = write_pair(&folder.0, "pair", &["a.example.com"], YEAR);
        let (presented, mut operators) = Operators::start(files.clone(), NOW).unwrap();
        let first = presented.now().cert.clone();
        let whole = fs::read(&files.cert).unwrap();
        for broken in [None, Some(&whole[..40]), Some(&b""[..])] {
            match broken {
                None => fs::remove_file(&files.cert).unwrap(),
                Some(bytes) => fs::write(&files.cert, bytes).unwrap(),
            }
            operators.look(&presented, NOW, false);
            assert!(matches!(operators.look(&presented, NOW, false), Looked::Refused { .. }));
            assert_eq!(presented.now().cert, first);
            fs::write(&files.cert, &whole).unwrap();
            assert_eq!(operators.look(&presented, NOW, false), Looked::Same, "it is the one that is presented");
            assert!(operators.is_good);
        }
    }

    #[test]
    fn a_pair_that_will_hold_is_taken_as_soon_as_it_does() {
        let folder = Folder::new();
        let files = write_pair(&folder.0, "pair", &["a.example.com"], YEAR);
        let (presented, mut operators) = Operators::start(files, NOW).unwrap();
        write_pair(&folder.0, "pair", &["a.example.com"], (NOW + DAY, NOW + DAY * 90));
        operators.look(&presented, NOW, false);
        assert!(is_refused(operators.look(&presented, NOW, false), "is not valid before"));
        assert!(matches!(operators.look(&presented, NOW + DAY, false), Looked::Replaced(_)));
    }

    #[test]
    fn ours_is_renewed_while_it_runs_and_a_disk_that_fails_is_told_once() {
        let folder = Folder::new();
        let listen = "127.0.0.1:8443".parse().unwrap();
        let spec = NamesSpec { listen, added: vec!["a.example.com".into()], is_local: true };
        let (presented, mut ours) =
            Ours::start(folder.0.join("tls"), SealedFiles::for_tests(), Plane::Control, spec, NOW).unwrap();
        let first = presented.now().cert.clone();
        assert_eq!(ours.look(&presented, NOW + DAY * 59, false), Looked::Same);
        let saved = fs::read(folder.0.join("tls/ca.key")).unwrap();
        fs::remove_file(folder.0.join("tls/ca.key")).unwrap();
        assert!(is_refused(ours.look(&presented, NOW + DAY * 61, false), "its key"));
        assert_eq!(ours.look(&presented, NOW + DAY * 61, false), Looked::Same);
        assert_eq!(presented.now().cert, first);
        crate::secrets::write_whole(&folder.0.join("tls/ca.key"), &saved, 0o600).unwrap();
        assert!(matches!(ours.look(&presented, NOW + DAY * 61, false), Looked::Replaced(_)));
        assert_ne!(presented.now().cert, first);
        assert_eq!(ours.look(&presented, NOW + DAY * 62, false), Looked::Same);
        assert!(!fs::exists(folder.0.join("tls/server.pem.new")).unwrap());
    }

    /// What time it is, as far as the service knows.
    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    /// One request over a connection that stands.
    async fn ask(stream: &mut TlsStream<TcpStream>) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"here") {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "{}", String::from_utf8_lossy(&heard));
        }
    }

    #[tokio::test]
    async fn a_renewal_while_it_runs_is_seen_by_new_connections_and_by_none_that_stands() {
        let folder = Folder::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = format!("data_dir = {:?}\n[control]\nlisten = \"{address}\"\n", folder.0);
        let config = Config::parse(&config, &|_| None).unwrap();
        // Seventy days ago by the service's clock; the client's is right.
        let today = WallClock.now();
        let clock = Arc::new(Hands(AtomicI64::new((today - DAY * 70).0)));
        let tls = ServerTls::start(&config, &SealedFiles::for_tests(), address, clock.now())
            .unwrap()
            .expect("HTTPS is the default");
        let (presented, acceptor) = (tls.presented.clone(), tls.acceptor().unwrap());
        let (reload, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let keeper = tokio::spawn(tls.keep(clock.clone(), reload.clone(), stop.clone()));
        let router = Router::new().route("/", get(|| async { "here" }));
        let ended =
            listener::answer("test plane", listener, Speaks::Https(acceptor), router, Limits::default(), stop.clone());

        let connector = testing::connector(&crate::tls::ca_file(&folder.0));
        let connect = async || {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
        };
        let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap().to_vec();
        let mut standing = connect().await;
        ask(&mut standing).await;
        let first = shown(&standing);
        clock.0.store(today.0, Ordering::Relaxed);
        reload.notify_one();
        let renewed = async {
            while presented.now().cert == first {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), renewed).await.unwrap();
        ask(&mut standing).await;
        let mut new = connect().await;
        ask(&mut new).await;
        assert_ne!(shown(&new), first);
        drop((standing, new));
        stop.cancel();
        keeper.await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    }

    #[test]
    fn an_operator_is_reminded_two_weeks_before_the_end_and_at_the_end() {
        let validity = Validity { not_before: NOW, not_after: NOW + DAY * 90 };
        let at = |days| reminder(validity, NOW + DAY * days).map(|text| text.contains("soon"));
        assert_eq!([at(0), at(75), at(77), at(90), at(91)], [None, None, Some(true), Some(true), Some(false)]);
    }
}
