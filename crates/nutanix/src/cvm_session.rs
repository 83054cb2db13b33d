//! A login on a CVM or a hypervisor, and everything that is asked there. Each method is one command, but
//! [`CvmSession::start_job`], which may look at what it found.
//!
//! Every argument goes into its command in single quotes. No secret does: passwords are written to the command's
//! standard input, since arguments stand in the machine's process list and, here, in logs.

use crate::{
    ClusterServices, ClusterWord, CvmShellSettings, Exec, ExecOutput, FactoryConfig, Fingerprint, GenesisStatus,
    JobCommand, JobName, JobSeen, JobStart, JobState, Reach, ShellError, ShellErrorKind, ShellOperation, SshError,
    SshSession, cluster_command::quoted, excerpt, job::NO_SUCH_JOB,
};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, net::Ipv4Addr, time::Duration};

/// A login. Dropping it closes the connection; what was started as a job goes on.
pub struct CvmSession {
    session: Box<dyn SshSession>,
    address: Ipv4Addr,
    settings: CvmShellSettings,
}

impl fmt::Debug for CvmSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CvmSession({}@{}:{})", self.settings.user, self.address, self.settings.port)
    }
}

impl CvmSession {
    pub(crate) fn new(session: Box<dyn SshSession>, address: Ipv4Addr, settings: CvmShellSettings) -> Self {
        Self { session, address, settings }
    }

    /// The host key that the machine proved to have.
    pub fn fingerprint(&self) -> Fingerprint {
        self.session.fingerprint()
    }

    /// The machine.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The services that run before any cluster does.
    pub async fn genesis(&self) -> Result<GenesisStatus, ShellError> {
        const DOING: ShellOperation = ShellOperation::ReadGenesis;
        let output = self.succeed(DOING, format!("{} status", quoted(&self.settings.genesis))).await?;
        Ok(GenesisStatus::parse(&output.stdout))
    }

    /// Does the CVM belong to a cluster, and how are its services? A CVM without one says so with an exit status other
    /// than 0, on standard error (published transcripts; the status from old vendor material).
    pub async fn cluster_status(&self) -> Result<ClusterWord, ShellError> {
        const DOING: ShellOperation = ShellOperation::ReadClusterStatus;
        let output = self.run(DOING, format!("{} status", quoted(&self.settings.cluster))).await?;
        if let Some(services) = ClusterServices::parse(&output.stdout) {
            return Ok(ClusterWord::Configured(services));
        }
        let says_unconfigured = |text: &str| text.to_lowercase().contains("cluster is currently unconfigured");
        if says_unconfigured(&output.stderr) || says_unconfigured(&output.stdout) {
            return Ok(ClusterWord::Unconfigured);
        }
        Err(self.error(DOING, if output.status == Some(0) { not_understood(&output, None) } else { failed(&output) }))
    }

    /// Starts a command that goes on without us, once: a second start of the same name starts nothing.
    ///
    /// After an error that [`ShellError::is_ambiguous`] the job may be there: [`CvmSession::job`] tells, and so does
    /// starting it again.
    pub async fn start_job(&self, job: &JobName, command: &JobCommand) -> Result<JobStart, ShellError> {
        const DOING: ShellOperation = ShellOperation::StartJob;
        let output = self.run(DOING, job.start_line(command, &self.settings.cluster)).await?;
        if output.status == Some(0) {
            return Ok(JobStart::Started);
        }
        // A folder that is there, or one that can't be made? mkdir says which in the machine's language; looking is
        // surer.
        let seen = self.look(DOING, job, u64::from(u32::MAX)).await?;
        match seen.state {
            JobState::Absent => Err(self.error(DOING, failed(&output))),
            JobState::Running | JobState::Ended { .. } | JobState::Died => Ok(JobStart::AlreadyThere),
        }
    }

    /// How far is a job, and what has it written from this byte on (0 is the first)?
    pub async fn job(&self, job: &JobName, from_byte: u64) -> Result<JobSeen, ShellError> {
        self.look(ShellOperation::ReadJob, job, from_byte).await
    }

