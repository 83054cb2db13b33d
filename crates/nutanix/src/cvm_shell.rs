//! The way into a machine through its shell: is it there, is it ready, and a session to work with.
//!
//! A CVM serves no Prism before its cluster exists (Prism is one of the services a create starts; published
//! transcripts), and the published clients that form clusters without a Prism Central go through SSH. The same session
//! type serves the AHV hypervisor below a CVM, as user `root`.

use crate::{
    ClusterServices, ClusterWord, CvmSession, Fingerprint, PinRule, ShellError, ShellErrorKind, ShellOperation, Ssh,
    SshError, SshLogin, excerpt,
};
use secrecy::SecretString;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// Where things are on the machine, and how long to wait for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CvmShellSettings {
    /// Port of SSH.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Full path of `cluster`; a shell that is no login shell doesn't find it.
    pub cluster: String,
    /// Full path of `genesis`.
    pub genesis: String,
    /// Full path of `ncli`.
    pub ncli: String,
    /// Port of Prism.
    pub prism_port: u16,
    /// Port of genesis, over which CVMs discover each other.
    pub genesis_port: u16,
    /// From the first packet to the end of the login.
    pub connect_limit: Duration,
    /// For each command.
    pub exec_limit: Duration,
    /// For those that are known to take long: destroy, a restart of genesis, `ncli`.
    pub slow_exec_limit: Duration,
}

impl Default for CvmShellSettings {
    /// A CVM as published clients find it: equinix-labs/terraform-equinix-metal-nutanix-cluster and Nutanix' own
    /// Ansible and Terraform examples name the paths of `cluster` and `ncli`. That `genesis` lies beside `cluster` is
    /// inferred.
    fn default() -> Self {
        Self {
            port: 22,
            user: "nutanix".to_owned(),
            cluster: "/usr/local/nutanix/cluster/bin/cluster".to_owned(),
            genesis: "/usr/local/nutanix/cluster/bin/genesis".to_owned(),
            ncli: "/home/nutanix/prism/cli/ncli".to_owned(),
            prism_port: 9440,
            genesis_port: 2100,
            connect_limit: Duration::from_secs(5),
            exec_limit: Duration::from_secs(20),
            slow_exec_limit: Duration::from_secs(180),
        }
    }
}

impl CvmShellSettings {
    /// The AHV hypervisor below a CVM: user `root`. Its session knows accounts, passwords and the clock; there is no
    /// `cluster` there.
    pub fn of_hypervisor(&self) -> Self {
        Self { user: "root".to_owned(), ..self.clone() }
    }
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellProbe {
    /// How the machine answered.
    pub answer: ShellAnswer,
    /// The host key that it proved to have, if it came to that.
    pub fingerprint: Option<Fingerprint>,
}

/// How a CVM answers over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellAnswer {
    /// The machine is there and nothing listens on the port.
    Refused,
    /// No answer within the limit, or the connection broke: nobody is there, or somebody who is starting or stopping.
    Silent,
    /// Something listens that speaks no SSH.
    NotSsh,
    /// It speaks SSH. No password was given, so no more is known.
    SshUp,
    /// User or password refused.
    Denied,
    /// It shows another host key than the pinned ones.
    OtherKey {
        /// The pinned keys.
        expected: Vec<Fingerprint>,
        /// The key that was shown.
        seen: Fingerprint,
    },
    /// Logged in, and genesis, which must run before a cluster can be formed, does not.
    GenesisDown {
        /// What was said instead.
        seen: String,
    },
    /// Genesis runs and the CVM belongs to no cluster: ready.
    Unconfigured,
    /// The CVM belongs to a cluster.
    Configured(ClusterServices),
    /// Logged in, and what was said is not understood.
    NotUnderstood {
        /// What was said.
        seen: String,
    },
}

/// Client of machines' shells.
#[derive(Clone)]
pub struct CvmShell {
    ssh: Arc<dyn Ssh>,
    settings: CvmShellSettings,
}

