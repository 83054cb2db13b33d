//! `metalform secret`: the key that secrets are sealed under, and those that an operator gives. Works on the data folder,
//! as the user that the service runs as; of a secret nothing is ever written to any output.

use crate::{context::Context, error::CliError};
use clap::{Args, Subcommand};
use metalform_service::{Config, KeySource, Replaced, SecretName, replace_lost_key, rotate_secret_key, set_secret};
use secrecy::{SecretString, zeroize::Zeroizing};
use serde_json::json;
use std::io::{IsTerminal, Read};

/// Keep a secret sealed, or change the key that all are sealed under
#[derive(Debug, Args)]
pub struct Secret {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Set(Set),
    Rotate(Rotate),
}

/// Keep a secret that is read from standard input
///
/// It is used from the service's next start on. For the cloud's key write `api_key = "sealed"` into `[ibm_cloud]`.
#[derive(Debug, Args)]
struct Set {
    /// Which: ibm-api-key
    #[arg(value_parser = secret_name)]
    name: SecretName,
}

/// Seal everything under another key; the service must be stopped
///
/// Without --old a new key is made and written where the old one is, which must be a file. Tokens of open boot attempts stay
/// good. After a crash the same command, or the next start of the service, brings it to its end.
#[derive(Debug, Args)]
struct Rotate {
    /// Where the old key is, if the new one lies already where `[secrets] key` says: file:PATH, env:NAME, credential:NAME or
    /// command:PROGRAM ARGS…
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    old: Option<KeySource>,
    /// The old key is lost for good: go on with another, and give up everything that was sealed under it
    #[arg(long, conflicts_with = "old")]
    lost: bool,
}

/// A longer input is no key.
const MAX_BYTES: u64 = 4096;

/// Runs it.
pub async fn run(context: &Context, args: &Secret) -> Result<(), CliError> {
    match &args.what {
        What::Set(args) => set(context, args).await,
        What::Rotate(args) => rotate(context, args).await,
    }
}

async fn set(context: &Context, args: &Set) -> Result<(), CliError> {
    let config = context.load_config()?;
    // First: until somebody has typed it, the key may have been changed.
    let given = read_stdin(context)?;
    set_secret(&config, args.name, &given).await.map_err(CliError::Secret)?;
    let (name, folder) = (args.name.as_str(), config.data_dir.display());
    match context.json {
        true => context.out.json(&json!({"set": name, "data_dir": config.data_dir}))?,
        false => context.out.data(&format!("{name}: kept in {folder}, sealed"))?,
    }
    if config.ibm_cloud.api_key.is_none() {
        context.out.note(
            "to have it used: api_key = \"sealed\" in [ibm_cloud], instead of api_key_file; then restart the service",
        );
    } else {
        context.out.note("the service uses it from its next start on");
    }
    Ok(())
}

fn read_stdin(context: &Context) -> Result<SecretString, CliError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        context.out.note("reading it from this terminal, which shows what is typed; end with Ctrl-D");
    }
    let unreadable = |source| CliError::Unreadable { name: "standard input".into(), source };
    // Allocated once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * MAX_BYTES as usize));
    stdin.lock().take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text.as_str().into())
}

async fn rotate(context: &Context, args: &Rotate) -> Result<(), CliError> {
    let config = context.load_config()?;
    if args.lost {
        return replace_lost(context, &config).await;
    }
    let rotated = rotate_secret_key(&config, args.old.as_ref(), &context.clock).await.map_err(CliError::Secret)?;
    let (from, name) = (rotated.from.to_string(), rotated.name.as_str());
    if context.json {
        let document =
            json!({"key": from, "name": name, "kept_boot_tokens": rotated.kept, "was_done": rotated.was_done});
        return context.out.json(&document);
    }
    context.out.data(&match rotated.was_done {
        true => format!("everything is sealed under the key of {from} already ({name})"),
        false => format!("everything is sealed under a new key, from {from} ({name})"),
    })?;
    match rotated.kept {
        0 => {}
        1 => context.out.note("the token of one open boot attempt stays good"),
        n => context.out.note(&format!("the tokens of {n} open boot attempts stay good")),
    }
    context.out.note("backups from before need the old key: keep it with them, and nowhere else");
    Ok(())
}

async fn replace_lost(context: &Context, config: &Config) -> Result<(), CliError> {
    let Replaced { from, name, put_aside } =
        replace_lost_key(config, &context.clock).await.map_err(CliError::Secret)?;
    if context.json {
        return context.out.json(&json!({"key": from.to_string(), "name": name.as_str(), "put_aside": put_aside}));
    }
    context.out.data(&format!("the service goes on with the key from {from} ({name})"))?;
    for path in put_aside {
        context.out.data(&format!("put aside: {}", path.display()))?;
    }
    context
        .out
        .note("clusters' passwords can't be read any more; give clients the new tls/ca.pem after the next start");
    Ok(())
}

fn secret_name(text: &str) -> Result<SecretName, String> {
    let known = || SecretName::ALL.map(SecretName::as_str).join(", ");
    SecretName::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| format!("one of {}", known()))
}

fn source(text: &str) -> Result<KeySource, String> {
    text.parse().map_err(|error: metalform_service::BadKeySource| format!("{error}; {}", error.hint()))
}
