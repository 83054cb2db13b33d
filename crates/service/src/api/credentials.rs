//! The passwords of a cluster's accounts, for the operator: the one answer of this service that holds secrets. Each
//! reading stands in the audit before the answer goes out; one that can't be recorded doesn't take place.

use super::{ApiError, App, caller::Caller, record::deed_line};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::Extensions,
    response::{IntoResponse, Response},
};
use metalform_model::{Account, AccountState, ClusterPhase, ClusterRecord, audit_action};
use metalform_store::{ClusterState, SealError, SealedCredential, Sealer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// The answer. It is written once, to the operator; it can't be printed.
#[derive(Serialize)]
struct Document<'a> {
    cluster: &'a str,
    accounts: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    account: &'static str,
    user: &'a str,
    #[serde(rename = "where")]
    place: &'static str,
    #[serde(serialize_with = "expose")]
    password: SecretString,
    state: &'static str,
}

fn expose<S: Serializer>(password: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(password.expose_secret())
}

impl<'a> Shown<'a> {
    fn open(sealer: &Sealer, state: &ClusterState, credential: &'a SealedCredential) -> Result<Self, SealError> {
        let account = credential.account;
        let nodes: Vec<&str> = match &state.record.formation {
            Some(attempt) => attempt.members.iter().map(String::as_str).collect(),
            None => state.nodes.iter().map(|node| node.record.server_id.as_str()).collect(),
        };
        Ok(Shown {
            account: account.as_str(),
            user: &credential.user,
            place: account.place(),
            password: sealer.open(state.record.id, account, &credential.sealed)?,
            state: standing(&state.record, account, &nodes).as_str(),
        })
    }
}

/// The passwords of a cluster's accounts. Every call is recorded before it is answered.
#[utoipa::path(get, path = "/api/v1/clusters/{name}/credentials",
    params(("name" = String, Path, description = "the cluster")),
    responses((status = 200, description = "the accounts with their passwords; never to be cached"),
    (status = 404, description = "none of that name"),
    (status = 409, description = "there are none yet, or none any more"),
    (status = 500, description = "what is written down can't be opened"),
    (status = 503, description = "the call can't be recorded: try again")))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let state = app.living(&caller, &name).await?;
    let written = app.store.credentials(state.record.id).await?;
    if written.is_empty() {
        return Err(none(&state.record));
    }
    let accounts = written.iter().map(|credential| Shown::open(&app.sealer, &state, credential));
    let accounts = accounts.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let names: Vec<&str> = accounts.iter().map(|shown| shown.account).collect();
    let target = format!("{}: {}", state.record.name, names.join(" "));
    app.store.add_audit(&deed_line(&app, &caller, &extensions, audit_action::CREDENTIALS_READ, target)).await?;
    let document = Document { cluster: &state.record.name, accounts };
    Ok(Json(document).into_response())
}

fn none(record: &ClusterRecord) -> ApiError {
    let name = &record.name;
    if record.phase == ClusterPhase::Released {
        let message = format!("{name} is released, and its passwords are forgotten");
        return ApiError::new(409, "credentials_forgotten", message, "there is nothing left to log in to");
    }
    let message = format!("{name} has no passwords of its own yet");
    let hint = format!("they are made while it is formed; `metalform status {name}` says how far it is");
    ApiError::new(409, "no_credentials_yet", message, &hint)
}

/// Nothing of it is shown, also of those that can be opened: what a stranger has changed is to be noticed.
fn unreadable(error: SealError) -> ApiError {
    tracing::error!(%error, "a written-down password can't be opened");
    ApiError::new(500, "credentials_unreadable", error.to_string(), error.hint())
}

