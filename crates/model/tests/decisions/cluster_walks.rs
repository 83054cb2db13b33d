//! Whole lives of a forming cluster in a world that answers anything: however it answers, the cluster comes to an end, no
//! second create is begun beside a first, nothing is taken down that isn't a half-made cluster of ours, and no account is
//! locked. The deeds are carried out here the way the loop does it, with a crash before or after the effect now and then.

use crate::rig::*;
use metalform_model::{SecureOutcome as Outcome, *};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{collections::BTreeMap, time::Duration};

/// What the loop allows itself in one pass.
const STEPS: usize = 40;

/// What a member is in, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Truth {
    Free,
    Ours { stopped: bool },
    Theirs,
}

/// How a create ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Up,
    UpAndSaysItFailed,
    UpAndDied,
    FailsOnFreeNodes(Advice),
    FailsHalfWay(Advice),
    FailsWithAll,
    DiesHalfWay,
    Never,
}

const ENDS: [End; 10] = [
    End::Up,
    End::UpAndSaysItFailed,
    End::UpAndDied,
    End::FailsOnFreeNodes(Advice::Wait),
    End::FailsOnFreeNodes(Advice::DontRetry),
    End::FailsHalfWay(Advice::CleanUp),
    End::FailsHalfWay(Advice::DontRetry),
    End::FailsWithAll,
    End::DiesHalfWay,
    End::Never,
];

/// A create in the world.
#[derive(Debug, Clone)]
struct Create {
    name: String,
    until: Timestamp,
    end: End,
    /// What its trace says; running until it has ended.
    says: JobSays,
}

/// A place where passwords are kept.
#[derive(Debug, Clone, Default)]
struct Door {
    /// Whether the cluster's own is in force.
    is_new: bool,
    /// Whether none that we know is in force.
    is_strange: bool,
    wrong: u32,
    wrong_at: Option<Timestamp>,
}

/// A cluster, the time, what is true, and the choices of the world, which are repeated when they run out.
#[derive(Debug)]
struct World {
    cluster: Cluster,
    now: Timestamp,
    members: [Truth; 3],
    creates: Vec<Create>,
    doors: BTreeMap<SecurePlace, Door>,
    /// Whether we have seen the cluster that stands up.
    was_up: bool,
    asks: u32,
    choices: Vec<u8>,
    next: usize,
}

impl World {
    fn new(choices: Vec<u8>, driver: FormationChoice) -> World {
        let mut cluster = Cluster::of(&[NodePhase::Ready; 3]);
        cluster.plan.cluster.formation = driver;
        cluster.record.enter(ClusterPhase::Forming, "for the test".into(), T0);
        let (creates, doors) = Default::default();
        let members = [Truth::Free; 3];
        World { cluster, now: T0, members, creates, doors, was_up: false, asks: 0, choices, next: 0 }
    }

    fn choose<T: Clone>(&mut self, among: &[T]) -> T {
        let choice = self.choices[self.next % self.choices.len()];
        // A repetition is shifted, or the world could answer the same for ever.
        let choice = usize::from(choice) + self.next / self.choices.len();
        self.next += 1;
        among[choice % among.len()].clone()
    }

    fn seldom(&mut self) -> bool {
        self.choose(&[false, false, false, false, false, false, false, true])
    }

    fn takes(&mut self, limit: u64) {
        let took = self.choose(&[0, 1, 3, limit]);
        self.now = self.now + seconds(took) + Duration::from_millis(3);
        self.pass_time();
    }

    fn trouble(&mut self) {
        let record = &mut self.cluster.record;
        let again = Trouble::again(record.trouble.as_ref(), "do it".into(), "no".into(), None, self.now);
        record.trouble = Some(again);
    }

    /// Creates end when their time has come. Half of the members are in the cluster from the beginning where it gets that
    /// far: a create that is at work on free members for longer than formation may take isn't in this world.
    fn pass_time(&mut self) {
        let now = self.now;
        for create in self.creates.iter_mut().filter(|c| c.says == JobSays::Running) {
            let ours = Truth::Ours { stopped: false };
            let (members, says) = match create.end {
                End::Up => (3, JobSays::Succeeded),
                End::UpAndSaysItFailed | End::FailsWithAll => (3, failed(Advice::CleanUp)),
                End::UpAndDied => (3, JobSays::Died),
                End::FailsOnFreeNodes(advice) => (0, failed(advice)),
                End::FailsHalfWay(advice) => (2, failed(advice)),
                End::DiesHalfWay => (1, JobSays::Died),
                End::Never => (1, JobSays::Running),
            };
            let is_over = now >= create.until;
            let members = if is_over { members } else { members.min(1) };
            self.members.iter_mut().take(members).for_each(|m| *m = ours);
            if is_over {
                create.says = says;
            }
        }
    }

