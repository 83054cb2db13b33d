//! `metalform credentials`: the passwords of a cluster's accounts. They go to standard output, and nowhere
//! else.

use crate::{
    client::{ClusterCredentials, Credential},
    context::Context,
    error::CliError,
    output::clean,
    table::table,
};
use clap::Args;
use metalform_model::AccountState;

/// Show the passwords of a cluster's accounts
#[derive(Debug, Args)]
pub struct Credentials {
    /// The cluster's name
    cluster: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &Credentials) -> Result<(), CliError> {
    let credentials = context.client().await?.credentials(&args.cluster).await?;
    match context.json {
        true => context.out.json(&credentials)?,
        false => context.out.data(&in_words(&credentials.accounts))?,
    }
    for note in notes(&credentials) {
        context.out.note(&note);
    }
    Ok(())
}

fn in_words(accounts: &[Credential]) -> String {
    let head = ["ACCOUNT", "USER", "WHERE", "PASSWORD", "STATE"].map(str::to_owned);
    // One that was never set anywhere opens nothing: it isn't shown to a person.
    let is_nowhere =
        |c: &Credential| [AccountState::Absent, AccountState::Default].iter().any(|s| s.as_str() == c.state);
    let password = |c: &Credential| if is_nowhere(c) { "-".to_owned() } else { c.password.clone() };
    let row = |c: &Credential| [&c.account, &c.user, &c.place, &password(c), &c.state].map(|text| clean(text));
    table(head, accounts.iter().map(row))
}

/// That it was noticed, and what a state means in which the password shown may not be the one that opens the door.
fn notes(credentials: &ClusterCredentials) -> Vec<String> {
    let mut notes = vec![format!("this reading of {}'s passwords stands in the audit", clean(&credentials.cluster))];
    for (state, meaning) in [
        (AccountState::Default, "not set yet: the account still has the password it was born with"),
        (AccountState::Changing, "being set: where this one doesn't work yet, the one it was born with does"),
        (AccountState::Set, "set, and not seen to work everywhere yet"),
        (
            AccountState::Absent,
            "not set: there is no such account there, or no way for us to log in to it; then the one it was born with is in force",
        ),
    ] {
        if credentials.accounts.iter().any(|credential| credential.state == state.as_str()) {
            notes.push(format!("{}: {meaning}", state.as_str()));
        }
    }
    notes
}
