//! The checks before create, asked from every controller VM: what fails there half an hour later costs an hour.

use super::check;
use futures_util::future::join_all;
use metalform_model::{Check, in_words, with_causes};
use metalform_nutanix::{ClusterWord, CvmSession, CvmShellSettings, FactoryConfig, PortSeen, Reach, ShellError};
use metalform_orchestrator::{ClusterSpec, Member};
use std::{collections::BTreeMap, time::Duration};

/// Clocks may differ by so much. Nothing published names the true bound, only that they must agree; an NTP that works keeps
/// them within milliseconds.
const CLOCK_BOUND: u64 = 10;
/// Commands at a time over one connection: OpenSSH's default allows ten.
const AT_A_TIME: usize = 5;

/// All checks. `sessions`: one for each member that lets us in, in the members' order.
pub(super) async fn by_shell(
    spec: &ClusterSpec,
    members: &[Member],
    sessions: &[Result<CvmSession, ShellError>],
    settings: &CvmShellSettings,
) -> Vec<Check> {
    let mut lines = Vec::new();
    for (member, session) in members.iter().zip(sessions) {
        let (ok, seen) = match session {
            Ok(session) => readiness(session).await,
            Err(error) => (false, with_causes(error)),
        };
        let refused = session.as_ref().err().is_some_and(ShellError::is_denied);
        let line = check(format!("{} answers and is in no cluster", member.server_id), ok, seen);
        lines.push(Check { refused, ..line });
    }
    let open: Vec<(&Member, &CvmSession)> =
        members.iter().zip(sessions).filter_map(|(m, s)| Some((m, s.as_ref().ok()?))).collect();
    lines.push(versions(members));
    lines.push(clocks(&open).await);
    lines.push(duplicates(&open).await);
    lines.push(vip_is_free(spec, &open, settings).await);
    lines.extend(everyone_reaches_everyone(&open, settings).await);
    lines
}

async fn readiness(session: &CvmSession) -> (bool, String) {
    match session.genesis().await {
        Ok(genesis) if genesis.is_up() => {}
        Ok(_) => return (false, "genesis doesn't run".into()),
        Err(error) => return (false, with_causes(&error)),
    }
    match session.cluster_status().await {
        Ok(ClusterWord::Unconfigured) => (true, "genesis runs, in no cluster".into()),
        Ok(ClusterWord::Configured(services)) => {
            let ips: Vec<String> = services.member_ips().iter().map(ToString::to_string).collect();
            (false, format!("it is in a cluster already, of {}", ips.join(", ")))
        }
        Err(error) => (false, with_causes(&error)),
    }
}

/// The versions that the nodes reported. A node that didn't report one can't be asked before its cluster exists.
pub(super) fn versions(members: &[Member]) -> Check {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in members {
        by_version.entry(member.version.as_deref().unwrap_or("not reported")).or_default().push(&member.server_id);
    }
    let known = by_version.keys().filter(|version| **version != "not reported").count();
    let seen: Vec<String> = by_version.iter().map(|(version, ids)| format!("{version}: {}", ids.join(", "))).collect();
    check("versions are equal", known < 2, seen.join("; "))
}

async fn clocks(open: &[(&Member, &CvmSession)]) -> Check {
    let name = "clocks are in step";
    let asked = join_all(open.iter().map(|(_, session)| session.clock())).await;
    let mut told = Vec::new();
    for ((member, _), clock) in open.iter().zip(asked) {
        match clock {
            Ok(seconds) => told.push((seconds, &member.server_id)),
            Err(error) => return check(name, false, format!("{}: {}", member.server_id, with_causes(&error))),
        }
    }
    told.sort_unstable();
    // The clock in the middle is the one that most agree with; with two there is no telling which of them is right.
    let Some((middle, _)) = told.get((told.len().max(1) - 1) / 2).copied() else {
        return check(name, true, "nobody to ask");
    };
    let apart = told.iter().map(|(seconds, _)| seconds.abs_diff(middle)).max().unwrap_or_default();
    if apart <= CLOCK_BOUND {
        return check(name, true, format!("within {apart} s"));
    }
    let off = told.iter().filter(|(seconds, _)| seconds.abs_diff(middle) > CLOCK_BOUND).map(|(seconds, id)| {
        let way = if *seconds > middle { "ahead of" } else { "behind" };
        format!("{id} is {} {way} the others", in_words(Duration::from_secs(seconds.abs_diff(middle))))
    });
    check(name, false, off.collect::<Vec<_>>().join("; "))
}