    fn is_up(&self) -> bool {
        let ends = [End::Up, End::UpAndSaysItFailed, End::UpAndDied];
        let last = self.creates.last();
        last.is_some_and(|c| c.says != JobSays::Running && ends.contains(&c.end))
            && self.members == [Truth::Ours { stopped: false }; 3]
    }

    fn look(&mut self) {
        self.pass_time();
        let looks = self.cluster.looks(self.now);
        let Some(attempt) = self.cluster.record.formation.clone().filter(|_| looks.formation) else { return };
        let mut seen = FormationSeen::default();
        for (n, id) in attempt.members.iter().enumerate() {
            let is_silent = self.seldom();
            let says = match self.members[n] {
                _ if is_silent => nothing(),
                Truth::Free => free(),
                Truth::Theirs => MemberSays::InCluster(ClusterSeen { name: Some("theirs".into()), ..cluster_of(&[9]) }),
                Truth::Ours { stopped } => {
                    let name = (attempt.driver == Driver::Prism).then(|| "prod".to_owned());
                    MemberSays::InCluster(ClusterSeen { is_stopped: stopped, name, ..cluster_of(&[1, 2, 3]) })
                }
            };
            seen.members.push(MemberSeen { server_id: id.clone(), says });
        }
        if attempt.driver == Driver::CvmSsh {
            let of = |job: &FormationJob| self.creates.iter().find(|c| c.name == job.name).map(|c| c.says.clone());
            seen.job = attempt.job.as_ref().map(|job| of(job).unwrap_or(JobSays::Absent));
            if seen.job.is_some() && self.seldom() {
                seen.job = Some(unknown());
            }
        }
        seen.vip = (self.is_up() && !self.seldom()).then(|| cluster_seen(Some("prod"), Some("UP")));
        let now = self.now;
        let attempt = self.cluster.attempt();
        (attempt.looked_at, attempt.seen) = (Some(now), Some(seen));
    }

    fn is_at_work(&self) -> bool {
        self.creates.iter().any(|c| c.says == JobSays::Running)
    }

    /// A create begins on the world's nodes.
    fn begin(&mut self, name: String) {
        let end = self.choose(&ENDS);
        let took = if self.cluster.attempt().driver == Driver::Prism {
            // It leaves no trace: it shows within the time that is given to it, or never.
            5
        } else {
            self.choose(&[5, 60, 300, 900])
        };
        let create = Create { name, until: self.now + seconds(took), end, says: JobSays::Running };
        self.creates.push(create);
    }

    fn ask(&mut self) {
        assert!(!self.is_at_work(), "a second create beside the first: {self:?}");
        let configured = self.members.iter().any(|m| matches!(m, Truth::Ours { .. }));
        assert!(!configured, "asked while a member is in a cluster: {self:?}");
        self.asks += 1;
        let now = self.now;
        let attempt = self.cluster.attempt();
        let name = format!("create-{}-{}-{}", attempt.n, attempt.round, attempt.entry);
        let member = attempt.members[attempt.entry].clone();
        (attempt.state, attempt.asked_at, attempt.ours) = (FormationState::InDoubt, Some(now), true);
        (attempt.looked_at, attempt.seen) = (None, None);
        attempt.job = Some(FormationJob {
            server_id: member,
            driver: attempt.driver,
            name: name.clone(),
            session: None,
            read: 0,
        });
        assert!(self.creates.iter().all(|c| c.name != name), "a create's name is used twice: {self:?}");
        self.was_up = false;
        let became =
            self.choose(&["taken", "taken", "crash", "lost", "crash after", "not sent", "refused", "lost after"]);
        if ["taken", "crash after", "lost after"].contains(&became) {
            self.begin(name);
        }
        self.takes(30);
        match became {
            "taken" => self.cluster.attempt().state = FormationState::Accepted,
            "not sent" => self.next_entry(false),
            "refused" => self.next_entry(true),
            _ => {}
        }
    }

    fn next_entry(&mut self, permanent: bool) {
        let attempt = self.cluster.attempt();
        let server_id = attempt.members[attempt.entry].clone();
        attempt.refusals.push(Refusal { server_id, error: "no".into(), permanent });
        (attempt.entry, attempt.state) = (attempt.entry + 1, FormationState::Unasked);
    }

