//! Whole lives of a node in a world that answers anything: however it answers, the node comes to an end, and never takes
//! more than a few steps without waiting. The deeds are carried out here the way the loop does it, with a crash between
//! any two records now and then.

use crate::rig::*;
use metalform_model::{ServerStatus as Status, *};
use proptest::{collection::vec, prelude::*, sample::select};
use std::time::Duration;

/// What the loop allows itself in one pass.
const STEPS: usize = 40;

/// A node, the time, and the choices of the world, which are repeated when they run out.
struct World {
    node: Node,
    now: Timestamp,
    choices: Vec<u8>,
    next: usize,
}

impl World {
    fn choose<T: Clone>(&mut self, among: &[T]) -> T {
        let choice = self.choices[self.next % self.choices.len()];
        // A repetition is shifted, or the world could answer the same for ever.
        let choice = usize::from(choice) + self.next / self.choices.len();
        self.next += 1;
        among[choice % among.len()].clone()
    }

    fn tick(&mut self) {
        self.now = self.now + Duration::from_millis(3);
    }

    fn trouble(&mut self) {
        let record = &mut self.node.record;
        let retry_after = None;
        let again = Trouble::again(record.trouble.as_ref(), "do it".into(), "no".into(), retry_after, self.now);
        record.trouble = Some(again);
    }

    fn make(&mut self, slot: Slot) {
        self.node.make(slot);
        self.node.resources.last_mut().expect("just made").changed_at = self.now;
    }

    fn look(&mut self) {
        let looks = self.node.looks(self.now);
        if looks.server {
            let mut answers: Vec<Option<Status>> = STATUSES.into_iter().map(Some).collect();
            answers.extend([Some(Status::Stopped); 4]);
            answers.extend([Some(Status::Running); 4]);
            answers.push(None);
            let status = self.choose(&answers);
            self.node.record.fold_server(ServerSeen { at: self.now, status, why: None });
        }
        if looks.cvm.surface {
            let surface = surface(self.choose(&OFFERS), self.choose(&OFFERS), self.choose(&OFFERS));
            self.node = self.node.clone().offers(surface, self.now);
        }
        if let Some((driver, _)) = looks.cvm.probe {
            let answers = [
                CvmAnswer::Refused,
                CvmAnswer::Silent,
                CvmAnswer::TlsUp,
                CvmAnswer::SshUp,
                CvmAnswer::Starting { what: "genesis".into() },
                CvmAnswer::HttpUp { status: 503 },
                CvmAnswer::Unauthorized,
                CvmAnswer::Ready,
            ];
            let answer = self.choose(&answers);
            self.node.record.fold_probe(driver, answer, None, self.now);
        }
    }

    fn overhear(&mut self) {
        let n = self.node.record.attempt.as_ref().map_or(0, |a| a.n);
        let seq = self.node.record.boot.report.as_ref().map_or(0, |r| r.seq) + 1;
        let seen = [
            None,
            None,
            Some(Seen::ScriptServed),
            Some(Seen::ConfigServed),
            Some(Seen::Reported(report(seq, ReportPhase::Rebooting))),
            Some(Seen::Reported(report(seq, ReportPhase::Installed))),
            Some(Seen::Reported(report(seq, ReportPhase::Failed))),
        ];
        if let Some(seen) = self.choose(&seen) {
            self.node.record.fold_evidence(&evidence(n, seen, self.now));
        }
    }

