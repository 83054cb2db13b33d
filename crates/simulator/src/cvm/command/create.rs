//! `cluster create`: the steps, lines and times of a published transcript (three nodes, Community Edition, August 2023;
//! 5 min 58 s), stretched to the world's pace. It is a program on the CVM that was asked and ends with it: what it did to
//! the members until then stays.

use super::{Answer, Operation, ask, begin, flags::Flags, log, order::Order, status};
use crate::{
    cvm::{
        Cvm, NewCluster,
        shell::{Cx, Poll, Stream, Task},
    },
    fault::CvmFault,
    pace,
};
use metalform_model::Timestamp;
use std::{net::Ipv4Addr, time::Duration};
use uuid::Uuid;

/// Seconds of the transcript in which services start, of all.
pub(in crate::cvm) const STARTING_SHARE: f64 = 237.0 / LENGTH;
const LENGTH: f64 = 358.0;
const ZEUS_RETRY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Discover,
    Iptables,
    Certificates,
    Zeus,
    Begin,
    Ready,
    Services,
    Waiting,
}

impl Step {
    /// Seconds after the beginning, in the transcript.
    fn at(self) -> f64 {
        match self {
            Step::Discover => 3.0,
            Step::Iptables => 13.0,
            Step::Certificates => 18.0,
            Step::Zeus => 22.0,
            Step::Begin => 27.0,
            Step::Ready => 83.0,
            Step::Services => 120.0,
            Step::Waiting => 140.0,
        }
    }
}

/// A create that goes on.
#[derive(Debug, Clone)]
pub struct Create {
    order: Order,
    began: Timestamp,
    /// Of the world, for a second of the transcript.
    second: Duration,
    step: Step,
    next: Timestamp,
    /// Server ids, once discovered.
    members: Vec<String>,
    uuid: Uuid,
    never_ready: bool,
}

/// A failure is said and ends the command; with `Operation failed` after it if members were touched already.
enum Stop {
    Refused(String),
    Failed(String),
}

pub(super) fn start(task: &mut Task, cx: &mut Cx<'_>, flags: &Flags) {
    let settings = cx.fleet.settings.observed.clone();
    let refuse = |task: &mut Task, cx: &mut Cx<'_>, why: &str| {
        log(task, cx, "CRITICAL", why);
        task.end(1);
    };
    let order = match Order::read(flags, &settings) {
        Ok(order) => order,
        Err(why) => return refuse(task, cx, &why),
    };
    if order.is_doubtful
        && let Answer::No(status) =
            ask(task, cx, "This is not a supported way to create a cluster of fewer than 3 nodes.")
    {
        return task.end(status);
    }
    if let Err(why) = order.check(&settings).and_then(|()| check_asked(cx, &order)) {
        return refuse(task, cx, &why);
    }
    let ips: Vec<String> = order.svm_ips.iter().map(ToString::to_string).collect();
    log(task, cx, "INFO", &format!("Executing action create on SVMs {}", ips.join(",")));
    let server_name = asked(cx).map(|cvm| cvm.host.server_name.clone()).unwrap_or_default();
    if let Some(CvmFault::RebootsInCreate { seconds }) =
        cx.faults.take_cvm(&server_name, |fault| matches!(fault, CvmFault::RebootsInCreate { .. }))
    {
        let after = cx.fleet.pace.exactly(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        cx.fleet.reboot_later(&cx.place.server_id, cx.now + after);
    }
    let takes = cx.fleet.pace.about(cx.fleet.settings.durations.create);
    let (began, second) = (cx.now, takes.div_f64(LENGTH));
    let next = began + second.mul_f64(Step::Discover.at());
    let (members, uuid) = (Vec::new(), Uuid::nil());
    let create = Create { order, began, second, step: Step::Discover, next, members, uuid, never_ready: false };
    begin(task, Operation::Create(Box::new(create)));
}

fn asked<'a>(cx: &'a Cx<'_>) -> Option<&'a Cvm> {
    cx.fleet.cvms.get(&cx.place.server_id)
}