    fn secure(&mut self, places: &[SecurePlace]) {
        let shows: Vec<_> = places.iter().map(|place| self.cluster.record.account(place).show()).collect();
        for place in places {
            if self.cluster.record.account(place).state == AccountState::Default {
                self.cluster.record.fold_secure(place, &Outcome::Begun, self.now);
            }
        }
        for (place, shown) in places.iter().zip(shows) {
            let event = self.choose(&["ok", "ok", "ok", "crash", "crash after", "lost", "lost after", "not there"]);
            if ["crash", "lost"].contains(&event) {
                if event == "lost" {
                    self.cluster.record.fold_secure(place, &Outcome::Failed { error: "reset".into() }, self.now);
                }
                continue;
            }
            if event == "not there" && matches!(place, SecurePlace::Host(_)) {
                self.cluster.record.fold_secure(place, &Outcome::NotThere { why: "closed".into() }, self.now);
                continue;
            }
            let (door, now) = (self.doors.entry(place.clone()).or_default(), self.now);
            let lets_in =
                !door.is_strange && (shown == ShowPassword::New) == door.is_new && shown != ShowPassword::OtherOld;
            let outcome = if lets_in {
                (door.is_new, door.wrong, door.wrong_at) = (true, 0, None);
                match place {
                    SecurePlace::Prism if shown != ShowPassword::New => Outcome::Taken,
                    _ => Outcome::Works { beside: Vec::new() },
                }
            } else {
                let spaced = door.wrong_at.is_none_or(|at| now >= at + minutes(1));
                (door.wrong, door.wrong_at) = (door.wrong + 1, Some(now));
                assert!(door.wrong <= 2 && spaced, "{place:?} is about to be locked: {self:?}");
                Outcome::Refused { shown, error: "denied".into(), is_locked: false }
            };
            // A refusal whose record died with us is one that nobody counts. Not in this world: it can't be helped.
            match event {
                "crash after" if lets_in => {}
                "lost after" if lets_in => {
                    let lost = Outcome::Failed { error: "reset".into() };
                    self.cluster.record.fold_secure(place, &lost, now);
                }
                _ => drop(self.cluster.record.fold_secure(place, &outcome, now)),
            }
        }
        self.takes(5);
    }

    fn clean_step(&mut self, step: CleanStep) {
        let now = self.now;
        let attempt = self.cluster.attempt();
        assert!(attempt.ours && attempt.asked_at.is_some());
        if let Some(cleaning) = &mut attempt.cleaning {
            (cleaning.step, cleaning.at) = (Some(step), now);
        }
        assert!(!self.was_up, "what was up is taken down: {self:?}");
        assert!(!self.members.contains(&Truth::Theirs), "somebody else's cluster: {self:?}");
        if !self.seldom() {
            let left = self.choose(&[0, 0, 1]);
            let members = self.members.iter_mut().skip(left);
            match step {
                CleanStep::EndJob => {
                    let running = self.creates.iter_mut().filter(|c| c.says == JobSays::Running);
                    running.for_each(|c| c.says = JobSays::Died);
                }
                CleanStep::Stop => {
                    let ours = self.members.iter_mut().filter(|m| matches!(m, Truth::Ours { .. }));
                    ours.for_each(|m| *m = Truth::Ours { stopped: true });
                }
                CleanStep::Destroy => {
                    members.filter(|m| **m == Truth::Ours { stopped: true }).for_each(|m| *m = Truth::Free);
                }
                CleanStep::Unconfigure => members.for_each(|m| *m = Truth::Free),
                CleanStep::RestartGenesis => {}
            }
        }
        self.takes(30);
    }

