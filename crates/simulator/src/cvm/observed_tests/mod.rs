//! The profile `observed`, asked as a client asks it: over SSH with the commands that a client really sends.

mod accounts;
mod clusters;
mod creates;
mod faults;
mod life;
mod prism;
mod scripts;

use super::{CvmHost, CvmProfile, CvmSettings, Service};
use crate::{
    fault::{CvmFault, Fault, FaultEffect, Matches, builtin},
    http::{Reply, Response},
    machine::NodeConfig,
    ssh::{SshAdmission, SshExec, SshReply},
    testing::{basic, request},
    world::{World, WorldSettings},
};
use metalform_model::Timestamp;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 200);
const CLUSTER: &str = "'/usr/local/nutanix/cluster/bin/cluster'";
const GENESIS: &str = "'/usr/local/nutanix/cluster/bin/genesis'";
const NCLI: &str = "'/home/nutanix/prism/cli/ncli'";
const CREATE: &str = "'--svm_ips=10.240.0.101,10.240.0.102,10.240.0.103' '--cluster_name=prod' \
                      '--cluster_external_ip=10.240.0.200' '--redundancy_factor=2' '--dns_servers=8.8.8.8' \
                      '--ntp_servers=pool.ntp.org' 'create'";

fn cvm_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 0, 100 + n)
}

fn ahv_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 0, 50 + n)
}

fn host(n: u8) -> CvmHost {
    CvmHost {
        server_id: format!("0717-{n}"),
        server_name: format!("server-{n}"),
        node_uuid: crate::pace::uuid(1, &format!("node {n}")),
        mgmt_ip: Ipv4Addr::new(10, 240, 0, 10 + n),
        install: 1,
        config: NodeConfig {
            cluster_name: "prod".into(),
            cluster_external_ip: VIP,
            redundancy_factor: 2,
            cvm_ips: (1..=3).map(cvm_ip).collect(),
            hypervisor_ip: ahv_ip(n),
            cvm_ip: cvm_ip(n),
            cidr: "10.240.0.0/24".parse().unwrap(),
            hostname: format!("server-{n}"),
            node_position: "A".into(),
            dns_servers: Vec::new(),
            ntp_servers: Vec::new(),
        },
    }
}

/// What a command put out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ran {
    status: u32,
    out: String,
    err: String,
    after: Duration,
}

/// Prepared nodes in virtual time.
struct Rack {
    world: World,
    now: Timestamp,
}

fn observed(change: impl FnOnce(&mut CvmSettings)) -> WorldSettings {
    let mut settings = WorldSettings::new(1, 1.0, "10.240.0.0/24".parse().unwrap());
    settings.cvms.profile = CvmProfile::Observed;
    change(&mut settings.cvms);
    settings
}

impl Rack {
    /// Nodes whose CVMs have just come up; no genesis yet.
    fn fresh(nodes: u8, change: impl FnOnce(&mut CvmSettings), faults: Vec<CvmFault>) -> Self {
        let mut rack = Rack { world: World::new(observed(change), START), now: START };
        faults.into_iter().for_each(|effect| rack.arm(effect));
        (1..=nodes).for_each(|n| rack.world.place_prepared_node(START, host(n)));
        rack
    }

    fn with(nodes: u8, change: impl FnOnce(&mut CvmSettings)) -> Self {
        let mut rack = Rack::fresh(nodes, change, Vec::new());
        rack.seconds(90);
        rack
    }

    fn new() -> Self {
        Rack::with(3, |_| {})
    }

    /// With a cluster that is up.
    fn formed() -> Self {
        let mut rack = Rack::new();
        rack.create();
        rack
    }

    fn seconds(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        // As a driver does: whatever is due happens in its time.
        while self.world.next_event_at() < end {
            self.now = self.world.next_event_at();
            self.world.advance(self.now);
        }
        self.now = end;
        self.world.advance(self.now);
    }

    fn arm(&mut self, effect: CvmFault) {
        let effect = FaultEffect::Cvm(effect);
        self.world.add_fault(Fault { name: "f".into(), matches: Matches::default(), skip: 0, times: Some(1), effect });
    }

    fn builtin(&mut self, name: &str) {
        self.world.add_fault(builtin(name).unwrap());
    }

    fn exec(&mut self, ip: Ipv4Addr, user: &str, exec: &SshExec) -> Option<SshReply> {
        self.world.ssh_exec(self.now, ip, 22, user, exec)
    }

