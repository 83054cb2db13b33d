//! `metalform image list`: the image sets there are, at a glance.

use super::Folder;
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
    let is_lost = default.as_ref().is_some_and(|_| !sets.iter().any(|set| set.is_default));
    if context.json {
        let sets: Vec<Value> = sets.iter().map(document).collect();
        return context.out.json(&json!({"dir": store.dir(), "default": default, "sets": sets}));
    }
    if sets.is_empty() {
        context
            .out
            .note(&format!("no image sets in {}: `metalform image import ISO` makes one", store.dir().display()));
    }
    let width = sets.iter().map(|set| shown_id(set).len()).max().unwrap_or_default();
    for set in &sets {
        context.out.data(&line(set, width))?;
    }
    if let (true, Some(id)) = (is_lost, default) {
        context
            .out
            .note(&format!("the default is {id:?}, which is no set here: `image import --default` names another"));
    }
    Ok(())
}

/// The plain files of the folder itself have no name.
fn shown_id(set: &Listed) -> &str {
    set.id.as_deref().unwrap_or("(plain files)")
}

fn line(set: &Listed, width: usize) -> String {
    let star = if set.is_default { '*' } else { ' ' };
    let (template, recipe) = (set.template.as_deref().unwrap_or("foundation"), kind_of(set).unwrap_or("no recipe"));
    let created = created(set).map(|at| at.to_string()).unwrap_or_default();
    let state = match &set.state {
        State::Complete => "complete".to_owned(),
        State::Plain => "plain files, nothing to verify by".to_owned(),
        State::Damaged(why) => format!("DAMAGED: {}", crate::output::clean(why)),
    };
    let size = HumanBytes(set.bytes).to_string();
    format!("{star} {:<width$}  {size:>10}  {created:<20}  {template}, {recipe}  {state}", shown_id(set))
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
