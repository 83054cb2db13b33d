//! The SSH client against an SSH server that others wrote: OpenSSH, with stand-ins for a CVM's programs.

mod server;

use metalform_nutanix::{
    ClusterWord, CvmSession, CvmShell, Exec, ExecOutput, Fingerprint, JobCommand, JobName, JobSeen, JobStart, JobState,
    PinRule, PortSeen, RusshTransport, ShellAnswer, ShellErrorKind, ShellProbe, Ssh, SshError, SshLogin, SshSession,
};
use secrecy::SecretString;
use server::{LOOPBACK, PATIENCE, Server};
use std::{net::TcpListener, sync::Arc, time::Duration};

fn shell(server: &Server) -> CvmShell {
    CvmShell::new(Arc::new(RusshTransport::new()), server.settings())
}

async fn session(server: &Server) -> CvmSession {
    let pin = PinRule::OneOf(vec![server.host_key]);
    shell(server).open(LOOPBACK, pin, &server.password()).await.unwrap()
}

async fn bare_session(server: &Server) -> Box<dyn SshSession> {
    let login = SshLogin {
        address: LOOPBACK,
        port: server.port,
        user: "nutanix".to_owned(),
        password: server.password(),
        pin: PinRule::TrustFirst,
        limit: PATIENCE,
    };
    RusshTransport::new().open(login).await.unwrap()
}

fn exec(command: &str) -> Exec {
    Exec { command: command.to_owned(), stdin: vec![], pty: false, limit: PATIENCE }
}

fn job() -> JobName {
    JobName::new("create-1").unwrap()
}

