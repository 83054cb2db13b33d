//! `metalform user`: makes, lists and removes the people who log in at the page, and gives them passwords. A password comes from
//! the terminal, unseen, or from standard input; as an argument every other process could read it.

use crate::{
    client::{Client, NewUser},
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
    collections::BTreeSet,
    io::{self, IsTerminal, Read},
};

/// Make, list and remove users, and give them passwords
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
