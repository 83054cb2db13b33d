//! `metalform user`: makes, lists and removes the people who log in at the page, gives them passwords, and shows and ends the
//! sessions of all who are logged in. A password comes from
//! the terminal, unseen, or from standard input; as an argument every other process could read it.

use crate::{
    client::{Client, NewUser, SignedIn},
    context::Context,
    error::CliError,
    output::clean,
    table::table,
};
use clap::{Args, Subcommand};
use metalform_model::{ApiRole, MAX_PASSWORD_BYTES, Scope, User as Person, check_password};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal, Read},
};

/// Make, list and remove users, give them passwords, and sign people out
#[derive(Debug, Args)]
pub struct User {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Create),
    List(List),
    Password(Password),
    Remove(Remove),
    Sessions(Sessions),
    SignOut(SignOut),
}

/// Make a user; the password is asked for, or read from standard input
#[derive(Debug, Args)]
struct Create {
    /// What they log in as
    name: String,
    /// What they may do: viewer, auditor, operator or admin
    #[arg(long, value_parser = super::token::role)]
    role: ApiRole,
    /// Limit them to this cluster; may be given several times
    #[arg(long = "cluster", value_name = "CLUSTER")]
    clusters: Vec<String>,
}

/// Show the users
#[derive(Debug, Args)]
struct List {}

/// Give a user another password; their sessions end
#[derive(Debug, Args)]
struct Password {
    /// Whose
    name: String,
}

/// Remove a user; their sessions end
#[derive(Debug, Args)]
struct Remove {
    /// Whom
    name: String,
}

/// Show who is logged in in a browser, by a password or by single sign-on
#[derive(Debug, Args)]
struct Sessions {}

/// End all sessions of somebody: at once
#[derive(Debug, Args)]
struct SignOut {
    /// Whom: WHO as `user sessions` and the audit show it, a user's name, or the subject at the OpenID provider
    who: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &User) -> Result<(), CliError> {
    let client = context.client().await?;
    match &args.what {
        What::Create(args) => create(context, &client, args).await,
        What::List(_) => list(context, &client).await,
        What::Password(Password { name }) => {
            let password = read_password(name)?;
            let user = client.set_password(name, password.expose_secret()).await?;
            told(context, &user, "has another password, and is logged out everywhere")
        }
        What::Remove(Remove { name }) => {
            let user = client.remove_user(name).await?;
            told(context, &user, "is removed, and logged out everywhere")
        }
        What::Sessions(_) => sessions(context, &client.sessions().await?),
        What::SignOut(SignOut { who }) => sign_out(context, &client.sign_out(who).await?),
    }
}

async fn create(context: &Context, client: &Client, args: &Create) -> Result<(), CliError> {
    let password = read_password(&args.name)?;
    let clusters: BTreeSet<String> = args.clusters.iter().cloned().collect();
    let wanted = NewUser {
        name: &args.name,
        role: args.role,
        clusters: (!clusters.is_empty()).then_some(clusters),
        password: password.expose_secret(),
    };
    let user = client.create_user(&wanted).await?;
    let what = format!("is {} of {}", user.role, in_words(&user.clusters));
    told(context, &user, &what)
}

async fn list(context: &Context, client: &Client) -> Result<(), CliError> {
    let users = client.users().await?;
    if context.json {
        return context.out.json(&json!({"users": users}));
    }
    if users.is_empty() {
        context.out.note("no users; `metalform user create` makes one");
        return Ok(());
    }
    let head = ["NAME", "ROLE", "CLUSTERS", "LAST LOGIN"].map(str::to_owned);
    let row = |user: &Person| {
        let login = user.last_login_at.map_or("never".to_owned(), super::token::to_the_minute);
        [user.name.as_str(), user.role.as_str(), &in_words(&user.clusters), &login].map(clean)
    };
    context.out.data(&table(head, users.iter().map(row)))
}

fn sessions(context: &Context, sessions: &[SignedIn]) -> Result<(), CliError> {
    if context.json {
        return context.out.json(&json!({"sessions": sessions}));
    }
    if sessions.is_empty() {
        context.out.note("nobody is logged in in a browser");
        return Ok(());
    }
    let head = ["WHO", "ROLE", "CLUSTERS", "SINCE", "LAST USED", "UNTIL"].map(str::to_owned);
    let row = |one: &SignedIn| {
        let [since, used, until] = [one.created_at, one.last_used_at, one.ends_at].map(super::token::to_the_minute);
        [one.who.as_str(), one.role.as_str(), &in_words(&one.clusters), &since, &used, &until].map(clean)
    };
    context.out.data(&table(head, sessions.iter().map(row)))
}

fn sign_out(context: &Context, ended: &[SignedIn]) -> Result<(), CliError> {
    if context.json {
        return context.out.json(&json!({"sessions": ended}));
    }
    // Somebody whom the provider calls otherwise since has a line for each name.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in ended {
        *counts.entry(&one.who).or_default() += 1;
    }
    for (who, count) in counts {
        let what = if count == 1 { "session is" } else { "sessions are" };
        context.out.data(&clean(&format!("{who} is signed out: {count} {what} over")))?;
    }
    Ok(())
}

fn told(context: &Context, user: &Person, what: &str) -> Result<(), CliError> {
    match context.json {
        true => context.out.json(user),
        false => context.out.data(&clean(&format!("{} {what}", user.name))),
    }
}

fn in_words(clusters: &Scope) -> String {
    match clusters {
        Scope::All => "all clusters".to_owned(),
        Scope::Clusters(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// What the service will refuse is refused here, before it is asked for a second time or sent anywhere.
fn read_password(user: &str) -> Result<SecretString, CliError> {
    let unreadable = |source| CliError::Unreadable { name: "the password".into(), source };
    let password: SecretString = if io::stdin().is_terminal() {
        let first: SecretString = rpassword::prompt_password("Password: ").map_err(unreadable)?.into();
        check_password(user, first.expose_secret()).map_err(CliError::BadPassword)?;
        let again: SecretString = rpassword::prompt_password("The same again: ").map_err(unreadable)?.into();
        if first.expose_secret() != again.expose_secret() {
            return Err(CliError::PasswordsDiffer);
        }
        first
    } else {
        let mut text = String::new();
        // With its line end, and one byte more, which shows that it is too long.
        let limit = u64::try_from(MAX_PASSWORD_BYTES + 3).unwrap_or(u64::MAX);
        io::stdin().take(limit).read_to_string(&mut text).map_err(unreadable)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned().into()
    };
    check_password(user, password.expose_secret()).map_err(CliError::BadPassword)?;
    Ok(password)
}