    async fn look(&self, doing: ShellOperation, job: &JobName, from_byte: u64) -> Result<JobSeen, ShellError> {
        let output = self.run(doing, job.look_line(from_byte)).await?;
        if output.status == Some(NO_SUCH_JOB) {
            return Ok(JobSeen { state: JobState::Absent, output: String::new(), next_byte: from_byte });
        }
        JobSeen::parse(&output.stdout, from_byte).ok_or_else(|| self.error(doing, not_understood(&output, None)))
    }

    /// What does this machine find at another address? Its own is a fair question too: which of its ports are open.
    pub async fn reach(&self, ip: Ipv4Addr, ports: &[u16]) -> Result<Reach, ShellError> {
        const DOING: ShellOperation = ShellOperation::Reach;
        // What is silent takes its whole time.
        let patience = Duration::from_secs(2) + Duration::from_secs(3) * u32::try_from(ports.len()).unwrap_or(u32::MAX);
        let exec = Exec::of(Reach::question(ip, ports), self.settings.exec_limit.saturating_add(patience));
        let output = self.exec(DOING, exec).await?;
        Reach::parse(&output.stdout, ports).ok_or_else(|| self.error(DOING, not_understood(&output, None)))
    }

    /// Ends a job with everything it started: it leads a process group of its own. One that has ended already is no error.
    pub async fn end_job(&self, job: &JobName) -> Result<(), ShellError> {
        let command = format!("kill -- -$(cat .metalform/{job}/pid) 2>/dev/null || true");
        self.succeed(ShellOperation::EndJob, command).await.map(drop)
    }

    /// The machine's clock, seconds since 1970.
    pub async fn clock(&self) -> Result<i64, ShellError> {
        const DOING: ShellOperation = ShellOperation::ReadClock;
        let output = self.succeed(DOING, "date +%s".to_owned()).await?;
        let read = output.stdout.trim().parse();
        read.map_err(|cause: std::num::ParseIntError| self.error(DOING, not_understood(&output, Some(cause.into()))))
    }

    /// Who the node is.
    pub async fn identity(&self) -> Result<FactoryConfig, ShellError> {
        const DOING: ShellOperation = ShellOperation::ReadIdentity;
        let output = self.succeed(DOING, "cat /etc/nutanix/factory_config.json".to_owned()).await?;
        serde_json::from_str(&output.stdout)
            .map_err(|cause| self.error(DOING, not_understood(&output, Some(cause.into()))))
    }

    /// Destroys the cluster that the CVM belongs to, with everything in it. Refused while that is not stopped. Returns
    /// what it said; whether the nodes are free is to be seen on the nodes.
    ///
    /// With a terminal: the command's question takes no answer from a pipe (old vendor material). The end of that
    /// terminal, should the connection break, is not to end it half way.
    pub async fn destroy(&self) -> Result<String, ShellError> {
        const DOING: ShellOperation = ShellOperation::Destroy;
        let command = format!("trap '' HUP; {} destroy", quoted(&self.settings.cluster));
        let exec = Exec { stdin: b"Y\n".to_vec(), pty: true, ..Exec::of(command, self.settings.slow_exec_limit) };
        let output = self.exec(DOING, exec).await?;
        self.succeeded(DOING, output).map(|output| output.stdout)
    }

    /// Restarts genesis; with `unconfigure`, after marking the node to leave its cluster, which is for a node that a
    /// destroy has left behind.
    pub async fn restart_genesis(&self, unconfigure: bool) -> Result<(), ShellError> {
        let mark = if unconfigure { "touch .node_unconfigure && " } else { "" };
        let command = format!("{mark}{} restart", quoted(&self.settings.genesis));
        self.succeed_slowly(ShellOperation::RestartGenesis, command).await.map(drop)
    }

