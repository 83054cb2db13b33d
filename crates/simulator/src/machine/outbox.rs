//! Reports on their way to the boot server: in order, one at a time, repeated until they are taken or refused for good.

use super::{Http, Purpose};
use crate::{fetch::FetchResult, pace::Pace};
use metalform_model::Timestamp;
use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

const RETRY: Duration = Duration::from_secs(5);

/// Reports that were not taken yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    url: String,
    waiting: VecDeque<Vec<u8>>,
    sending: bool,
    retry_at: Option<Timestamp>,
    /// Nothing that is sent arrives (a fault).
    pub lost: bool,
}

/// What became of a report.
pub(super) enum Sent {
    /// Taken.
    Taken,
    /// It will be sent again.
    Again,
    /// Refused for good, with the status.
    Refused(u16),
}

impl Outbox {
    pub fn to(url: String, lost: bool) -> Self {
        Outbox { url, lost, ..Outbox::default() }
    }

    pub fn push(&mut self, report: Vec<u8>) {
        if !self.lost {
            self.waiting.push_back(report);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The machine lost its memory or its network: what was under way is forgotten, what waited is not sent.
    pub fn forget(&mut self) {
        self.waiting.clear();
        (self.sending, self.retry_at) = (false, None);
    }

    pub fn next_at(&self) -> Timestamp {
        match self.retry_at {
            _ if self.sending || self.waiting.is_empty() => Timestamp::NEVER,
            Some(at) => at,
            None => Timestamp(i64::MIN),
        }
    }

    /// The next report, if one is due.
    pub fn send(&mut self, now: Timestamp, from: Ipv4Addr) -> Option<(Purpose, Http)> {
        if self.next_at() > now {
            return None;
        }
        let body = self.waiting.front()?.clone();
        (self.sending, self.retry_at) = (true, None);
        let http = Http { from, method: "POST", url: self.url.clone(), body: Some(body), ..Http::installer() };
        Some((Purpose::Report, http))
    }

    pub fn sent(&mut self, now: Timestamp, result: &FetchResult, pace: &Pace) -> Sent {
        if !std::mem::take(&mut self.sending) {
            return Sent::Again;
        }
        let wait = match result {
            FetchResult::Answered(answer) if answer.is_ok() => {
                self.waiting.pop_front();
                return Sent::Taken;
            }
            FetchResult::Answered(answer) if matches!(answer.status, 408 | 429 | 500..) => {
                answer.retry_after().unwrap_or_else(|| pace.retry(RETRY))
            }
            FetchResult::Answered(answer) => {
                self.waiting.pop_front();
                return Sent::Refused(answer.status);
            }
            _ => pace.retry(RETRY),
        };
        self.retry_at = Some(now + wait);
        Sent::Again
    }
}
