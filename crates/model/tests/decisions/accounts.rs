//! Passwords: which place is next, which password is shown there, and how many wrong ones.

use crate::rig::*;
use metalform_model::{FormationState as State, SecureOutcome as Outcome, ShowPassword::*, *};

fn cvm() -> SecurePlace {
    SecurePlace::Cvm(server(1))
}

fn refused(shown: ShowPassword) -> Outcome {
    Outcome::Refused { shown, error: "denied".into(), is_locked: false }
}

fn works() -> Outcome {
    Outcome::Works { beside: Vec::new() }
}

/// About to ask by SSH; every place but the first controller VM is secured.
fn before_asking() -> Cluster {
    Cluster::forming(State::Unasked).by(Driver::CvmSsh).fit().secured().with(|c| c.record.accounts.retain(not_ours))
}

fn not_ours(record: &AccountRecord) -> bool {
    record.server_id != Some(server(1)) || record.account != Account::CvmNutanix
}

/// Up, and everything but Prism is secured.
fn verifying() -> Cluster {
    Cluster::asked(State::Accepted).with(|c| {
        c.record.enter(ClusterPhase::Verifying, "x".into(), T0);
        c.attempt().settled = true;
    })
}

/// What the loop does with a place: it says that it is about to, if nothing was changed there, and then what came of it.
fn step(cluster: &mut Cluster, place: &SecurePlace, outcome: Option<&Outcome>, at: Timestamp) -> ShowPassword {
    let show = cluster.record.account(place).show();
    if cluster.record.account(place).state == AccountState::Default {
        cluster.record.fold_secure(place, &Outcome::Begun, at);
    }
    // None: a crash came between.
    if let Some(outcome) = outcome {
        cluster.record.fold_secure(place, outcome, at);
    }
    show
}

#[track_caller]
fn is_next(cluster: &Cluster, place: &SecurePlace, now: Timestamp) {
    let expected = Decision::Do(ClusterAction::Secure { places: vec![place.clone()] });
    assert_eq!(cluster.decide(now), expected);
}

#[test]
fn over_ssh_every_controller_vm_and_host_is_secured_before_a_node_is_asked() {
    let fit = Cluster::forming(State::Unasked).fit();
    let Decision::Do(ClusterAction::Secure { places }) = fit.clone().by(Driver::CvmSsh).decide(T0) else { panic!() };
    let ids = ["server-001", "server-002", "server-003"].map(String::from);
    let expected: Vec<_> =
        ids.into_iter().flat_map(|id| [SecurePlace::Cvm(id.clone()), SecurePlace::Host(id)]).collect();
    assert_eq!(places, expected);
    for driver in [Driver::Prism, Driver::Foundation] {
        fit.clone().by(driver).check(T0, "do Ask");
    }
    fit.by(Driver::CvmSsh).secured().check(T0, "do Ask");
}

#[test]
fn a_finished_cluster_is_secured_everywhere_whichever_way_it_was_formed() {
    for driver in Driver::ALL {
        let cluster = verifying().by(driver).with(|c| c.record.accounts.clear());
        let Decision::Do(ClusterAction::Secure { places }) = cluster.decide(T0) else { panic!() };
        assert_eq!(places.len(), 7);
        assert_eq!(places.last(), Some(&SecurePlace::Prism));
    }
}

#[test]
fn no_node_is_secured_before_it_is_fit() {
    Cluster::forming(State::Unasked).by(Driver::CvmSsh).check(T0, "do CheckBefore");
}

#[test]
fn a_password_is_changed_once() {
    let mut cluster = before_asking();
    is_next(&cluster, &cvm(), T0);
    assert_eq!(step(&mut cluster, &cvm(), Some(&works()), T0), Old);
    assert_eq!(cluster.record.account(&cvm()).state, AccountState::Changed);
    cluster.check(T0, "do Ask");
}