    /// Sets the cluster's time zone, `Europe/Berlin`.
    pub async fn set_timezone(&self, timezone: &str) -> Result<(), ShellError> {
        const DOING: ShellOperation = ShellOperation::SetTimezone;
        if timezone.is_empty() || !timezone.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c)) {
            return Err(self.error(DOING, ShellErrorKind::Unfit("that is no name of a time zone")));
        }
        let zone = quoted(&format!("timezone={timezone}"));
        let command = format!("{} cluster set-timezone {zone}", quoted(&self.settings.ncli));
        self.succeed_slowly(DOING, command).await.map(drop)
    }

    /// Whether the machine has an account of this name.
    pub async fn has_account(&self, user: &str) -> Result<bool, ShellError> {
        const DOING: ShellOperation = ShellOperation::LookForAccount;
        self.check_user(DOING, user)?;
        let output = self.run(DOING, format!("id -u {} >/dev/null 2>&1", quoted(user))).await?;
        match output.status {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(self.error(DOING, failed(&output))),
        }
    }

    /// Sets an account's password: as `root` on a hypervisor, by `sudo` on a CVM. The new one is told on standard
    /// input. After an error that [`ShellError::is_ambiguous`] either password may be the right one.
    pub async fn change_password(&self, user: &str, password: &SecretString, as_root: bool) -> Result<(), ShellError> {
        const DOING: ShellOperation = ShellOperation::ChangePassword;
        self.check_user(DOING, user)?;
        let secret = password.expose_secret();
        if secret.is_empty() || secret.contains(char::is_control) {
            return Err(self.error(DOING, ShellErrorKind::Unfit("the password is empty or has a control character")));
        }
        let command = if as_root { "chpasswd" } else { "sudo chpasswd" };
        let exec = Exec {
            stdin: format!("{user}:{secret}\n").into_bytes(),
            ..Exec::of(command.to_owned(), self.settings.exec_limit)
        };
        let mut output = self.exec(DOING, exec).await?;
        // Nothing known repeats it, and it must not be what an error is remembered by.
        output.stdout = output.stdout.replace(secret, "[hidden]");
        output.stderr = output.stderr.replace(secret, "[hidden]");
        self.succeeded(DOING, output).map(drop)
    }

    /// `chpasswd` reads a line: a colon or a line's end in the name would set somebody else's password. A dash would be
    /// an option of `id`.
    fn check_user(&self, doing: ShellOperation, user: &str) -> Result<(), ShellError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if user.is_empty() || user.starts_with('-') || !user.chars().all(fits) {
            return Err(self.error(doing, ShellErrorKind::Unfit("that is no name of an account")));
        }
        Ok(())
    }

    async fn succeed(&self, doing: ShellOperation, command: String) -> Result<ExecOutput, ShellError> {
        let output = self.run(doing, command).await?;
        self.succeeded(doing, output)
    }

    async fn succeed_slowly(&self, doing: ShellOperation, command: String) -> Result<ExecOutput, ShellError> {
        let output = self.exec(doing, Exec::of(command, self.settings.slow_exec_limit)).await?;
        self.succeeded(doing, output)
    }

    fn succeeded(&self, doing: ShellOperation, output: ExecOutput) -> Result<ExecOutput, ShellError> {
        if output.status == Some(0) { Ok(output) } else { Err(self.error(doing, failed(&output))) }
    }

    async fn run(&self, doing: ShellOperation, command: String) -> Result<ExecOutput, ShellError> {
        self.exec(doing, Exec::of(command, self.settings.exec_limit)).await
    }

    async fn exec(&self, doing: ShellOperation, exec: Exec) -> Result<ExecOutput, ShellError> {
        self.session.exec(exec).await.map_err(|error: SshError| self.error(doing, ShellErrorKind::Ssh(error)))
    }

    fn error(&self, operation: ShellOperation, kind: ShellErrorKind) -> ShellError {
        ShellError { operation, address: self.address, port: self.settings.port, kind: Box::new(kind) }
    }
}

impl Exec {
    /// A command that reads nothing and has no terminal.
    fn of(command: String, limit: Duration) -> Self {
        Self { command, stdin: Vec::new(), pty: false, limit }
    }
}

fn failed(output: &ExecOutput) -> ShellErrorKind {
    /// The reason stands at the end, most often alone.
    const LINES: usize = 3;
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join(" / ");
    ShellErrorKind::Failed { status: output.status, said: excerpt::of_text(&end) }
}