impl CvmShell {
    /// A client over this transport.
    pub fn new(ssh: Arc<dyn Ssh>, settings: CvmShellSettings) -> Self {
        Self { ssh, settings }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &CvmShellSettings {
        &self.settings
    }

    /// How far is this CVM? Without a password only the greeting is read; with one it is tried once, so a caller that
    /// waits for a machine probes without until [`ShellAnswer::SshUp`], then with: repeated failures lock accounts
    /// (reported of a fresh CE node whose automation kept trying).
    pub async fn probe(&self, address: Ipv4Addr, pin: PinRule, password: Option<&SecretString>) -> ShellProbe {
        let Some(password) = password else {
            let answer = match self.ssh.greet(address, self.settings.port, self.settings.connect_limit).await {
                Ok(()) => ShellAnswer::SshUp,
                Err(error) => ShellAnswer::of(error),
            };
            return ShellProbe { answer, fingerprint: None };
        };
        match self.open(address, pin, password).await {
            Ok(session) => {
                let fingerprint = Some(session.fingerprint());
                ShellProbe { answer: session.answer().await, fingerprint }
            }
            Err(error) => ShellProbe { answer: ShellAnswer::of_error(error), fingerprint: None },
        }
    }

    /// Logs in.
    pub async fn open(
        &self,
        address: Ipv4Addr,
        pin: PinRule,
        password: &SecretString,
    ) -> Result<CvmSession, ShellError> {
        let login = SshLogin {
            address,
            port: self.settings.port,
            user: self.settings.user.clone(),
            password: password.clone(),
            pin,
            limit: self.settings.connect_limit,
        };
        match self.ssh.open(login).await {
            Ok(session) => Ok(CvmSession::new(session, address, self.settings.clone())),
            Err(error) => Err(ShellError {
                operation: ShellOperation::LogIn,
                address,
                port: self.settings.port,
                kind: Box::new(ShellErrorKind::Ssh(error)),
            }),
        }
    }
}

impl ShellAnswer {
    fn of(error: SshError) -> Self {
        match error {
            SshError::Refused => ShellAnswer::Refused,
            SshError::NotSsh(_) => ShellAnswer::NotSsh,
            SshError::Denied => ShellAnswer::Denied,
            SshError::PinMismatch { expected, seen } => ShellAnswer::OtherKey { expected, seen },
            SshError::Unreachable(_)
            | SshError::ConnectTimeout(_)
            | SshError::NotStarted(_)
            | SshError::Lost(_)
            | SshError::ReplyTimeout(_) => ShellAnswer::Silent,
        }
    }

