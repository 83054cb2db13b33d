//! `[timeouts]`: how long things may take.

use metalform_model::Timeouts;
use serde::Deserialize;
use std::time::Duration;

/// `[timeouts]`: texts such as `45m`, `90s`, `1h 30m`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    order: Option<Span>,
    order_to_script: Option<Span>,
    node_ready: Option<Span>,
    formation: Option<Span>,
    server_poll: Option<Span>,
    probe: Option<Span>,
    probe_after_refusal: Option<Span>,
    formation_poll: Option<Span>,
    formation_settle: Option<Span>,
    check: Option<Span>,
    clean: Option<Span>,
    clean_step: Option<Span>,
    password_sync: Option<Span>,
    not_offered: Option<Span>,
    stop: Option<Span>,
    delete: Option<Span>,
}

impl TimeoutsConfig {
    /// The deadlines and intervals, as far as they are given.
    pub(super) fn or_default(&self) -> Timeouts {
        let (given, default) = (self, Timeouts::default());
        let or = |given: Option<Span>, default| given.map_or(default, |span| span.0);
        Timeouts {
            order: or(given.order, default.order),
            order_to_script: or(given.order_to_script, default.order_to_script),
            node_ready: or(given.node_ready, default.node_ready),
            formation: or(given.formation, default.formation),
            server_poll: or(given.server_poll, default.server_poll),
            probe: or(given.probe, default.probe),
            probe_after_refusal: or(given.probe_after_refusal, default.probe_after_refusal),
            formation_poll: or(given.formation_poll, default.formation_poll),
            formation_settle: or(given.formation_settle, default.formation_settle),
            check: or(given.check, default.check),
            clean: or(given.clean, default.clean),
            clean_step: or(given.clean_step, default.clean_step),
            password_sync: or(given.password_sync, default.password_sync),
            not_offered: or(given.not_offered, default.not_offered),
            stop: or(given.stop, default.stop),
            delete: or(given.delete, default.delete),
        }
    }
}

/// A duration as a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: Option<Duration> =
            text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()).filter(|d| !d.is_zero());
        span.map(Span).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as 45m or 90s")))
    }
}