#[test]
fn what_isnt_there_has_no_password() {
    let mut cluster = before_asking();
    step(&mut cluster, &cvm(), Some(&Outcome::NotThere { why: "nothing listens".into() }), T0);
    cluster.check(T0, "do Ask");
    let mut again = cluster.retried(ClusterPhase::Forming, FormationChoice::Auto, T0 + minutes(1)).fit();
    again.attempt().state = State::Unasked;
    is_next(&again, &cvm(), T0 + minutes(1));
}

#[test]
fn a_retry_looks_for_no_account_that_only_leads_nowhere() {
    let mut cluster = before_asking();
    let beside = vec![(Account::AhvAdmin, AccountState::Absent)];
    let host = SecurePlace::Host(server(1));
    cluster.record.fold_secure(&host, &Outcome::Works { beside }, T0);
    let again = cluster.retried(ClusterPhase::Forming, FormationChoice::Auto, T0 + minutes(1));
    let admin = again.record.accounts.iter().find(|r| r.account == Account::AhvAdmin).map(|r| r.state);
    assert_eq!(admin, Some(AccountState::Absent));
}

#[test]
fn after_a_crash_the_new_one_is_tried_first_and_then_the_old_one_a_minute_later() {
    let mut cluster = before_asking();
    assert_eq!(step(&mut cluster, &cvm(), None, T0), Old);
    is_next(&cluster, &cvm(), T0);
    let mut changed = cluster.clone();
    assert_eq!(step(&mut changed, &cvm(), Some(&works()), T0), New);
    changed.check(T0, "do Ask");

    assert_eq!(step(&mut cluster, &cvm(), Some(&refused(New)), T0), New);
    cluster.check(T0, "wait 60s");
    is_next(&cluster, &cvm(), T0 + minutes(1));
    assert_eq!(step(&mut cluster, &cvm(), Some(&works()), T0 + minutes(1)), Old);
    cluster.check(T0 + minutes(1), "do Ask");
}

#[test]
fn two_refusals_a_minute_apart_stop_it() {
    let mut cluster = before_asking();
    assert_eq!(step(&mut cluster, &cvm(), Some(&refused(Old)), T0), Old);
    cluster.check(T0, "wait 60s");
    cluster.check(T0 + seconds(59), "wait 1s");
    is_next(&cluster, &cvm(), T0 + minutes(1));
    assert_eq!(step(&mut cluster, &cvm(), Some(&refused(OtherOld)), T0 + minutes(1)), OtherOld);
    cluster.check(T0 + minutes(1), "stop credentials_refused");
    assert_eq!(
        cluster.reason(T0 + minutes(1)),
        "the controller VM of server-001 doesn't let us in to change its passwords: denied"
    );
    let again = cluster.retried(ClusterPhase::Forming, FormationChoice::Auto, T0 + minutes(9));
    assert_eq!(again.record.account(&cvm()).show(), Old, "a person may have named it");
}

#[test]
fn a_place_that_refuses_doesnt_keep_the_others_from_being_secured() {
    let mut cluster = before_asking();
    let host = SecurePlace::Host(server(2));
    cluster.record.accounts.retain(|r| r.server_id != Some(server(2)) || r.account != Account::AhvRoot);
    step(&mut cluster, &cvm(), Some(&refused(Old)), T0);
    is_next(&cluster, &host, T0);
}

#[test]
fn a_new_password_that_may_be_in_force_is_never_forgotten() {
    // Both were refused after a crash: ours may be in force all the same, because the account was locked.
    let mut cluster = before_asking();
    step(&mut cluster, &cvm(), None, T0);
    step(&mut cluster, &cvm(), Some(&refused(New)), T0);
    step(&mut cluster, &cvm(), Some(&refused(Old)), T0 + minutes(1));
    cluster.check(T0 + minutes(1), "stop credentials_refused");
    let again = cluster.retried(ClusterPhase::Forming, FormationChoice::Auto, T0 + minutes(9));
    assert_eq!(again.record.account(&cvm()).show(), New);

    // The connection broke twice, once after the password was changed.
    let mut cluster = before_asking();
    step(&mut cluster, &cvm(), Some(&Outcome::Failed { error: "reset".into() }), T0);
    step(&mut cluster, &cvm(), Some(&refused(New)), T0);
    step(&mut cluster, &cvm(), Some(&Outcome::Failed { error: "reset".into() }), T0 + minutes(1));
    step(&mut cluster, &cvm(), Some(&refused(Old)), T0 + minutes(2));
    let again = cluster.retried(ClusterPhase::Forming, FormationChoice::Auto, T0 + minutes(9));
    assert_eq!(again.record.account(&cvm()).show(), New);
}