/// How far an account is, all places together: at an end only where every place is. On a node, what the account that is
/// logged in with says holds for the others there until they have a line of their own.
fn standing(record: &ClusterRecord, account: Account, nodes: &[&str]) -> AccountState {
    let lead = match account {
        Account::AhvAdmin | Account::AhvNutanix => Account::AhvRoot,
        Account::PrismAdmin | Account::CvmNutanix | Account::AhvRoot => account,
    };
    let at = |server_id: Option<&str>| {
        let line = |account| {
            let own = |r: &&metalform_model::AccountRecord| r.account == account && r.server_id.as_deref() == server_id;
            record.accounts.iter().find(own).map(|r| r.state)
        };
        line(account).or_else(|| line(lead)).unwrap_or(AccountState::Default)
    };
    let mut states: Vec<AccountState> = match account {
        Account::PrismAdmin => vec![at(None)],
        _ => nodes.iter().map(|id| at(Some(id))).collect(),
    };
    states.retain(|state| *state != AccountState::Absent);
    let all = |wanted: &[AccountState]| states.iter().all(|state| wanted.contains(state));
    match () {
        () if states.is_empty() => AccountState::Absent,
        () if all(&[AccountState::Changed]) => AccountState::Changed,
        () if all(&[AccountState::Default]) => AccountState::Default,
        () if all(&[AccountState::Set, AccountState::Changed]) => AccountState::Set,
        () => AccountState::Changing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metalform_model::{AccountRecord, Timestamp};

    fn line(account: Account, server_id: Option<&str>, state: AccountState) -> AccountRecord {
        let server_id = server_id.map(Into::into);
        AccountRecord { account, server_id, state, refusals: 0, at: Timestamp(0), error: None, is_locked: false }
    }

    /// Of a cluster of the nodes `a` and `b` with these lines.
    fn stands(account: Account, lines: &[AccountRecord]) -> AccountState {
        let plan = r#"{"cluster": {"name": "c", "external_ip": "10.240.0.200", "redundancy_factor": 1},
            "cloud": {"vpc": "v", "subnet": "s", "zone": "us-south-1", "ssh_keys": ["k"]},
            "nodes": [{"server_id": "a"}]}"#;
        let profiles = metalform_model::Profiles::builtin();
        let plan = metalform_model::read_plan(plan, metalform_model::PlanFormat::Json, &profiles).expect("good").plan;
        let mut record = ClusterRecord::new(uuid::Uuid::nil(), &plan, Timestamp(0));
        record.accounts = lines.to_vec();
        standing(&record, account, &["a", "b"])
    }

    #[test]
    fn an_account_of_the_nodes_is_changed_once_it_is_on_every_node() {
        use AccountState::*;
        for (a, b, together) in [
            (None, None, Default),
            (Some(Default), None, Default),
            (Some(Changed), None, Changing),
            (Some(Changed), Some(Default), Changing),
            (Some(Set), Some(Default), Changing),
            (Some(Changed), Some(Changing), Changing),
            (Some(Changed), Some(Set), Set),
            (Some(Changed), Some(Changed), Changed),
            (Some(Changed), Some(Absent), Changed),
            (Some(Absent), Some(Absent), Absent),
        ] {
            let lines = [("a", a), ("b", b)].map(|(id, state)| Some(line(Account::AhvRoot, Some(id), state?)));
            let lines: Vec<AccountRecord> = lines.into_iter().flatten().collect();
            assert_eq!(stands(Account::AhvRoot, &lines), together, "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_root_says_holds_for_the_other_accounts_of_its_host_until_they_have_a_line() {
        let mut lines = ["a", "b"].map(|id| line(Account::AhvRoot, Some(id), AccountState::Changing)).to_vec();
        assert_eq!(stands(Account::AhvAdmin, &lines), AccountState::Changing);
        assert_eq!(stands(Account::CvmNutanix, &lines), AccountState::Default);
        lines = ["a", "b"].map(|id| line(Account::AhvRoot, Some(id), AccountState::Changed)).to_vec();
        lines.extend(["a", "b"].map(|id| line(Account::AhvAdmin, Some(id), AccountState::Absent)));
        assert_eq!(stands(Account::AhvAdmin, &lines), AccountState::Absent);
        assert_eq!(stands(Account::AhvRoot, &lines), AccountState::Changed);
    }

    #[test]
    fn prism_is_one_for_the_whole_cluster() {
        assert_eq!(stands(Account::PrismAdmin, &[]), AccountState::Default);
        let lines = [line(Account::PrismAdmin, None, AccountState::Changed)];
        assert_eq!(stands(Account::PrismAdmin, &lines), AccountState::Changed);
    }
}
