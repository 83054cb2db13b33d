//! `metalform image list`: the image sets there are, at a glance.

use super::{Folder, tell_left_overs};
use crate::{context::Context, error::CliError};
use clap::Args;
use indicatif::HumanBytes;
use metalform_images::{Listed, State};
use metalform_model::{Recipe, Timestamp};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

/// List the image sets, the default with a star
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    folder: Folder,
}

/// Runs it.
pub fn run(context: &Context, args: &List) -> Result<(), CliError> {
    let store = args.folder.store(context)?;
    let sets = store.list().map_err(CliError::Images)?;
    let default = store.default_id().map_err(CliError::Images)?;
    let left = store.left_overs().map_err(CliError::Images)?;
    if context.json {
        let left: Vec<Value> = left.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect();
        let sets: Vec<Value> = sets.iter().map(document).collect();
        return context.out.json(&json!({"dir": store.dir(), "default": default, "sets": sets, "left_over": left}));
    }
    if sets.is_empty() {
        context
            .out
            .note(&format!("no image sets in {}: `metalform image import ISO` makes one", store.dir().display()));
    }
    lines(&sets).iter().try_for_each(|line| context.out.data(line))?;
    tell_left_overs(context, &left);
    if let Some(id) = store.lost_default().map_err(CliError::Images)? {
        context.out.note(&format!(
            "the default is {id:?}, which is no set here: `metalform image import ISO --default` names another"
        ));
    }
    Ok(())
}

/// The plain files of the folder itself have no name.
fn shown_id(set: &Listed) -> &str {
    set.id.as_deref().unwrap_or("(plain files)")
}

/// One a set, in columns as wide as the widest in them.
fn lines(sets: &[Listed]) -> Vec<String> {
    let rows: Vec<[String; 5]> = sets.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (id, size, created, kind) = (width(0), width(1), width(2), width(3));
    let line = |row: &[String; 5]| {
        format!("{:<id$}  {:>size$}  {:<created$}  {:<kind$}  {}", row[0], row[1], row[2], row[3], row[4])
    };
    rows.iter().map(line).collect()
}

/// Star and id, size, time, how its machines are installed, state.
fn row(set: &Listed) -> [String; 5] {
    let star = if set.is_default { '*' } else { ' ' };
    let (template, recipe) = (set.template.as_deref().unwrap_or("foundation"), kind_of(set).unwrap_or("no recipe"));
    let state = match &set.state {
        State::Complete => "complete".to_owned(),
        State::Plain => "plain files, nothing to verify by".to_owned(),
        State::Damaged(why) => format!("DAMAGED: {}", crate::output::clean(why)),
    };
    [
        format!("{star} {}", shown_id(set)),
        HumanBytes(set.bytes).to_string(),
        created(set).map(seconds).unwrap_or_default(),
        format!("{template}, {recipe}"),
        state,
    ]
}

/// Without the fraction, which is none.
fn seconds(at: Timestamp) -> String {
    at.to_string().replace(".000000Z", "Z")
}

fn document(set: &Listed) -> Value {
    let (state, why) = match &set.state {
        State::Complete => ("complete", None),
        State::Plain => ("plain", None),
        State::Damaged(why) => ("damaged", Some(why)),
    };
    json!({
        "id": set.id, "name": set.name, "default": set.is_default, "bytes": set.bytes, "template": set.template,
        "recipe": kind_of(set), "source": set.source, "created": created(set), "state": state, "why": why,
    })
}

fn kind_of(set: &Listed) -> Option<&'static str> {
    set.recipe.as_ref().map(|recipe| match recipe {
        Recipe::Command { .. } => "command",
        Recipe::PhoenixCe { .. } => "phoenix-ce",
    })
}

fn created(set: &Listed) -> Option<Timestamp> {
    let since = set.created?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok().map(Timestamp::from_seconds)
}