    fn try_run(&mut self, ip: Ipv4Addr, user: &str, command: &str, stdin: &str, pty: bool) -> Option<Ran> {
        match self.exec(ip, user, &SshExec { command: command.into(), stdin: stdin.into(), pty })? {
            SshReply::Output { stdout, stderr, status, after } => Some(Ran {
                status,
                out: String::from_utf8(stdout).unwrap(),
                err: String::from_utf8(stderr).unwrap(),
                after,
            }),
            SshReply::Lost => None,
        }
    }

    /// A command on a CVM.
    fn run(&mut self, n: u8, command: &str) -> Ran {
        self.try_run(cvm_ip(n), "nutanix", command, "", false).expect("no answer")
    }

    /// The same, and the time it takes passes.
    fn wait(&mut self, n: u8, command: &str, stdin: &str, pty: bool) -> Ran {
        let ran = self.try_run(cvm_ip(n), "nutanix", command, stdin, pty).expect("no answer");
        self.seconds(ran.after.as_secs() + 1);
        ran
    }

    fn start_line(job: &str, command: &str) -> String {
        let inner = format!("{{ {command}; }}; echo $? >.metalform/{job}/status").replace('\'', r"'\''");
        format!(
            "umask 077; mkdir -p .metalform && mkdir .metalform/{job} && cat /proc/sys/kernel/random/boot_id \
             >.metalform/{job}/boot && {{ setsid nohup sh -c '{inner}' >.metalform/{job}/output 2>&1 </dev/null & \
             echo $! >.metalform/{job}/pid; }}"
        )
    }

    fn job(&mut self, n: u8, job: &str, command: &str) -> Ran {
        self.run(n, &Rack::start_line(job, command))
    }

    fn look(&mut self, n: u8, job: &str, from: u64) -> Ran {
        let command = format!(
            "cd .metalform/{job} 2>/dev/null || exit 44; echo boot $(cat boot 2>/dev/null) $(cat \
             /proc/sys/kernel/random/boot_id); echo pid $(cat pid 2>/dev/null); kill -0 $(cat pid 2>/dev/null) \
             2>/dev/null && echo alive; echo status $(cat status 2>/dev/null); echo output; tail -c +{from} output \
             2>/dev/null"
        );
        self.run(n, &command)
    }

    /// The status of a job that has ended, and all it said.
    fn ended(&mut self, n: u8, job: &str) -> Option<(u32, String)> {
        let ran = self.look(n, job, 1);
        let (head, output) = ran.out.split_once("output\n").unwrap();
        let status = head.lines().find_map(|line| line.strip_prefix("status "))?;
        Some((status.parse().ok()?, output.to_owned()))
    }

    /// A create through the first CVM, until all is up and the VIP answers.
    fn create(&mut self) -> String {
        self.job(1, "create-1", &format!("{CLUSTER} {CREATE}"));
        self.seconds(700);
        let (status, output) = self.ended(1, "create-1").expect("it never ended");
        assert_eq!(status, 0, "{output}");
        output
    }

    /// Runs a create to its end: its status and what it said.
    fn tried(&mut self, job: &str) -> Option<(u32, String)> {
        self.job(1, job, &format!("{CLUSTER} {CREATE}"));
        self.seconds(700);
        self.ended(1, job)
    }

    /// What answers on 9440: status and JSON; `None` where connections are refused.
    fn ask(
        &mut self,
        ip: Ipv4Addr,
        password: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let path = format!("/PrismGateway/services/rest/{path}");
        let request = request(method, &path, basic("admin", password), body);
        match self.world.cvm_request(self.now, ip, 9440, &request)? {
            Reply::Answer(Response { status, body, .. }) => {
                Some((status, serde_json::from_slice(&body).unwrap_or_default()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, ip: Ipv4Addr, path: &str) -> (u16, Value) {
        self.ask(ip, "nutanix/4u", "GET", path, None).expect("refused")
    }

    fn login(&mut self, ip: Ipv4Addr, user: &str, password: &str) -> Option<bool> {
        let admission = self.world.ssh_login(self.now, ip, 22, user, password)?;
        Some(admission == SshAdmission::Admitted)
    }

    fn is_unconfigured(&mut self, n: u8) -> bool {
        let ran = self.run(n, &format!("{CLUSTER} status"));
        ran.status == 1 && ran.err.contains("CRITICAL") && ran.err.contains("Cluster is currently unconfigured.")
    }

    /// The rows of `cluster status` that are not up, as `name state`.
    fn not_up(&mut self, n: u8) -> Vec<String> {
        let ran = self.run(n, &format!("{CLUSTER} status"));
        let rows = ran.out.lines().filter(|line| line.contains('['));
        let rows = rows.map(|row| row.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
        rows.filter(|row| !row.ends_with(" UP")).collect()
    }
}
