//! `metalform script`: what a node is given to boot. Its token is left out: a script that is looked at ends up in tickets.
//! With `--lint`, the check that the service makes of its templates at start, for files before they are put there.

use crate::{context::Context, error::CliError, output::clean};
use clap::Args;
use metalform_boot::{TemplateError, TemplateErrors, lint_file};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Characters of a line that are shown.
const SHOWN: usize = 200;

/// Show the boot script of a node, its token left out; or check scripts of your own
#[derive(Debug, Args)]
pub struct Script {
    /// The node's server id
    #[arg(required_unless_present = "lint", conflicts_with = "lint")]
    server_id: Option<String>,
    /// Check these iPXE scripts or templates instead, without a service
    #[arg(long, value_name = "FILE", num_args = 1..)]
    lint: Vec<PathBuf>,
}

/// Runs it.
pub async fn run(context: &Context, args: &Script) -> Result<(), CliError> {
    let Some(server_id) = &args.server_id else { return check(context, &args.lint) };
    let script = context.client().await?.script(server_id).await?;
    match context.json {
        true => context.out.json(&json!({"server_id": server_id, "script": script})),
        false => context.out.raw(&script),
    }
}

/// The faults are what was asked for, so they are data; that there are any is the error.
fn check(context: &Context, files: &[PathBuf]) -> Result<(), CliError> {
    let mut faults = Vec::new();
    for file in files {
        match lint_file(file) {
            Ok(()) if !context.json => {
                context.out.data(&format!("{}: a good script", clean(&file.to_string_lossy())))?
            }
            Ok(()) => {}
            Err(TemplateErrors(errors)) => faults.extend(errors),
        }
    }
    if !context.json {
        faults.iter().try_for_each(|fault| context.out.data(&in_words(fault)))?;
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    if faults.is_empty() {
        return if context.json { context.out.json(&json!({"valid": true, "files": names})) } else { Ok(()) };
    }
    let documents: Vec<Value> = if context.json { faults.iter().map(document).collect() } else { Vec::new() };
    Err(CliError::BadScripts { errors: faults.len(), files: names.len(), faults: documents.into() })
}

fn in_words(error: &TemplateError) -> String {
    let place = match error.line {
        0 => error.file.display().to_string(),
        line => format!("{}:{line}", error.file.display()),
    };
    let mut told = format!("{}: {}", clean(&place), clean(&error.fault.to_string()));
    if !error.text.is_empty() {
        told += &format!("\n    {}", clean(&cut(&error.text)));
    }
    format!("{told}\n  hint: {}", clean(&error.fault.hint()))
}

/// Enough of a line to find it by.
fn cut(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} characters)", &line[..end], line.chars().count()),
        None => line.to_owned(),
    }
}

fn document(error: &TemplateError) -> Value {
    json!({"file": error.file.display().to_string(), "line": error.line, "text": error.text,
        "fault": error.fault.to_string(), "hint": error.fault.hint()})
}