#[test]
fn prism_is_told_its_password_and_shown_it_once_every_node_knows_it() {
    let mut cluster = verifying();
    is_next(&cluster, &SecurePlace::Prism, T0);
    assert_eq!(step(&mut cluster, &SecurePlace::Prism, Some(&Outcome::Taken), T0), Old);
    cluster.check(T0, "wait 30s");
    is_next(&cluster, &SecurePlace::Prism, T0 + seconds(30));
    assert_eq!(step(&mut cluster, &SecurePlace::Prism, Some(&works()), T0 + seconds(30)), New);
    cluster.check(T0 + seconds(30), "do Verify");
}

#[test]
fn a_prism_that_refuses_what_it_took_is_given_another_minute_and_then_left_to_a_person() {
    let mut cluster = verifying();
    step(&mut cluster, &SecurePlace::Prism, Some(&Outcome::Taken), T0);
    let at = T0 + seconds(30);
    assert_eq!(step(&mut cluster, &SecurePlace::Prism, Some(&refused(New)), at), New);
    cluster.check(at, "wait 60s");
    let mut in_time = cluster.clone();
    assert_eq!(step(&mut in_time, &SecurePlace::Prism, Some(&works()), at + minutes(1)), New);
    in_time.check(at + minutes(1), "do Verify");

    step(&mut cluster, &SecurePlace::Prism, Some(&refused(New)), at + minutes(1));
    cluster.check(at + minutes(1), "stop credentials_refused");
    // It may never have been set: from then on both are tried.
    let mut again = cluster.retried(ClusterPhase::Verifying, FormationChoice::Auto, T0 + minutes(9));
    assert_eq!(step(&mut again, &SecurePlace::Prism, Some(&refused(New)), T0 + minutes(9)), New);
    assert_eq!(again.record.account(&SecurePlace::Prism).show(), Old);
}

#[test]
fn a_prism_that_let_us_in_after_a_crash_is_still_given_its_time_to_tell_every_node() {
    let mut cluster = verifying();
    step(&mut cluster, &SecurePlace::Prism, None, T0);
    assert_eq!(step(&mut cluster, &SecurePlace::Prism, Some(&works()), T0 + seconds(1)), New);
    cluster.check(T0 + seconds(1), "wait 30s");
    step(&mut cluster, &SecurePlace::Prism, Some(&works()), T0 + seconds(31));
    cluster.check(T0 + seconds(31), "do Verify");
}

#[test]
fn prism_of_another_cluster_has_another_password() {
    let mut cluster = verifying();
    step(&mut cluster, &SecurePlace::Prism, Some(&Outcome::Taken), T0 + minutes(1));
    step(&mut cluster, &SecurePlace::Prism, Some(&works()), T0 + minutes(2));
    assert_eq!(cluster.record.account(&SecurePlace::Prism).state, AccountState::Changed);
    // A person destroyed it, and it is made anew.
    cluster.attempt().asked_at = Some(T0 + minutes(9));
    let prism = cluster.record.account(&SecurePlace::Prism);
    assert_eq!((prism.state, prism.show()), (AccountState::Default, Old));
    assert_eq!(cluster.record.account(&SecurePlace::Cvm(server(2))).state, AccountState::Changed, "no node is new");
    is_next(&cluster, &SecurePlace::Prism, T0 + minutes(9));
}