    fn carry_out(&mut self, action: NodeAction) {
        let node = &mut self.node;
        match action {
            NodeAction::Ensure(slot) => match self.choose(&["made", "made", "trouble", "crash"]) {
                "made" => {
                    self.make(slot);
                    self.node.record.trouble = None;
                }
                // The row was written, the node's own record wasn't any more.
                "crash" => {
                    let before = self.node.record.clone();
                    self.make(slot);
                    self.node.record = before;
                }
                _ => self.trouble(),
            },
            NodeAction::OpenAttempt => {
                let n = node.record.attempt.as_ref().map_or(0, |a| a.n) + 1;
                node.open_attempt(n);
                node.record.attempt.as_mut().expect("just opened").opened_at = self.now;
                (node.record.boot, node.record.cvm) = Default::default();
            }
            NodeAction::Stop | NodeAction::Reinitialize => {
                let what = if action == NodeAction::Stop { PowerAction::Stop } else { PowerAction::Reinitialize };
                node.record.sent = Some(PowerCall { what, at: self.now });
                match self.choose(&["crash", "ok", "ok", "conflict", "ambiguous"]) {
                    "crash" => {}
                    "ok" if what == PowerAction::Stop => self.node.record.server = None,
                    "ok" => self.move_to(NodePhase::Ordered),
                    "conflict" => {
                        self.node.record.sent = None;
                        self.node.record.server = None;
                        self.trouble();
                    }
                    _ => {
                        self.node.record.server = None;
                        self.trouble();
                    }
                }
            }
            NodeAction::Remove(slot) => {
                let state = self.choose(&[Some(ResourceState::Gone), Some(ResourceState::Deleting), None]);
                let place = self.node.resources.iter().position(|r| r.slot == slot).expect("only what there is");
                let resource = &mut self.node.resources[place];
                match state {
                    // Its deletion is under way already: seen so, and looked at again after a while.
                    Some(ResourceState::Deleting) if resource.state == ResourceState::Deleting => self.trouble(),
                    Some(state) => {
                        resource.state = state;
                        resource.changed_at = self.now;
                        self.node.record.trouble = None;
                    }
                    None => self.trouble(),
                }
            }
        }
    }

    fn move_to(&mut self, phase: NodePhase) {
        let record = &mut self.node.record;
        match phase {
            NodePhase::Ordered => {
                record.ordered_at = Some(self.now);
                (record.reimage, record.sent, record.server) = (false, None, None);
            }
            NodePhase::Releasing => {
                record.close_attempt(self.now);
                (record.failure, record.sent, record.server) = (None, None, None);
            }
            NodePhase::WaitingForCvm | NodePhase::Ready | NodePhase::Failed => {
                record.close_attempt(self.now);
            }
            _ => {}
        }
        record.enter(phase, "moved".into(), self.now);
    }

    /// Lives until the node rests, at most so long. `false`: it didn't come to rest.
    fn live(&mut self, limit: Duration) -> bool {
        let end = self.now + limit;
        let mut steps = 0;
        while self.now < end {
            self.look();
            match self.node.decide(self.now) {
                Decision::Wait { until: Timestamp::NEVER, .. } => return true,
                Decision::Wait { until, .. } => {
                    assert!(until > self.now, "it spins in {:?}", self.node.record);
                    steps = 0;
                    self.now = until;
                    self.overhear();
                }
                Decision::Do(action) => {
                    steps += 1;
                    self.carry_out(action);
                    self.tick();
                }
                Decision::MoveTo(phase, _) => {
                    steps += 1;
                    self.move_to(phase);
                }
                Decision::NeedsOperator(failure) => {
                    steps += 1;
                    self.move_to(NodePhase::Failed);
                    self.node.record.failure = Some(failure);
                }
            }
            assert!(steps <= STEPS, "it spins in {:?}: {:?}", self.node.record, self.node.decide(self.now));
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_node_comes_to_an_end_whatever_the_world_answers(
        choices in vec(any::<u8>(), 40..120),
        retries in 0usize..4,
        driver in select(CHOICES.to_vec()),
        give_up_after in 0u64..9000,
    ) {
        let mut world = World { node: Node { choice: driver, ..Node::new() }, now: T0, choices, next: 0 };
        for _ in 0..=retries {
            // The three deadlines of the way to `ready`, and a little for the steps between them.
            prop_assert!(world.live(minutes(30 + 45 + 60 + 5)), "{:?}", world.node.record);
            let record = &mut world.node.record;
            prop_assert!(matches!(record.phase, NodePhase::Ready | NodePhase::Failed), "{:?}", record);
            let has_server = world.node.resources.iter().any(|r| r.slot == Slot::Server && r.is_created());
            record.retry(false, has_server, world.now);
        }
        world.live(seconds(give_up_after));
        world.node.absent = true;
        prop_assert!(world.live(minutes(24 * 60)), "{:?}", world.node.record);
        prop_assert_eq!(world.node.record.phase, NodePhase::Released);
        prop_assert!(world.node.resources.iter().all(Resource::is_gone), "{:?}", world.node.resources);
    }
}