/// Two members that are one machine, or two machines that say they are one, would collide when they discover each other.
async fn duplicates(open: &[(&Member, &CvmSession)]) -> Check {
    let name = "every address is a machine of its own";
    let identities = join_all(open.iter().map(|(_, session)| session.identity())).await;
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for ((member, session), identity) in open.iter().zip(identities) {
        owners.entry(format!("the host key {}", session.fingerprint())).or_default().push(&member.server_id);
        if let Some(serial) = identity.ok().as_ref().and_then(serial) {
            owners.entry(format!("the serial {serial}")).or_default().push(&member.server_id);
        }
    }
    let shared: Vec<String> = owners
        .iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|(what, ids)| format!("{} show {what}", ids.join(" and ")))
        .collect();
    let seen = if shared.is_empty() { format!("{} different ones", open.len()) } else { shared.join("; ") };
    check(name, shared.is_empty(), seen)
}

fn serial(identity: &FactoryConfig) -> Option<String> {
    let node = identity.node_serial.as_deref().filter(|serial| !serial.is_empty())?;
    Some(format!("{}/{node}", identity.rackable_unit_serial.as_deref().unwrap_or_default()))
}

async fn vip_is_free(spec: &ClusterSpec, open: &[(&Member, &CvmSession)], settings: &CvmShellSettings) -> Check {
    let name = format!("the cluster's address {} is free", spec.external_ip);
    let Some((member, session)) = open.first() else { return check(name, true, "nobody to ask") };
    match session.reach(spec.external_ip, &[settings.port, settings.prism_port]).await {
        Ok(reach) if reach.anything_answers() => {
            check(name, false, format!("something answers there, asked from {}", member.server_id))
        }
        Ok(_) => check(name, true, format!("nothing answers there, asked from {}", member.server_id)),
        Err(error) => check(name, false, format!("{}: {}", member.server_id, with_causes(&error))),
    }
}

/// Each asks each. A port counts if it is open at home: what listens there must be reached by all others.
async fn everyone_reaches_everyone(open: &[(&Member, &CvmSession)], settings: &CvmShellSettings) -> Vec<Check> {
    let ports = [settings.port, settings.genesis_port, settings.prism_port];
    let ask = |from: usize| async move {
        let mut seen = Vec::new();
        // With itself, for what is open at home.
        let targets: Vec<usize> = (0..open.len()).collect();
        for some in targets.chunks(AT_A_TIME) {
            let asked = some.iter().map(|to| open[from].1.reach(open[*to].0.cvm_ip, &ports));
            seen.extend(join_all(asked).await);
        }
        seen
    };
    let told = join_all((0..open.len()).map(ask)).await;
    let mut misses = Vec::new();
    let mut used = Vec::new();
    for (to, (target, _)) in open.iter().enumerate() {
        let at_home = told[to][to].as_ref().ok();
        let open_ports: Vec<u16> =
            ports.into_iter().filter(|port| at_home.and_then(|r| r.port(*port)) == Some(PortSeen::Open)).collect();
        used.extend(open_ports.iter().copied());
        for (from, (source, _)) in open.iter().enumerate().filter(|(from, _)| *from != to) {
            let missing = match &told[from][to] {
                Ok(reach) => missing(reach, &open_ports),
                Err(error) => Some(with_causes(error)),
            };
            if let Some(missing) = missing {
                misses.push(check(format!("{} reaches {}", source.server_id, target.server_id), false, missing));
            }
        }
    }
    if misses.is_empty() {
        used.sort_unstable();
        used.dedup();
        let ports: Vec<String> = used.iter().map(ToString::to_string).collect();
        let pairs = open.len() * open.len().saturating_sub(1);
        let seen = format!("{pairs} ways: ping, and ports {}", ports.join(", "));
        misses.push(check("every controller VM reaches every other", true, seen));
    }
    misses
}

fn missing(reach: &Reach, ports: &[u16]) -> Option<String> {
    let mut missing: Vec<String> = Vec::new();
    if !reach.ping {
        missing.push("ping isn't answered".into());
    }
    for port in ports {
        match reach.port(*port) {
            Some(PortSeen::Open) => {}
            Some(PortSeen::Refused) => missing.push(format!("port {port} is refused")),
            Some(PortSeen::Silent) | None => missing.push(format!("port {port} is silent")),
        }
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}