fn not_understood(output: &ExecOutput, cause: Option<crate::Cause>) -> ShellErrorKind {
    let said = excerpt::of_text(&format!("{} {}", output.stdout, output.stderr));
    ShellErrorKind::NotUnderstood { said, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PortSeen,
        scripted::CVM,
        scripted_ssh::{Answer, ScriptedSsh, says},
    };

    const SLOW: &str = "within 180s";

    fn session(answers: impl IntoIterator<Item = Answer>) -> (CvmSession, ScriptedSsh) {
        let ssh = ScriptedSsh::answering(answers);
        (CvmSession::new(Box::new(ssh.clone()), CVM, CvmShellSettings::default()), ssh)
    }

    fn job() -> JobName {
        JobName::new("create-1").unwrap()
    }

    #[tokio::test]
    async fn a_job_is_started_or_was_there() {
        let create = JobCommand::Cluster(vec!["create".to_owned()]);
        let (cvm, ssh) = session([says(0, "", "")]);
        assert_eq!(cvm.start_job(&job(), &create).await.unwrap(), JobStart::Started);
        assert_eq!(ssh.asked().len(), 1);

        let there = "boot b1 b1\npid 7\nalive\nstatus\noutput\n";
        let (cvm, ssh) = session([says(1, "", "mkdir: cannot create"), says(0, there, "")]);
        assert_eq!(cvm.start_job(&job(), &create).await.unwrap(), JobStart::AlreadyThere);
        assert_eq!(ssh.asked().len(), 2);
    }

    #[tokio::test]
    async fn a_job_that_could_not_be_made_is_an_error() {
        let (cvm, _) = session([says(1, "", "mkdir: No space left on device\n"), says(44, "", "")]);
        let error = cvm.start_job(&job(), &JobCommand::StopCluster).await.unwrap_err();
        assert_eq!(error.operation, ShellOperation::StartJob);
        assert_eq!(error.kind.to_string(), "the command failed (exit status 1): mkdir: No space left on device");
        assert!(error.is_transient() && !error.is_ambiguous());
    }

    #[tokio::test]
    async fn a_start_without_an_answer_is_ambiguous() {
        let (cvm, _) = session([Err(SshError::ReplyTimeout(Duration::from_secs(20)))]);
        let error = cvm.start_job(&job(), &JobCommand::StopCluster).await.unwrap_err();
        assert!(error.is_ambiguous() && !error.is_transient());
        assert_eq!(error.hint(), Some("look what has come of it before it is asked for again"));

        let (cvm, _) = session([Err(SshError::NotStarted("closed".into()))]);
        let error = cvm.start_job(&job(), &JobCommand::StopCluster).await.unwrap_err();
        assert!(!error.is_ambiguous() && error.is_transient());
    }

    #[tokio::test]
    async fn a_job_that_is_not_there_is_absent() {
        let (cvm, _) = session([says(44, "", "")]);
        let seen = cvm.job(&job(), 7).await.unwrap();
        assert_eq!(seen, JobSeen { state: JobState::Absent, output: String::new(), next_byte: 7 });
    }

    #[tokio::test]
    async fn what_silence_costs_is_added_to_the_limit() {
        let (cvm, ssh) = session([says(0, "ping 0\n22 0\n2100 124\n", "")]);
        let reach = cvm.reach(Ipv4Addr::new(10, 0, 0, 2), &[22, 2100]).await.unwrap();
        assert_eq!(reach.ports, [(22, PortSeen::Open), (2100, PortSeen::Silent)]);
        assert!(ssh.asked()[0].ends_with("within 28s"));
    }

    #[tokio::test]
    async fn the_clock_is_a_number() {
        let (cvm, ssh) = session([says(0, "1735689600\n", ""), says(0, "now\n", "")]);
        assert_eq!(cvm.clock().await.unwrap(), 1_735_689_600);
        assert_eq!(ssh.asked(), ["date +%s within 20s"]);
        let error = cvm.clock().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read the clock over SSH at 10.240.0.11:22");
        assert_eq!(error.kind.to_string(), "an answer that is not understood: now");
        assert!(std::error::Error::source(&*error.kind).is_some());
    }

    #[tokio::test]
    async fn an_identity_is_read() {
        let (cvm, ssh) = session([says(0, r#"{"node_serial": "S1"}"#, ""), says(0, "{", "")]);
        assert_eq!(cvm.identity().await.unwrap().node_serial.as_deref(), Some("S1"));
        assert_eq!(ssh.asked(), ["cat /etc/nutanix/factory_config.json within 20s"]);
        assert!(cvm.identity().await.is_err());
    }

    #[tokio::test]
    async fn destroy_says_yes_on_a_terminal() {
        let (cvm, ssh) = session([says(0, "Success!\r\n", ""), says(1, "needs to be stopped first\r\n", "")]);
        cvm.destroy().await.unwrap();
        let asked =
            r#"trap '' HUP; '/usr/local/nutanix/cluster/bin/cluster' destroy within 180s on a terminal reading "Y\n""#;
        assert_eq!(ssh.asked(), [asked]);
        let error = cvm.destroy().await.unwrap_err();
        assert_eq!(error.kind.to_string(), "the command failed (exit status 1): needs to be stopped first");
    }

    #[tokio::test]
    async fn a_change_that_a_signal_ended_is_ambiguous() {
        let (cvm, _) = session([Ok(ExecOutput::new(None, vec![], vec![]))]);
        assert!(cvm.destroy().await.unwrap_err().is_ambiguous());
    }

    #[tokio::test]
    async fn genesis_is_restarted_and_a_node_made_to_leave() {
        let (cvm, ssh) = session([says(0, "", ""), says(0, "", "")]);
        cvm.restart_genesis(false).await.unwrap();
        cvm.restart_genesis(true).await.unwrap();
        let restart = "'/usr/local/nutanix/cluster/bin/genesis' restart";
        assert_eq!(ssh.asked(), [format!("{restart} {SLOW}"), format!("touch .node_unconfigure && {restart} {SLOW}")]);
    }

    #[tokio::test]
    async fn ncli_is_called_by_its_path() {
        let (cvm, ssh) = session([says(0, "", "")]);
        cvm.set_timezone("Europe/Berlin").await.unwrap();
        let ncli = CvmShellSettings::default().ncli;
        assert_eq!(ssh.asked(), [format!("'{ncli}' cluster set-timezone 'timezone=Europe/Berlin' {SLOW}"),]);
        let error = cvm.set_timezone("UTC timeout=1").await.unwrap_err();
        assert_eq!(error.kind.to_string(), "it can't be asked: that is no name of a time zone");
        assert!(!error.is_transient() && !error.is_ambiguous());
    }

    #[tokio::test]
    async fn an_account_is_there_or_not() {
        let (cvm, ssh) = session([says(0, "", ""), says(1, "", ""), says(127, "", "")]);
        assert!(cvm.has_account("admin").await.unwrap());
        assert!(!cvm.has_account("admin").await.unwrap());
        assert!(cvm.has_account("admin").await.is_err());
        assert_eq!(ssh.asked()[0], "id -u 'admin' >/dev/null 2>&1 within 20s");
    }

    #[tokio::test]
    async fn a_password_goes_to_standard_input_alone() {
        let (cvm, ssh) = session([says(0, "", ""), says(0, "", "")]);
        let password = SecretString::from("Ab1!geheim");
        cvm.change_password("nutanix", &password, false).await.unwrap();
        cvm.change_password("root", &password, true).await.unwrap();
        assert_eq!(
            ssh.asked(),
            [
                r#"sudo chpasswd within 20s reading "nutanix:Ab1!geheim\n""#,
                r#"chpasswd within 20s reading "root:Ab1!geheim\n""#,
            ]
        );
    }

    #[tokio::test]
    async fn a_password_is_in_no_error() {
        let (cvm, _) = session([says(1, "", "line 1: Ab1!geheim is no password\n")]);
        let error = cvm.change_password("nutanix", &"Ab1!geheim".into(), false).await.unwrap_err();
        assert_eq!(error.kind.to_string(), "the command failed (exit status 1): line 1: [hidden] is no password");
        assert!(!format!("{error:?}").contains("geheim"));
    }

    #[tokio::test]
    async fn a_name_or_password_that_would_be_another_line_is_not_sent() {
        let (cvm, ssh) = session([]);
        for (user, password) in [("a:b", "x"), ("a\nroot", "x"), ("-n", "x"), ("", "x"), ("a", "x\nroot:y"), ("a", "")]
        {
            let error = cvm.change_password(user, &password.into(), false).await.unwrap_err();
            assert!(matches!(*error.kind, ShellErrorKind::Unfit(_)), "{user:?} {password:?}");
        }
        assert!(cvm.has_account("a; reboot").await.is_err());
        assert_eq!(ssh.asked(), [""; 0]);
    }
}