#[test]
fn prism_is_born_with_the_password_that_its_controller_vms_had_when_it_was_created() {
    let secured_first = Cluster::asked(State::Accepted);
    assert!(secured_first.record.was_seeded());
    let secured_after = Cluster::asked(State::Accepted).with(|c| c.attempt().asked_at = Some(T0 - minutes(9)));
    assert!(!secured_after.record.was_seeded());
    let adopted = Cluster::asked(State::Accepted).with(|c| {
        (c.attempt().ours, c.attempt().asked_at) = (false, None);
    });
    assert!(!adopted.record.was_seeded());
    let never_formed = Cluster::of(&[NodePhase::Ready; 3]);
    assert!(!never_formed.record.was_seeded());
    let up_once = secured_first.retried(ClusterPhase::Verifying, FormationChoice::Auto, T0 + minutes(60));
    assert!(up_once.record.was_seeded());
}

#[test]
fn what_became_of_a_place_is_told_once() {
    let mut record = before_asking().record;
    assert!(record.fold_secure(&cvm(), &Outcome::Begun, T0).is_none());
    let told = |event: Option<NewEvent>| event.map(|e| e.message).unwrap_or_default();
    assert_eq!(
        told(record.fold_secure(&cvm(), &refused(New), T0)),
        "the controller VM of server-001 refused a password: denied"
    );
    let works = works();
    assert_eq!(
        told(record.fold_secure(&cvm(), &works, T0)),
        "the controller VM of server-001 has passwords of its own"
    );
    assert_eq!(record.fold_secure(&cvm(), &works, T0), None);
    assert_eq!(record.account(&cvm()).refusals, 0);
}

#[test]
fn a_change_that_was_cut_off_is_settled_before_anybody_looks() {
    let mut cluster = Cluster::asked(FormationState::LookFirst);
    let place = SecurePlace::Cvm(cluster.attempt().members[0].clone());
    cluster.record.fold_secure(&place, &SecureOutcome::Begun, T0);
    assert!(!cluster.looks(T0).formation, "a look would show the old password, and ours may be in force");
    let expected = ClusterAction::Secure { places: vec![place.clone()] };
    assert_eq!(cluster.decide(T0), Decision::Do(expected));
    cluster.record.fold_secure(&place, &SecureOutcome::Works { beside: Vec::new() }, T0);
    assert!(cluster.looks(T0).formation);
}

#[test]
fn who_was_not_reached_is_as_before() {
    let mut cluster = Cluster::forming(FormationState::Unasked);
    let place = SecurePlace::Cvm(cluster.attempt().members[0].clone());
    let not_reached = |shown| SecureOutcome::NotReached { shown, error: "refused".into() };
    cluster.record.fold_secure(&place, &SecureOutcome::Begun, T0);
    cluster.record.fold_secure(&place, &not_reached(ShowPassword::Old), T0);
    assert_eq!(cluster.record.account(&place).state, AccountState::Default, "nothing was said to it");
    // After a crash nobody knows, and not reaching it tells nothing.
    cluster.record.fold_secure(&place, &SecureOutcome::Begun, T0);
    cluster.record.fold_secure(&place, &not_reached(ShowPassword::New), T0);
    assert_eq!(cluster.record.account(&place).state, AccountState::Changing);
}

#[test]
fn a_locked_account_is_shown_nothing_more_and_told_by_its_own_name() {
    let mut cluster = Cluster::forming(State::Unasked).by(Driver::CvmSsh).fit();
    let place = cvm();
    cluster.record.fold_secure(&place, &Outcome::Begun, T0);
    let locked = Outcome::Refused { shown: Old, error: "the account is locked".into(), is_locked: true };
    cluster.record.fold_secure(&place, &locked, T0);
    let Decision::NeedsOperator(failure) = cluster.decide(T0 + minutes(2)) else { panic!("{:?}", cluster.decide(T0)) };
    assert_eq!(failure.code, Failure::LOCKED);
    assert!(failure.reason.contains("locked"), "{}", failure.reason);
}
