//! How a service is found, asked, and taken at its word.

use crate::{
    run::{Folder, Ran, command},
    scripted::{Answer, Scripted, cluster, document, event, refusal},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

/// Runs it against a service that gives this answer to everything.
fn ask(args: &[&str], answer: Answer) -> (Ran, Scripted) {
    let service = Scripted::start(move |_| answer.clone());
    (ask_at(&service.url, args), service)
}

fn ask_at(url: &str, args: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.write("plan.toml", "the plan\n");
    let mut command = command(&folder, args);
    command.env("METALFORM_SERVER", url).env("METALFORM_TOKEN", "s3cret").output().unwrap().into()
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn where_no_service_answers_it_says_so_and_what_to_do() {
    let url = format!("http://127.0.0.1:{}", closed_port());
    let told = format!(
        "error: no service answers at {url}\n  cause: Connection refused (os error 111)\n  hint: start it with \
         `metalform serve`, or say where it is: --config FILE on its own machine, METALFORM_SERVER elsewhere\n"
    );
    for args in [
        &["status"][..],
        &["deploy", "plan.toml", "--watch"],
        &["events", "a", "--follow"],
        &["retry", "a"],
        &["destroy", "a", "--watch"],
        &["form", "a"],
        &["script", "a"],
        &["explain", "a"],
        &["credentials", "a"],
    ] {
        let ran = ask_at(&url, &[args, &["--connect-for", "0"]].concat());
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (1, "", told.as_str()), "{args:?}");
    }
    let ran = ask_at(&url, &["status", "--json", "--connect-for", "0"]);
    assert_eq!(ran.document()["error"]["code"], "unreachable");
    assert_eq!(ran.document()["error"]["details"]["causes"], json!(["Connection refused (os error 111)"]));
}

#[test]
fn a_service_that_comes_up_late_is_waited_for() {
    let address = ([127, 0, 0, 1], closed_port()).into();
    let folder = Folder::new();
    let mut command = command(&folder, &["status", "--json"]);
    command.env("METALFORM_SERVER", format!("http://{address}")).env("METALFORM_TOKEN", "t");
    command.env("METALFORM_LOG", "metalform=debug").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("refused; tried again"), "{line}");
    let _service = Scripted::start_at(address, |_| document(200, json!({"clusters": []})));
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.document()), (0, json!({"clusters": []})));
}

#[test]
fn the_token_goes_along_and_names_cannot_leave_their_place_in_the_path() {
    let (ran, service) = ask(&["status", "a/../b?x=1"], refusal(404, "unknown_cluster", json!({})));
    assert_eq!(ran.code, 1);
    let asked = service.asked();
    assert_eq!((asked[0].line.as_str(), asked[0].token.as_str()), ("GET /api/v1/clusters/a%2F..%2Fb%3Fx=1", "s3cret"));
}

#[test]
fn on_the_services_own_machine_the_configuration_says_it_all() {
    let service = Scripted::start(|_| document(200, json!({"clusters": []})));
    let folder = Folder::new();
    folder.write("token", "from-the-file\n");
    let listen = service.url.trim_start_matches("http://");
    let config = format!("data_dir = {:?}\n[control]\nlisten = {listen:?}\ntls = \"off\"\n", folder.path());
    let file = folder.write("own.toml", &config);
    // What the environment says is for what the file lacks.
    let mut status = command(&folder, &["status", "--config", &file]);
    status.env("METALFORM_SERVER", "http://127.0.0.1:1").env("METALFORM_TOKEN", "from-the-environment");
    assert_eq!(Ran::from(status.output().unwrap()).code, 0);
    folder.write("metalform.toml", &config);
    assert_eq!(Ran::from(command(&folder, &["status"]).output().unwrap()).code, 0);
    let tokens: Vec<String> = service.asked().into_iter().map(|asked| asked.token).collect();
    assert_eq!(tokens, ["from-the-file", "from-the-file"]);
}

