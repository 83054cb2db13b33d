//! Watches a cluster until nothing more comes of it by itself.
//!
//! What ends the watch is how the cluster stands, never an event: events also tell of what is long over, and one may be
//! missed. The service's own deadlines bound every phase, so the watch sets none; it ends early when the service can't
//! be reached. Before it ends, the rest of the timeline is read, so that whoever watched has seen it whole.

use crate::{
    client::Client, context::Context, display::Display, error::CliError, event_stream::follow_events,
    stop_signal::StopSignal, timeline::Timeline,
};
use metalform_model::{ClusterPhase, ClusterStatus, Timestamp, kind};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often a cluster is looked at while no event says that it moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A phase in which whoever watches may stop.
    Settled,
    /// The same, but not the phase that was entered then: a retry was asked for, and has yet to be taken up.
    SettledAnew(Timestamp),
    /// Nothing of it is left.
    Released,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// How the cluster stands.
    pub status: ClusterStatus,
    /// What was heard on the way.
    pub timeline: Timeline,
}

/// Watches one cluster for a person or a program, who may leave: the service goes on without them.
pub async fn watch_alone(
    context: &Context,
    client: &Client,
    cluster: &str,
    after: i64,
    until: Until,
) -> Result<Outcome, CliError> {
    let mut signals = StopSignal::listen()?;
    let display = Display::new(&context.out, context.json, 1);
    let outcome = tokio::select! {
        outcome = watch(context, client, cluster, after, until, &display) => outcome,
        () = signals.next() => Err(CliError::StoppedWatching { cluster: cluster.to_owned() }),
    };
    display.close();
    outcome
}

/// Watches a cluster, showing the timeline from after `after`.
pub async fn watch(
    context: &Context,
    client: &Client,
    cluster: &str,
    after: i64,
    until: Until,
    display: &Display<'_>,
) -> Result<Outcome, CliError> {
    let mut timeline = Timeline::after(after);
    let mut events = follow_events(client, cluster, after);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let moved = tokio::select! {
            event = events.next() => match event {
                Some(event) => show(&event?, &mut timeline, display)?,
                // The timeline has ended: the cluster is released.
                None => { look.tick().await; true }
            },
            _ = look.tick() => true,
        };
        if !moved {
            continue;
        }
        let status = client.cluster(cluster).await?;
        display.standing(&status, context.now(), timeline.started)?;
        if !is_over(&status, until) {
            continue;
        }
        loop {
            let rest = client.events(cluster, timeline.last).await?;
            if rest.is_empty() {
                return Ok(Outcome { status, timeline });
            }
            for event in rest {
                show(&event, &mut timeline, display)?;
            }
        }
    }
}

/// Shows an event and says whether the cluster has moved by it.
fn show(event: &metalform_model::Event, timeline: &mut Timeline, display: &Display<'_>) -> Result<bool, CliError> {
    timeline.take(event);
    display.event(event, timeline.started.unwrap_or(event.at))?;
    Ok(event.kind == kind::CLUSTER_PHASE)
}

fn is_over(status: &ClusterStatus, until: Until) -> bool {
    let phase = phase_of(status);
    match until {
        Until::Released => phase == Some(ClusterPhase::Released),
        Until::SettledAnew(before) if status.since == before => false,
        Until::Settled | Until::SettledAnew(_) => phase.is_some_and(ClusterPhase::is_settled) || waits_for_form(status),
    }
}

/// `None`: a phase that this version doesn't know, from a service that is newer.
fn phase_of(status: &ClusterStatus) -> Option<ClusterPhase> {
    serde_json::from_value(status.phase.as_str().into()).ok()
}

/// Every node is ready, and the plan says `start = "on-command"`. The status says so only in words.
pub fn waits_for_form(status: &ClusterStatus) -> bool {
    phase_of(status) == Some(ClusterPhase::WaitingForNodes) && status.reason.contains("`metalform form ")
}

impl Outcome {
    /// The error it comes to, if it is one for who wanted a cluster.
    pub fn into_deployed(self) -> Result<Outcome, CliError> {
        match phase_of(&self.status) {
            Some(ClusterPhase::Ready) => return Ok(self),
            Some(ClusterPhase::Released) => return Err(CliError::ReleasedMeanwhile { cluster: self.status.name }),
            _ if waits_for_form(&self.status) => return Ok(self),
            _ => {}
        }
        Err(CliError::NotReady(vec![self.status]))
    }
}

/// The sequence number of what happened last: what is watched for comes after it.
pub async fn last_event(client: &Client, cluster: &str) -> Result<i64, CliError> {
    let mut last = 0;
    loop {
        match client.events(cluster, last).await?.last() {
            Some(event) => last = event.seq,
            None => return Ok(last),
        }
    }
}