    fn of_error(error: ShellError) -> Self {
        match *error.kind {
            ShellErrorKind::Ssh(error) => ShellAnswer::of(error),
            ShellErrorKind::Failed { said: seen, .. } | ShellErrorKind::NotUnderstood { said: seen, .. } => {
                ShellAnswer::NotUnderstood { seen }
            }
            ShellErrorKind::Unfit(why) => ShellAnswer::NotUnderstood { seen: why.to_owned() },
        }
    }
}

impl CvmSession {
    async fn answer(&self) -> ShellAnswer {
        match self.genesis().await {
            Ok(genesis) if genesis.is_up() => {}
            Ok(genesis) => return ShellAnswer::GenesisDown { seen: excerpt::of_text(&genesis.said) },
            // `genesis status` that fails is a genesis that isn't up: on a CVM that starts, its own parts are missing.
            Err(ShellError { kind, .. }) => match *kind {
                ShellErrorKind::Failed { said: seen, .. } | ShellErrorKind::NotUnderstood { said: seen, .. } => {
                    return ShellAnswer::GenesisDown { seen };
                }
                ShellErrorKind::Ssh(error) => return ShellAnswer::of(error),
                ShellErrorKind::Unfit(why) => return ShellAnswer::NotUnderstood { seen: why.to_owned() },
            },
        }
        match self.cluster_status().await {
            Ok(ClusterWord::Unconfigured) => ShellAnswer::Unconfigured,
            Ok(ClusterWord::Configured(services)) => ShellAnswer::Configured(services),
            Err(error) => ShellAnswer::of_error(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scripted::{CVM, KEY},
        scripted_ssh::{Answer, ScriptedSsh, says},
    };

    const GENESIS: &str = "  foundation: []\n  genesis: [2187, 2230]\n";
    const UNCONFIGURED: &str = "2023-08-24 12:00:00,123Z CRITICAL MainThread cluster:2943 \
                                Cluster is currently unconfigured. Please create the cluster.\n";

    async fn probe(password: Option<&str>, answers: impl IntoIterator<Item = Answer>) -> (ShellProbe, Vec<String>) {
        let ssh = ScriptedSsh::answering(answers);
        let shell = CvmShell::new(Arc::new(ssh.clone()), CvmShellSettings::default());
        let probe = shell.probe(CVM, PinRule::TrustFirst, password.map(SecretString::from).as_ref()).await;
        (probe, ssh.asked())
    }

    #[tokio::test]
    async fn without_a_password_only_the_greeting_is_read() {
        let (probe, asked) = probe(None, [says(0, "", "")]).await;
        assert_eq!(probe, ShellProbe { answer: ShellAnswer::SshUp, fingerprint: None });
        assert_eq!(asked, ["greet 10.240.0.11:22 within 5s"]);
    }

    #[tokio::test]
    async fn with_a_password_genesis_is_asked_and_then_the_cluster() {
        let (probe, asked) =
            probe(Some("geheim"), [says(0, "", ""), says(0, GENESIS, ""), says(1, "", UNCONFIGURED)]).await;
        assert_eq!(probe, ShellProbe { answer: ShellAnswer::Unconfigured, fingerprint: Some(KEY) });
        assert_eq!(
            asked,
            [
                "open nutanix:geheim@10.240.0.11:22 TrustFirst within 5s",
                "'/usr/local/nutanix/cluster/bin/genesis' status within 20s",
                "'/usr/local/nutanix/cluster/bin/cluster' status within 20s",
            ]
        );
    }

    #[tokio::test]
    async fn a_cvm_with_a_cluster_tells_of_its_services() {
        let table = "The state of the cluster: start\n\tCVM: 10.240.0.11 Up, ZeusLeader\n  Zeus UP\t[12]\n";
        let (probe, _) = probe(Some("p"), [says(0, "", ""), says(0, GENESIS, ""), says(0, table, "")]).await;
        let ShellAnswer::Configured(services) = probe.answer else { panic!("{:?}", probe.answer) };
        assert_eq!(services.member_ips(), [CVM]);
        assert!(services.all_up());
    }

    #[tokio::test]
    async fn every_way_of_not_getting_in_has_a_name() {
        let second = Duration::from_secs(1);
        for (make, answer) in [
            ((|_| SshError::Refused) as fn(Duration) -> SshError, ShellAnswer::Refused),
            (|_| SshError::Unreachable("reset".into()), ShellAnswer::Silent),
            (SshError::ConnectTimeout, ShellAnswer::Silent),
            (|_| SshError::NotSsh("HTTP".into()), ShellAnswer::NotSsh),
            (|_| SshError::Denied, ShellAnswer::Denied),
            (
                |_| SshError::PinMismatch { expected: vec![KEY], seen: Fingerprint([1; 32]) },
                ShellAnswer::OtherKey { expected: vec![KEY], seen: Fingerprint([1; 32]) },
            ),
        ] {
            let (probe, asked) = probe(Some("p"), [Err(make(second))]).await;
            assert_eq!(probe, ShellProbe { answer, fingerprint: None });
            assert_eq!(asked.len(), 1, "one attempt");
        }
    }

    #[tokio::test]
    async fn a_genesis_that_does_not_run_is_no_readiness() {
        for (answer, seen) in [
            (says(0, "genesis: []\nfoundation: []\n", ""), "genesis: [] foundation: []"),
            (says(127, "", "bash: genesis: No such file or directory\n"), "bash: genesis: No such file or directory"),
        ] {
            let (probe, asked) = probe(Some("p"), [says(0, "", ""), answer]).await;
            assert_eq!(probe.answer, ShellAnswer::GenesisDown { seen: seen.to_owned() });
            assert_eq!(asked.len(), 2, "the cluster is not asked for");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_silence_and_keeps_its_key() {
        let (probe, _) = probe(Some("p"), [says(0, "", ""), Err(SshError::Lost("reset".into()))]).await;
        assert_eq!(probe, ShellProbe { answer: ShellAnswer::Silent, fingerprint: Some(KEY) });
    }

    #[tokio::test]
    async fn other_words_are_neither_readiness_nor_a_cluster() {
        for answer in [says(1, "", "Zookeeper is not there\n"), says(0, "Zookeeper is not there\n", "")] {
            let (probe, _) = probe(Some("p"), [says(0, "", ""), says(0, GENESIS, ""), answer]).await;
            assert_eq!(probe.answer, ShellAnswer::NotUnderstood { seen: "Zookeeper is not there".to_owned() });
        }
    }
}