#[test]
fn without_a_token_nothing_is_asked() {
    let service = Scripted::start(|_| document(200, json!({"clusters": []})));
    let folder = Folder::new();
    let mut status = command(&folder, &["status", "--connect-for", "0"]);
    status.env("METALFORM_SERVER", &service.url).env("METALFORM_DATA_DIR", folder.path());
    let ran: Ran = status.output().unwrap().into();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with(&format!("error: there is no token for the service at {}\n", service.url)));
    assert!(ran.stderr.contains("METALFORM_TOKEN"), "{}", ran.stderr);
    assert!(service.asked().is_empty());
}

#[test]
fn a_token_is_not_sent_over_plain_http_to_another_machine() {
    let ran = ask_at("http://192.0.2.1:8443", &["status"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("to this machine only; use https"), "{}", ran.stderr);
}

#[test]
fn certificates_that_are_none_are_told() {
    let folder = Folder::new();
    let file = folder.write("ca.pem", "no certificate\n");
    let mut status = command(&folder, &["status"]);
    status.env("METALFORM_SERVER", "https://127.0.0.1:1").env("METALFORM_TOKEN", "t").env("METALFORM_CA_FILE", &file);
    let ran: Ran = status.output().unwrap().into();
    assert_eq!(ran.code, 2);
    let told = format!("error: the certificates in {file} can't be used\n  cause: it holds no certificate\n");
    assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
}

#[test]
fn a_configuration_that_is_wrong_is_wrong_usage() {
    let folder = Folder::new();
    folder.write("metalform.toml", "[control]\nlisten = 7\n");
    for args in [&["status"][..], &["serve"]] {
        let ran: Ran = command(&folder, args).output().unwrap().into();
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.stderr.starts_with("error: the configuration can't be used\n  cause: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("line 2") && ran.stderr.contains("\n  hint: "), "{}", ran.stderr);
    }
}

#[test]
fn the_service_is_taken_at_its_word() {
    let (ran, _) = ask(&["deploy", "plan.toml"], refusal(409, "plan_differs", json!({})));
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "error: it is plan_differs\n  hint: mend it\n"));
    let (ran, _) = ask(&["deploy", "plan.toml", "--json"], refusal(409, "plan_differs", json!({"a": 1})));
    let error =
        json!({"code": "plan_differs", "message": "it is plan_differs", "hint": "mend it", "details": {"a": 1}});
    assert_eq!(ran.document(), json!({"error": error}));
}

#[test]
fn a_bad_plan_ends_with_2_and_every_fault_is_told() {
    let fault = |severity: &str| {
        json!({"code": "bad_address", "line": 3, "path": "cluster.external_ip", "value": "\"x\u{1b}\"",
            "why": "is none", "instead": "write one", "severity": severity})
    };
    let details = json!({"faults": [fault("error"), fault("warning")]});
    for (status, code, exit) in [(400, "bad_plan", 2), (422, "cloud_refuses_plan", 2), (409, "address_taken", 1)] {
        let (ran, _) = ask(&["deploy", "plan.toml"], refusal(status, code, details.clone()));
        assert_eq!(ran.code, exit, "{code}");
        assert_eq!(
            ran.stderr,
            format!(
                "error: it is {code}\n  cause: line 3: cluster.external_ip = \"x\\u{{1b}}\": is none; write one\n  \
                 cause: warning: line 3: cluster.external_ip = \"x\\u{{1b}}\": is none; write one\n  hint: mend it\n"
            )
        );
    }
}

#[test]
fn what_is_no_metalform_is_called_so() {
    for (status, answer) in [(200, "<html>"), (502, "<html>"), (200, "{}"), (404, "{\"error\":\"x\"}")] {
        let (ran, service) = ask(&["status", "a"], (status, "text/html", answer.to_owned()));
        assert_eq!(ran.code, 1);
        let told = format!(
            "error: could not read the cluster's status: {} answers {status}, and not the way Metalform does\n",
            service.url
        );
        assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
    }
}

#[test]
fn status_shows_every_node() {
    let (ran, _) = ask(&["status", "alpha"], document(200, cluster("waiting_for_nodes", None)));
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stdout,
        "\
alpha         waiting_for_nodes            0.0s  0/1 nodes ready
  server-001  imaging             40 %     0.0s  LATE  installing
              mgmt 10.240.0.11, CVM none yet
"
    );
    let (ran, _) = ask(&["status", "alpha", "--json"], document(200, cluster("ready", None)));
    let mut told = cluster("ready", None);
    told["since"] = json!("2126-01-02T03:04:05.000000Z");
    told["nodes"][0]["since"] = told["since"].clone();
    assert_eq!(ran.document(), told);
}