    fn carry_out(&mut self, action: ClusterAction) {
        match action {
            ClusterAction::Prepare { members, driver, .. } => {
                let attempt = FormationAttempt::new(1, driver, members, FormationState::LookFirst, self.now);
                self.cluster.record.formation = Some(attempt);
            }
            ClusterAction::CheckBefore => {
                self.takes(30);
                let fit = !self.seldom() && self.members == [Truth::Free; 3];
                let before = self.cluster.attempt().before.as_ref();
                let since = before.map_or(self.now, |before| before.since);
                self.cluster = self.cluster.clone().checked(&[fit], since, self.now);
            }
            ClusterAction::Secure { places } => self.secure(&places),
            ClusterAction::ClearToAsk => {
                let attempt = self.cluster.attempt();
                (attempt.state, attempt.before) = (FormationState::Unasked, None);
            }
            ClusterAction::Ask => self.ask(),
            ClusterAction::NextEntry => self.next_entry(false),
            ClusterAction::Adopt => self.cluster.attempt().state = FormationState::Accepted,
            ClusterAction::Clean { why } => {
                let now = self.now;
                let attempt = self.cluster.attempt();
                attempt.state = FormationState::Cleaning;
                attempt.cleaning = Some(Cleaning { why, since: now, step: None, at: now });
            }
            ClusterAction::CleanStep(step) => self.clean_step(step),
            ClusterAction::NextRound => {
                assert!(!self.is_at_work(), "the next round beside a create: {self:?}");
                let attempt = self.cluster.attempt();
                let server_id = attempt.members[attempt.entry].clone();
                attempt.refusals.push(Refusal { server_id, error: "no".into(), permanent: false });
                attempt.round += 1;
                attempt.entry = (attempt.entry + 1) % attempt.members.len();
                (attempt.state, attempt.before, attempt.cleaning) = (FormationState::Unasked, None, None);
                assert!(attempt.round < 3, "a fourth round: {self:?}");
            }
            ClusterAction::Settle if self.seldom() => self.trouble(),
            ClusterAction::Settle => {
                self.cluster.record.trouble = None;
                self.cluster.attempt().settled = true;
            }
            ClusterAction::Verify => {
                let ok = self.is_up() && !self.seldom();
                self.cluster.record.checks = vec![a_check("c", ok, "s")];
                self.cluster.record.trouble = None;
                if !ok {
                    self.trouble();
                }
                self.takes(5);
            }
            ClusterAction::EnsureVip | ClusterAction::RemoveVip | ClusterAction::TellNodesWaiting => {
                panic!("{action:?} of a forming cluster")
            }
        }
    }

    /// Lives until the cluster rests, at most so long. `false`: it didn't come to rest.
    fn live(&mut self, limit: Duration) -> bool {
        let end = self.now + limit;
        let mut steps = 0;
        while self.now < end {
            self.look();
            match self.cluster.decide(self.now) {
                Decision::Wait { until: Timestamp::NEVER, .. } => return true,
                Decision::Wait { until, .. } => {
                    assert!(until > self.now, "it spins in {self:?}");
                    steps = 0;
                    self.now = until;
                }
                Decision::Do(action) => {
                    steps += 1;
                    self.carry_out(action);
                    self.now = self.now + Duration::from_millis(3);
                }
                Decision::MoveTo(phase, why) => {
                    steps += 1;
                    self.was_up |= phase == ClusterPhase::Verifying;
                    self.cluster.record.enter(phase, why, self.now);
                }
                Decision::NeedsOperator(failure) => {
                    self.cluster.record.enter(ClusterPhase::NeedsOperator, failure.reason.clone(), self.now);
                    self.cluster.record.failure = Some(failure);
                }
            }
            assert!(steps <= STEPS, "it spins in {:?}: {:?}", self.cluster.record, self.cluster.decide(self.now));
        }
        false
    }

    /// What a person does before saying "again".
    fn mend(&mut self) {
        for door in self.doors.values_mut() {
            (door.wrong, door.wrong_at, door.is_strange) = (0, None, false);
        }
        if self.choose(&[false, false, false, true]) {
            self.members = [Truth::Free; 3];
            self.creates.iter_mut().filter(|c| c.says == JobSays::Running).for_each(|c| c.says = JobSays::Died);
            // Prism went with its cluster.
            self.doors.remove(&SecurePlace::Prism);
        }
        self.now = self.now + minutes(1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_forming_cluster_comes_to_an_end_whatever_the_world_answers(
        choices in vec(any::<u8>(), 40..200),
        retries in 0usize..5,
        driver in select(vec![FormationChoice::CvmSsh, FormationChoice::CvmSsh, FormationChoice::Prism]),
        theirs in prop_oneof![4 => Just(None), 1 => (0usize..3).prop_map(Some)],
        strange in prop_oneof![4 => Just(None), 1 => (0usize..3).prop_map(Some)],
    ) {
        let mut world = World::new(choices, driver);
        if let Some(n) = theirs {
            world.members[n] = Truth::Theirs;
        }
        if let Some(n) = strange {
            let door = Door { is_strange: true, ..Door::default() };
            world.doors.insert(SecurePlace::Cvm(server(n + 1)), door);
        }
        for _ in 0..=retries {
            world.asks = 0;
            // The deadlines of forming and of verifying, and a little for the calls between them.
            prop_assert!(world.live(minutes(30 + 30 + 5)), "{:?}", world.cluster.record);
            let phase = world.cluster.record.phase;
            prop_assert!(matches!(phase, ClusterPhase::Ready | ClusterPhase::NeedsOperator), "{:?}", world.cluster.record);
            prop_assert!(world.asks <= 9, "three rounds, each node once: {:?}", world.cluster.record);
            if phase == ClusterPhase::Ready {
                prop_assert!(world.is_up());
                break;
            }
            world.mend();
            world.cluster.record.retry(driver, &[], world.now);
        }
    }
}