/// What the CVM that is asked sees at once.
fn check_asked(cx: &Cx<'_>, order: &Order) -> Result<(), String> {
    let Some(cvm) = asked(cx) else { return Err("No such node".into()) };
    if cvm.cluster.is_some() && order.svm_ips.contains(&cvm.ip()) {
        return Err(format!("SVM {} is already configured", cvm.ip()));
    }
    match order.vip {
        Some(vip) if !cvm.host.config.cidr.contains(&vip) => {
            Err(format!("Cluster external IP {vip} is not in the subnet of the SVMs"))
        }
        Some(vip) if cx.fleet.pings(cx.now, cx.place, vip) => {
            Err(format!("Cluster external IP {vip} is already in use"))
        }
        _ => Ok(()),
    }
}

impl Create {
    pub fn poll(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Poll {
        while cx.now >= self.next {
            match self.act(cx, task) {
                Ok(Some(status)) => return Poll::Ended(status),
                Ok(None) => {}
                Err(Stop::Refused(why)) => {
                    log(task, cx, "CRITICAL", &why);
                    return Poll::Ended(1);
                }
                Err(Stop::Failed(why)) => {
                    log(task, cx, "ERROR", &why);
                    log(task, cx, "ERROR", "Operation failed");
                    return Poll::Ended(1);
                }
            }
        }
        Poll::Wait(self.next)
    }

    fn go_to(&mut self, step: Step) {
        self.step = step;
        self.next = self.next.max(self.began + self.second.mul_f64(step.at()));
    }

    fn again(&mut self, cx: &Cx<'_>, after: Duration) {
        self.next = cx.now + cx.fleet.pace.retry(after);
    }

    /// The step that is due; a status when all is done.
    fn act(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Result<Option<u32>, Stop> {
        let info = |task: &mut Task, cx: &mut Cx<'_>, text: &str| log(task, cx, "INFO", text);
        let ips: Vec<String> = self.order.svm_ips.iter().map(ToString::to_string).collect();
        // Nobody knows what the real one does when its cluster is destroyed under it; for ever is no answer.
        if self.step > Step::Iptables && !cx.fleet.clusters.contains_key(&self.uuid) {
            return Err(Stop::Failed("The cluster is gone".into()));
        }
        match self.step {
            Step::Discover => {
                self.discover(cx, task)?;
                info(task, cx, "Cluster is on arch x86_64");
                info(task, cx, "Maximum node limit corresponding to the hypervisors on the cluster (set([kKvm])) : 32");
                self.go_to(Step::Iptables);
            }
            Step::Iptables => {
                self.lay_down(cx);
                if let Some(line) = self.says(cx, true) {
                    // The first half has its state, the other half has not.
                    let touched = self.members.len().div_ceil(2);
                    let blamed = ips.get(touched).or(ips.last()).cloned().unwrap_or_default();
                    for id in &self.members[..touched] {
                        cx.fleet.configure(id, self.uuid);
                    }
                    return Err(Stop::Failed(line.replace("{ip}", &blamed)));
                }
                for (id, ip) in self.members.iter().zip(&ips) {
                    cx.fleet.configure(id, self.uuid);
                    info(task, cx, &format!("iptables configured on SVM {ip}"));
                }
                self.go_to(Step::Certificates);
            }
            Step::Certificates => {
                info(task, cx, "Creating certificates");
                cx.fleet.make_certificates(&self.members);
                self.go_to(Step::Zeus);
            }
            Step::Zeus => {
                info(task, cx, "Setting the cluster functions on the cluster to: [NDFS]");
                let mapping: Vec<String> = (1..).zip(&ips).map(|(nth, ip)| format!("'{ip}': {nth}")).collect();
                for ip in &ips {
                    let text = format!("Configuring Zeus mapping ({{{}}}) on SVM node {ip}", mapping.join(", "));
                    info(task, cx, &text);
                }
                self.go_to(Step::Begin);
            }
            Step::Begin => {
                info(task, cx, &format!("Creating cluster with SVMs: {}", ips.join(",")));
                if self.order.seeds_password {
                    let text = format!("Will seed prism with password hash {}", self.hash(cx));
                    info(task, cx, &text);
                }
                self.go_to(Step::Ready);
            }
            Step::Ready if self.zeus_is_stuck(cx) => {
                info(task, cx, "Zeus is not ready yet, trying again in 5 seconds");
                self.again(cx, ZEUS_RETRY);
            }
            Step::Ready => {
                info(task, cx, "Zeus is not ready yet, trying again in 5 seconds");
                self.go_to(Step::Services);
            }
            Step::Services => {
                info(task, cx, "Waiting for services to start");
                cx.fleet.start_cluster(cx.now, self.uuid, self.second.mul_f64(LENGTH * STARTING_SHARE));
                self.go_to(Step::Waiting);
            }
            Step::Waiting => {
                if self.is_waiting(cx, task) {
                    self.again(cx, LOOK_AGAIN);
                    return Ok(None);
                }
                let table = status::table(cx.fleet, cx.now, &cx.place.server_id);
                task.write(cx, Stream::Out, table.as_bytes());
                info(task, cx, "Running CE cluster post-create script");
                info(task, cx, "Success!");
                return Ok(Some(0));
            }
        }
        Ok(None)
    }

    /// Finds the members, as they are now; or says which were not found.
    fn discover(&mut self, cx: &mut Cx<'_>, task: &mut Task) -> Result<(), Stop> {
        if let Some(line) = self.says(cx, false) {
            let ip = self.order.svm_ips.first().map(ToString::to_string).unwrap_or_default();
            return Err(Stop::Refused(line.replace("{ip}", &ip)));
        }
        self.hide_one(cx);
        let mut lost: Vec<Ipv4Addr> = Vec::new();
        let mut lines = Vec::new();
        for ip in &self.order.svm_ips {
            let found = cx.fleet.genesis_reaches(cx.now, &cx.place.server_id, *ip);
            if self.order.skips_discovery {
                let Some(cvm) = found else {
                    return Err(Stop::Refused(format!("Node {ip} is not reachable. Aborting.")));
                };
                if cvm.cluster.is_some() {
                    return Err(Stop::Refused(format!("SVM {ip} is already configured")));
                }
            }
            match found.filter(|cvm| self.order.skips_discovery || self.is_to_be_found(cx, cvm)) {
                Some(cvm) => {
                    lines.push(format!(
                        "Discovered node:\nip: {ip}\nrackable_unit_serial: {}\nnode_position: {}\nnode_uuid: {}\n",
                        cvm.system.node_serial(),
                        cvm.host.config.node_position,
                        cvm.host.node_uuid
                    ));
                    self.members.push(cvm.host.server_id.clone());
                }
                None => lost.push(*ip),
            }
        }
        let server_name = asked(cx).map(|cvm| cvm.host.server_name.clone()).unwrap_or_default();
        if cx.faults.take_cvm(&server_name, |fault| *fault == CvmFault::FormationFails).is_some() {
            lost.extend(self.order.svm_ips.last());
        }
        if !lost.is_empty() {
            let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
            return Err(Stop::Refused(format!(
                "Could not discover all nodes specified. Please make sure that the SVMs from which you wish to create the \
                 cluster are not already part of another cluster. Undiscovered ips : {}",
                lost.join(",")
            )));
        }
        for line in lines {
            log(task, cx, "INFO", &line);
        }
        Ok(())
    }

    fn is_to_be_found(&self, cx: &Cx<'_>, cvm: &Cvm) -> bool {
        let skew = |id: &str| cx.fleet.conditions.skew.get(id).copied().unwrap_or(0.0);
        let apart = (skew(&cvm.host.server_id) - skew(&cx.place.server_id)).abs();
        let tolerance = cx.fleet.settings.observed.clock_tolerance.as_secs_f64();
        cvm.cluster.is_none() && !cvm.life.is_hidden && apart <= tolerance
    }

    /// A fault: one member is not discovered until its genesis was restarted.
    fn hide_one(&self, cx: &mut Cx<'_>) {
        for ip in &self.order.svm_ips {
            let Some(cvm) = cx.fleet.cvms.values_mut().find(|cvm| cvm.ip() == *ip) else { continue };
            if cx.faults.take_cvm(&cvm.host.server_name, |fault| *fault == CvmFault::Undiscovered).is_some() {
                cvm.life.is_hidden = true;
            }
        }
    }

    /// A fault: what the command says before it fails, at this stage.
    fn says(&self, cx: &mut Cx<'_>, is_partial: bool) -> Option<String> {
        let server_name = asked(cx).map(|cvm| cvm.host.server_name.clone())?;
        let wanted = |fault: &CvmFault| matches!(fault, CvmFault::CreateSays { partial, .. } if *partial == is_partial);
        match cx.faults.take_cvm(&server_name, wanted) {
            Some(CvmFault::CreateSays { line, .. }) => Some(line),
            _ => None,
        }
    }

    fn lay_down(&mut self, cx: &mut Cx<'_>) {
        let Some(server_name) = asked(cx).map(|cvm| cvm.host.server_name.clone()) else { return };
        let order = &self.order;
        let wanted = NewCluster {
            name: order.name.clone(),
            vip: order.vip,
            redundancy_factor: order.redundancy_factor,
            timezone: "UTC".into(),
            name_servers: order.name_servers.clone(),
            ntp_servers: order.ntp_servers.clone(),
            members: self.members.clone(),
            uuid: order.uuid,
        };
        let mut cluster = cx.fleet.record(cx.now, wanted, cx.faults, &server_name);
        if !order.seeds_password {
            cluster.prism = crate::cvm::PrismPassword::new(&cx.fleet.settings.observed.prism_password);
        }
        let never = |fault: &CvmFault| *fault == CvmFault::ZeusNeverReady;
        self.never_ready = cluster.never_starts || cx.faults.take_cvm(&server_name, never).is_some();
        self.uuid = cluster.uuid;
        cx.fleet.clusters.insert(self.uuid, cluster);
    }

    /// Looks like the hash of the password in `/etc/shadow`: nobody may keep it.
    fn hash(&self, cx: &Cx<'_>) -> String {
        let seed = cx.fleet.settings.seed;
        let [salt, one, two] =
            ["salt", "one", "two"].map(|part| hex::encode(pace::digest(seed, &format!("{part} {}", self.uuid))));
        format!("$6${}${one}{}", &salt[..8], &two[..22])
    }

    /// Zeus gets ready when its nodes see each other.
    fn zeus_is_stuck(&self, cx: &Cx<'_>) -> bool {
        let is_gone = |id: &String| !cx.fleet.cvms.get(id).is_some_and(|cvm| cvm.has_genesis(cx.now));
        let is_blocked = |id: &String| self.members.iter().any(|other| cx.fleet.conditions.is_blocked(id, other));
        self.never_ready || self.members.iter().any(|id| is_gone(id) || is_blocked(id))
    }

    /// Names what is still to start, member by member; `false`: nothing is.
    fn is_waiting(&self, cx: &mut Cx<'_>, task: &mut Task) -> bool {
        let mut lines = Vec::new();
        for (index, ip) in self.order.svm_ips.iter().enumerate() {
            let Some(cvm) = self.members.get(index).and_then(|id| cx.fleet.cvms.get(id)) else { continue };
            let missing = cx.fleet.waiting_for(cx.now, cvm);
            if missing.is_empty() {
                continue;
            }
            let state = match (cvm.has_genesis(cx.now), index) {
                (false, _) => "Down",
                (true, 0) => "Up, ZeusLeader",
                (true, _) => "Up",
            };
            lines.push(format!("Waiting on {ip} ({state}) to start:  {}", missing.join(" ")));
        }
        for line in &lines {
            log(task, cx, "INFO", line);
        }
        !lines.is_empty()
    }
}