#[test]
fn status_of_everything_is_a_list() {
    let clusters = json!({"clusters": [cluster("ready", None), cluster("failed", Some(("deadline", "too late")))]});
    let (ran, service) = ask(&["status"], document(200, clusters));
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(ran.stdout.contains("alpha  failed                       0.0s  too late"), "{}", ran.stdout);
    assert_eq!(service.asked()[0].line, "GET /api/v1/clusters");
    let (ran, _) = ask(&["status"], document(200, json!({"clusters": []})));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(ran.stderr, "no clusters; `metalform deploy PLAN` makes one\n");
}

#[test]
fn deploy_ends_once_the_plan_is_accepted() {
    let (ran, service) = ask(&["deploy", "plan.toml", "--json"], document(201, cluster("waiting_for_nodes", None)));
    assert_eq!((ran.code, ran.document()["phase"].as_str()), (0, Some("waiting_for_nodes")));
    let asked = &service.asked()[0];
    assert_eq!((asked.line.as_str(), asked.body.as_str()), ("POST /api/v1/clusters", "the plan\n"));
    let (ran, _) = ask(&["deploy", "plan.toml"], document(201, cluster("waiting_for_nodes", None)));
    assert_eq!(ran.stdout, "alpha: accepted, waiting_for_nodes: 0/1 nodes ready\n");
    assert_eq!(ran.stderr, "next: metalform events alpha --follow, or metalform status alpha\n");
    let (ran, _) = ask(&["deploy", "plan.toml"], document(200, cluster("ready", None)));
    assert_eq!(ran.stdout, "alpha: this plan is deployed already, ready: 0/1 nodes ready\n");
}

#[test]
fn a_dry_run_asks_for_one_and_tells_the_warnings() {
    let warning =
        json!({"code": "x", "line": 1, "path": "cluster", "why": "hm", "instead": "ok", "severity": "warning"});
    let answer = document(200, json!({"accepted": false, "warnings": [warning]}));
    let (ran, service) = ask(&["deploy", "plan.toml", "--dry-run"], answer);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stdout, "warning: line 1: cluster: hm; ok\nplan.toml: would be accepted; nothing was created\n");
    assert_eq!(service.asked()[0].line, "POST /api/v1/clusters?dry_run=true");
}

#[test]
fn the_other_commands_ask_what_they_are_named_for() {
    let status = || document(202, cluster("releasing", None));
    for (args, line) in [
        (&["form", "alpha"][..], "POST /api/v1/clusters/alpha/form"),
        (&["retry", "alpha"], "POST /api/v1/clusters/alpha/retry"),
        (&["destroy", "alpha"], "DELETE /api/v1/clusters/alpha"),
    ] {
        let (ran, service) = ask(&[args, &["--json"]].concat(), status());
        assert_eq!((ran.code, ran.document()["phase"].as_str()), (0, Some("releasing")), "{args:?}");
        assert_eq!(service.asked().last().unwrap().line, line);
    }
}

#[test]
fn a_script_is_shown_as_it_is() {
    let answer = || (200, "text/plain", "#!ipxe\n…\nboot".to_owned());
    let (ran, service) = ask(&["script", "server-001"], answer());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "#!ipxe\n…\nboot"));
    assert_eq!(service.asked()[0].line, "GET /api/v1/nodes/server-001/script");
    let (ran, _) = ask(&["script", "server-001", "--json"], answer());
    assert_eq!(ran.document(), json!({"server_id": "server-001", "script": "#!ipxe\n…\nboot"}));
}

fn credentials(states: [&str; 2]) -> Value {
    let prism = json!({"account": "prism_admin", "user": "admin", "where": "Prism", "password": "Pr1sm.pass",
        "state": states[0]});
    let root = json!({"account": "ahv_root", "user": "root", "where": "every AHV host", "password": "Ro0t.pass",
        "state": states[1]});
    json!({"cluster": "alpha", "accounts": [prism, root]})
}

