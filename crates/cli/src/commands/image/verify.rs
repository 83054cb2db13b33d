//! `metalform image verify`: whether image sets are what their manifests say, byte for byte.

use super::{Folder, tell_left_overs, watched};
use crate::{context::Context, error::CliError, output::clean};
use clap::Args;
use metalform_images::{ImageStore, SetError, SetFault, State};
use serde_json::{Value, json};
use std::io::ErrorKind;

/// Read every file of an image set, or of all, and compare it with the manifest
#[derive(Debug, Args)]
pub struct Verify {
    /// The set [default: all that have a manifest]
    set: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

/// What became of one set.
struct Verified {
    id: String,
    faults: Vec<SetFault>,
    /// Why it couldn't be read at all.
    unusable: Option<String>,
}

/// Runs it.
pub async fn run(context: &Context, args: &Verify) -> Result<(), CliError> {
    let store = args.folder.store(context)?;
    let is_one = args.set.is_some();
    let lost_default = if is_one { None } else { store.lost_default().map_err(CliError::Images)? };
    let ids = match &args.set {
        Some(id) => vec![id.clone()],
        None => with_manifest(context, &store, lost_default.is_some())?,
    };
    let dir = store.dir().to_owned();
    if !is_one {
        tell_left_overs(context, &store.left_overs().map_err(CliError::Images)?);
    }
    let verified = watched(move |progress| {
        let verify = |id: String| match store.set(&id).and_then(|set| set.verify(progress)) {
            Ok(faults) => Ok(Verified { id, faults, unusable: None }),
            // Of several, each is told of; the one that was asked for is an error of its own kind.
            Err(error @ (SetError::BadManifest { .. } | SetError::NoManifest { .. })) if !is_one => {
                Ok(Verified { id, faults: Vec::new(), unusable: Some(error.to_string()) })
            }
            Err(error) => Err(error),
        };
        ids.into_iter().map(verify).collect::<Result<Vec<_>, _>>()
    });
    let verified = match verified.await? {
        Err(SetError::Stopped) => return Err(CliError::Interrupted),
        verified => verified.map_err(CliError::ImageSet)?,
    };
    tell(context, &verified, lost_default.as_deref())?;
    let damaged: Vec<Value> = verified.iter().filter(|set| set.is_damaged()).map(Verified::document).collect();
    match lost_default {
        _ if !damaged.is_empty() => Err(CliError::Damaged(Value::Array(damaged))),
        // Whole sets are of no use to machines that get none of them.
        Some(id) => Err(CliError::NoDefaultSet { id, dir }),
        None => Ok(()),
    }
}

/// All there are. None is fine in a folder for images, and a mistake in any other: whoever misspelled it would take it for
/// good news.
fn with_manifest(context: &Context, store: &ImageStore, is_default_lost: bool) -> Result<Vec<String>, CliError> {
    let dir = store.dir();
    let is_empty = store.is_empty().map_err(|error| match error.source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            CliError::NoImageFolder { dir: dir.to_owned(), source: error.source }
        }
        _ => CliError::Images(error),
    })?;
    if is_empty {
        context.out.note(&format!("no image sets in {}: `metalform image import ISO` makes one", dir.display()));
        return Ok(Vec::new());
    }
    let sets = store.list().map_err(CliError::Images)?;
    if sets.is_empty() && !is_default_lost {
        return Err(CliError::NoImageSets(dir.to_owned()));
    }
    let (plain, with): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.state == State::Plain);
    if !plain.is_empty() {
        let names: Vec<&str> = plain.iter().map(|set| set.id.as_deref().unwrap_or("(plain files)")).collect();
        context
            .out
            .note(&format!("no manifest to verify by: {}; `metalform image import` writes one", names.join(", ")));
    }
    Ok(with.into_iter().filter_map(|set| set.id).collect())
}

fn tell(context: &Context, verified: &[Verified], lost_default: Option<&str>) -> Result<(), CliError> {
    if context.json {
        let sets: Vec<Value> = verified.iter().map(Verified::document).collect();
        let mut document = json!({"sets": sets});
        if let Some(id) = lost_default {
            document["lost_default"] = json!(id);
        }
        return context.out.json(&document);
    }
    for set in verified {
        if !set.is_damaged() {
            context.out.data(&format!("{}: whole", set.id))?;
        }
        let told = set.faults.iter().map(ToString::to_string).chain(set.unusable.clone());
        for fault in told {
            context.out.data(&format!("{}: {}", set.id, clean(&fault)))?;
        }
    }
    if let Some(id) = lost_default {
        context.out.data(&format!("default: there is no image set {id:?}"))?;
    }
    Ok(())
}

impl Verified {
    fn is_damaged(&self) -> bool {
        !self.faults.is_empty() || self.unusable.is_some()
    }

    fn document(&self) -> Value {
        let fault =
            |fault: &SetFault| json!({"code": fault.code(), "file": fault.file(), "message": fault.to_string()});
        let faults: Vec<Value> = self.faults.iter().map(fault).collect();
        let unusable = self.unusable.iter().map(|why| json!({"code": "manifest", "file": null, "message": why}));
        let faults: Vec<Value> = faults.into_iter().chain(unusable).collect();
        json!({"id": self.id, "whole": faults.is_empty(), "faults": faults})
    }
}
