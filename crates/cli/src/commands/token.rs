//! `metalform token`: makes, lists and revokes API tokens. A new one's text goes to standard output, once, and nowhere
//! else.

use crate::{
    client::{Client, MadeToken, NewToken},
    context::Context,
    error::CliError,
    output::clean,
    table::table,
};
use clap::{Args, Subcommand};
use metalform_model::{ApiRole, ApiToken, Lifetime, Scope, Timestamp, TokenStanding};
use serde_json::json;
use std::collections::BTreeSet;

/// Make, list and revoke API tokens
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token; it is shown this once
#[derive(Debug, Args)]
struct Create {
    /// What it is called, in the list and in the audit
    #[arg(long)]
    name: String,
    /// What it may do: viewer, auditor, operator or admin
    #[arg(long, value_parser = role)]
    role: ApiRole,
    /// Limit it to this cluster; may be given several times
    #[arg(long = "cluster", value_name = "CLUSTER")]
    clusters: Vec<String>,
    /// For how long: 90m, 12h, 30d, 6w; or never
    #[arg(long, value_name = "TIME", default_value_t = Lifetime::default(), value_parser = lifetime)]
    expires: Lifetime,
}

/// Show the tokens, without their texts
#[derive(Debug, Args)]
struct List {
    /// Those that open nothing any more, too
    #[arg(long)]
    all: bool,
}

/// Let a token open nothing any more
#[derive(Debug, Args)]
struct Revoke {
    /// Its id or its name
    #[arg(value_name = "TOKEN")]
    named: String,
}

/// Runs it.
pub async fn run(context: &Context, args: &Token) -> Result<(), CliError> {
    let client = context.client().await?;
    match &args.what {
        What::Create(args) => create(context, &client, args).await,
        What::List(args) => list(context, &client, args).await,
        What::Revoke(args) => revoke(context, &client, args).await,
    }
}

async fn create(context: &Context, client: &Client, args: &Create) -> Result<(), CliError> {
    let clusters: BTreeSet<String> = args.clusters.iter().cloned().collect();
    let wanted = NewToken {
        name: args.name.clone(),
        role: args.role,
        clusters: (!clusters.is_empty()).then_some(clusters),
        expires: args.expires.to_string(),
    };
    let made: MadeToken = client.create_token(&wanted).await?;
    match context.json {
        true => context.out.json(&made)?,
        false => context.out.data(&clean(&made.token))?,
    }
    let token = &made.of;
    let reach = match &token.clusters {
        Scope::All => "all clusters".to_owned(),
        Scope::Clusters(names) => names.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", "),
    };
    context.out.note(&format!("{}: {} of {reach}, {}", clean(&token.name), token.role, end_of(token)));
    context.out.note("it is shown this once; give it to whoever needs it as METALFORM_TOKEN");
    Ok(())
}

async fn list(context: &Context, client: &Client, args: &List) -> Result<(), CliError> {
    let now = context.now();
    let mut tokens = client.tokens().await?;
    if !args.all {
        tokens.retain(|token| token.standing(now) == TokenStanding::Active);
    }
    if context.json {
        return context.out.json(&json!({"tokens": tokens}));
    }
    if tokens.is_empty() {
        context.out.note("no tokens; `metalform token create` makes one");
        return Ok(());
    }
    context.out.data(&in_words(&tokens, now))
}

async fn revoke(context: &Context, client: &Client, args: &Revoke) -> Result<(), CliError> {
    // The name that one has which isn't revoked; what is no name may still be an id.
    let tokens = client.tokens().await?;
    let named = tokens.iter().find(|token| token.name == args.named && token.revoked_at.is_none());
    let is_id = tokens.iter().any(|token| token.id == args.named);
    let id = named.filter(|_| !is_id).map_or(args.named.as_str(), |token| token.id.as_str());
    let revoked = client.revoke_token(id).await?;
    match context.json {
        true => context.out.json(&revoked),
        false => context.out.data(&format!("{} ({}) is revoked", clean(&revoked.name), clean(&revoked.id))),
    }
}

fn in_words(tokens: &[ApiToken], now: Timestamp) -> String {
    let head = ["ID", "NAME", "ROLE", "CLUSTERS", "STATE", "EXPIRES", "LAST USED"].map(str::to_owned);
    let row = |token: &ApiToken| {
        let clusters = match &token.clusters {
            Scope::All => "all".to_owned(),
            Scope::Clusters(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(","),
        };
        let used = token.last_used_at.map_or("never".to_owned(), to_the_minute);
        let state = token.standing(now).as_str();
        [&token.id, &token.name, token.role.as_str(), &clusters, state, &to_the_minute(token.expires_at), &used]
            .map(clean)
    };
    table(head, tokens.iter().map(row))
}

fn end_of(token: &ApiToken) -> String {
    match token.expires_at {
        Timestamp::NEVER => "until it is revoked".to_owned(),
        at => format!("until {}", to_the_minute(at)),
    }
}

/// `2026-11-27T03:31Z`, or `never`.
pub(super) fn to_the_minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).map_or(text.clone(), |minute| format!("{minute}Z"))
}

pub(super) fn role(word: &str) -> Result<ApiRole, String> {
    ApiRole::parse(word).ok_or_else(|| "one of viewer, auditor, operator, admin".into())
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    text.parse().map_err(|_| "a time such as 90m, 12h, 30d or 6w, of a minute to ten years; or never".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_what_each_may_where_and_how_long() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let token = |name: &str, clusters: &[&str], expires_at| ApiToken {
            id: "0001020304050607".into(),
            name: name.into(),
            role: ApiRole::Operator,
            clusters: match clusters {
                [] => Scope::All,
                names => Scope::Clusters(names.iter().map(|&name| name.to_owned()).collect()),
            },
            created_at: at,
            created_by: "bootstrap".into(),
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let tokens = [token("ci", &["a", "b"], at), token("ops", &[], Timestamp::NEVER)];
        assert_eq!(
            in_words(&tokens, at),
            "\
ID                NAME  ROLE      CLUSTERS  STATE    EXPIRES            LAST USED
0001020304050607  ci    operator  a,b       expired  2027-01-15T08:00Z  never
0001020304050607  ops   operator  all       active   never              never"
        );
    }
}