/// Looks until the job is as wanted. Each look is an exchange with the server, so this is no busy loop of ours.
async fn job_until(server: &Server, fits: impl Fn(&JobSeen) -> bool) -> JobSeen {
    let cvm = session(server).await;
    let look = async {
        loop {
            let seen = cvm.job(&job(), 0).await.unwrap();
            if fits(&seen) {
                return seen;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the job comes so far")
}

#[tokio::test]
async fn a_cvm_is_probed_and_its_host_key_told() {
    let server = Server::start();
    let probe = shell(&server).probe(LOOPBACK, PinRule::TrustFirst, None).await;
    assert_eq!(probe, ShellProbe { answer: ShellAnswer::SshUp, fingerprint: None });
    let probe = shell(&server).probe(LOOPBACK, PinRule::TrustFirst, Some(&server.password())).await;
    assert_eq!(probe, ShellProbe { answer: ShellAnswer::Unconfigured, fingerprint: Some(server.host_key) });
}

#[tokio::test]
async fn another_host_key_is_refused_before_the_password() {
    let server = Server::start();
    let other = Fingerprint([1; 32]);
    let probe = shell(&server).probe(LOOPBACK, PinRule::OneOf(vec![other]), Some(&server.password())).await;
    assert_eq!(probe.answer, ShellAnswer::OtherKey { expected: vec![other], seen: server.host_key });
    session(&server).await;
    let log = server.log_until("Accepted password");
    assert!(log.last().is_some_and(|line| line.contains("Accepted password for nutanix")), "{log:#?}");
    let told = |line: &&String| line.contains("nutanix") && !line.contains("Accepted");
    assert_eq!(log.iter().find(told), None);
}

#[tokio::test]
async fn a_wrong_password_is_denied_after_one_attempt() {
    let server = Server::start();
    let wrong = SecretString::from("wrong");
    let error = shell(&server).open(LOOPBACK, PinRule::TrustFirst, &wrong).await.unwrap_err();
    assert!(error.is_denied() && !error.is_transient());
    session(&server).await;
    let log = server.log_until("Accepted password");
    assert_eq!(log.iter().filter(|line| line.contains("Failed password for nutanix")).count(), 1, "{log:#?}");
}

/// Then OpenSSH ends the connection in place of refusing. Taken for a broken connection, it would be tried again until
/// the account is locked.
#[tokio::test]
async fn a_wrong_password_is_denied_where_one_attempt_is_all() {
    let server = Server::start_with("MaxAuthTries 1");
    let wrong = SecretString::from("wrong");
    let error = shell(&server).open(LOOPBACK, PinRule::TrustFirst, &wrong).await.unwrap_err();
    assert!(error.is_denied(), "{error:?}");
}

#[tokio::test]
async fn a_job_outlives_its_connection_and_is_started_once() {
    let server = Server::start();
    let nasty = ["--cluster_name=it's \"$HOME\" `id` \\ *", "--x=a;b|c&d>e", "--y=ü", "--z= two  spaces "];
    let arguments: Vec<String> = nasty.iter().chain(&["create"]).map(|a| (*a).to_owned()).collect();
    let command = JobCommand::Cluster(arguments.clone());

    let cvm = session(&server).await;
    assert_eq!(cvm.job(&job(), 0).await.unwrap().state, JobState::Absent);
    assert_eq!(cvm.start_job(&job(), &command).await.unwrap(), JobStart::Started);
    drop(cvm);

    let seen = job_until(&server, |seen| seen.output.contains("hash")).await;
    assert_eq!(seen.state, JobState::Running);
    let given: String = arguments.iter().map(|argument| format!("[{argument}]\n")).collect();
    assert_eq!(seen.output, format!("{given}Will seed prism with password hash *************\n"));

    let cvm = session(&server).await;
    assert_eq!(cvm.start_job(&job(), &command).await.unwrap(), JobStart::AlreadyThere);
    // Opening it waits until the job reads it.
    let go = bare_session(&server).await.exec(exec("until test -p go; do :; done; echo >go")).await.unwrap();
    assert_eq!(go.status, Some(0), "{go:?}");
    let ended = job_until(&server, |seen| seen.state != JobState::Running).await;
    assert_eq!(ended.state, JobState::Ended { status: 0 });

    let rest = cvm.job(&job(), seen.next_byte).await.unwrap();
    assert_eq!(rest.output, "INFO MainThread cluster:3000 Success!\n");
    assert_eq!(rest.next_byte, ended.output.len() as u64);
    assert_eq!(cvm.job(&job(), rest.next_byte).await.unwrap().output, "");
}

#[tokio::test]
async fn a_job_that_was_killed_has_died() {
    let server = Server::start();
    let cvm = session(&server).await;
    cvm.start_job(&job(), &JobCommand::Cluster(vec!["create".to_owned()])).await.unwrap();
    let kill = bare_session(&server).await.exec(exec("kill -KILL $(cat .metalform/create-1/pid)")).await.unwrap();
    assert_eq!(kill.status, Some(0), "{kill:?}");
    assert_eq!(job_until(&server, |seen| seen.state != JobState::Running).await.state, JobState::Died);
}

#[tokio::test]
async fn the_question_of_a_stop_is_answered() {
    let server = Server::start();
    session(&server).await.start_job(&job(), &JobCommand::StopCluster).await.unwrap();
    let ended = job_until(&server, |seen| seen.state != JobState::Running).await;
    assert_eq!((ended.state, ended.output.as_str()), (JobState::Ended { status: 0 }, "answered Y\n"));
}

#[tokio::test]
async fn destroy_is_answered_on_a_terminal() {
    let server = Server::start();
    let said = session(&server).await.destroy().await.unwrap();
    assert!(said.starts_with("answered Y on /dev/pts/"), "{said:?}");
    assert_eq!(said.lines().count(), 1, "what we type is not repeated: {said:?}");
}

#[tokio::test]
async fn a_cluster_is_read_from_its_table() {
    let server = Server::start();
    let table = "The state of the cluster: start\n\tCVM: 10.0.0.1 Up, ZeusLeader\n  Zeus UP\t[12, 13]\n";
    let write = Exec { stdin: table.as_bytes().to_vec(), ..exec("cat >cluster") };
    assert_eq!(bare_session(&server).await.exec(write).await.unwrap().status, Some(0));
    match session(&server).await.cluster_status().await.unwrap() {
        ClusterWord::Configured(services) => assert!(services.all_up()),
        ClusterWord::Unconfigured => panic!("it has a cluster"),
    }
}

#[tokio::test]
async fn what_a_machine_reaches_is_told() {
    let server = Server::start();
    let closed = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
    let cvm = session(&server).await;
    let reach = cvm.reach(LOOPBACK, &[server.port, closed]).await.unwrap();
    assert!(reach.ping);
    assert_eq!(reach.ports, [(server.port, PortSeen::Open), (closed, PortSeen::Refused)]);
    assert!(cvm.clock().await.unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn accounts_are_found_and_a_password_is_told_on_standard_input() {
    let server = Server::start();
    let cvm = session(&server).await;
    assert!(cvm.has_account("nutanix").await.unwrap());
    assert!(!cvm.has_account("admin").await.unwrap());
    let password = SecretString::from("N3w.p4ss-#word!");
    cvm.change_password("nutanix", &password, false).await.unwrap();
    let told = bare_session(&server).await.exec(exec("cat told-to-chpasswd")).await.unwrap();
    assert_eq!(told.stdout, "nutanix:N3w.p4ss-#word!\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_apart_from_one_that_fails() {
    let server = Server::start();
    let error = session(&server).await.set_timezone("UTC").await.unwrap_err();
    assert!(matches!(&*error.kind, ShellErrorKind::Failed { status: Some(127), .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("paths")));
}

#[tokio::test]
async fn both_outputs_and_the_status_come_back() {
    let server = Server::start();
    let cvm = bare_session(&server).await;
    assert_eq!(cvm.fingerprint(), server.host_key);
    let output = cvm.exec(exec("echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!(output, ExecOutput { status: Some(3), stdout: "out\n".to_owned(), stderr: "err\n".to_owned() });
    assert_eq!(cvm.exec(exec("kill -TERM $$")).await.unwrap().status, None, "a signal is no status");
}

#[tokio::test]
async fn much_is_written_while_much_is_read() {
    let server = Server::start();
    let cvm = bare_session(&server).await;
    let text = "0123456789abcde\n".repeat(ExecOutput::LIMIT / 16);
    let both = Exec { stdin: text.clone().into_bytes(), ..exec("cat") };
    assert!(cvm.exec(both).await.unwrap().stdout == text);
    // More than is kept is read all the same, or the command would never end.
    let output = cvm.exec(exec("head -c 9000000 /dev/zero | tr '\\0' a; echo done >&2")).await.unwrap();
    assert_eq!((output.status, output.stdout.len(), output.stderr.as_str()), (Some(0), ExecOutput::LIMIT, "done\n"));
}

#[tokio::test]
async fn a_command_that_does_not_end_may_have_run_and_stops_no_other() {
    let server = Server::start();
    let cvm = bare_session(&server).await;
    let limit = Duration::from_millis(300);
    let endless = cvm.exec(Exec { limit, ..exec("yes") }).await.unwrap_err();
    assert!(matches!(endless, SshError::ReplyTimeout(_)) && endless.may_have_run(), "{endless:?}");
    assert_eq!(cvm.exec(exec("echo on")).await.unwrap().stdout, "on\n");
}

#[tokio::test]
async fn a_connection_that_breaks_may_have_run_the_command_and_starts_no_other() {
    let server = Server::start();
    let cvm = bare_session(&server).await;
    // The parent of the login shell is this connection's server.
    let lost = cvm.exec(exec("kill -KILL $PPID; sleep 60")).await.unwrap_err();
    assert!(matches!(lost, SshError::Lost(_)) && lost.may_have_run(), "{lost:?}");
    let not_started = cvm.exec(exec("true")).await.unwrap_err();
    assert!(matches!(not_started, SshError::NotStarted(_)) && !not_started.may_have_run(), "{not_started:?}");
}