#[test]
fn passwords_go_to_standard_output_alone() {
    let (ran, service) = ask(&["credentials", "alpha"], document(200, credentials(["changed", "changed"])));
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stdout,
        "\
ACCOUNT      USER   WHERE           PASSWORD    STATE
prism_admin  admin  Prism           Pr1sm.pass  changed
ahv_root     root   every AHV host  Ro0t.pass   changed
"
    );
    assert_eq!(ran.stderr, "this reading of alpha's passwords stands in the audit\n");
    assert_eq!(service.asked()[0].line, "GET /api/v1/clusters/alpha/credentials");

    let answer = credentials(["changing", "default"]);
    let service = Scripted::start(move |_| document(200, answer.clone()));
    let folder = Folder::new();
    let mut command = command(&folder, &["credentials", "alpha", "--json"]);
    command.env("METALFORM_SERVER", &service.url).env("METALFORM_TOKEN", "t").env("METALFORM_LOG", "trace");
    let ran: Ran = command.output().unwrap().into();
    assert_eq!((ran.code, ran.document()), (0, credentials(["changing", "default"])));
    assert!(ran.stderr.contains("\ndefault: not set yet") && ran.stderr.contains("\nchanging: being set"), "{ran:?}");
    assert!(!ran.stderr.contains(".pass"), "{}", ran.stderr);
}

#[test]
fn passwords_that_are_not_there_yet_are_a_refusal_like_any_other() {
    let (ran, _) = ask(&["credentials", "alpha"], refusal(409, "no_credentials_yet", json!({})));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, "error: it is no_credentials_yet\n  hint: mend it\n");
}

#[test]
fn a_long_timeline_is_read_page_by_page() {
    let service = Scripted::start(|asked| {
        let after: i64 = asked.line.split_once("after=").unwrap().1.parse().unwrap();
        let page: Vec<Value> = (after + 1..=(after + 2).min(5)).map(|seq| event(seq, "trouble")).collect();
        document(200, json!({"events": page}))
    });
    let ran = ask_at(&service.url, &["events", "alpha", "--json"]);
    let seqs: Vec<i64> = ran.documents().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    let ran = ask_at(&service.url, &["events", "alpha"]);
    assert_eq!(
        ran.stdout.lines().next(),
        Some("2026-01-02T03:04:01.000Z  -             trouble                 message 1")
    );
}

#[test]
fn an_explanation_is_a_page_for_a_person_and_the_services_document_for_a_program() {
    let told = json!({
        "server_id": "server-001", "cluster": "alpha", "phase": "imaging", "since": "2126-01-02T03:04:05.000000Z",
        "usual_seconds": 2100, "late": true, "reason": "installing",
        "awaited": {"what": "its controller VM to be ready", "until": "2126-01-02T04:04:05.000000Z"},
        "seen": [{"at": "2026-01-02T03:04:05.000000Z", "what": "fetched its boot script"}],
        "findings": [{"code": "memory", "verdict": "ok", "subject": "memory", "reason": "384 GiB"}],
        "server": {"at": "2026-01-02T03:04:06.000000Z", "what": "it is powered on"},
        "diagnoses": [{"code": "kernel_silent", "cause": "it asks nothing", "next": "look at the console"}],
    });
    let (ran, service) = ask(&["explain", "server-001"], document(200, told.clone()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(service.asked()[0].line, "GET /api/v1/nodes/server-001/explain");
    for line in [
        "server-001 of alpha: imaging for 0.0s (usually 35m 00s)  LATE\n",
        "  ok       memory  384 GiB\n",
        "  2026-01-02T03:04:06Z  cloud  it is powered on\n",
        "  [kernel_silent] it asks nothing\n    next: look at the console\n",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    let (ran, _) = ask(&["explain", "server-001", "--json"], document(200, told.clone()));
    assert_eq!(ran.document(), told);
    let (ran, _) = ask(&["explain", "nobody"], refusal(404, "unknown_node", json!({})));
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "error: it is unknown_node\n  hint: mend it\n"));
}
