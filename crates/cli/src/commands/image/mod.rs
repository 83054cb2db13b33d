//! `metalform image`: the boot images on this machine. Needs no service; one that runs serves what is there.

mod import;
mod list;
mod overlay;
mod verify;

use crate::{context::Context, error::CliError, image_progress::ImageProgress, stop_signal::StopSignal};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use metalform_images::ImageStore;
use metalform_model::{ImageFile, ImageManifest};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

/// Make, list and check boot images, on this machine
#[derive(Debug, Args)]
pub struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Import),
    Overlay(Box<overlay::Overlay>),
    List(list::List),
    Verify(verify::Verify),
}

/// Where image sets are.
#[derive(Debug, Args)]
struct Folder {
    /// The folder of image sets [default: `[images] dir` of the configuration]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Folder {
    fn store(&self, context: &Context) -> Result<ImageStore, CliError> {
        match &self.dir {
            Some(dir) => Ok(ImageStore::new(dir)),
            None => Ok(ImageStore::new(context.load_config_of_client()?.images_dir())),
        }
    }
}

/// Runs it.
pub async fn run(context: &Context, args: &Image) -> Result<(), CliError> {
    match &args.command {
        Command::Import(args) => import::run(context, args).await,
        Command::Overlay(args) => overlay::run(context, args).await,
        Command::List(args) => list::run(context, args),
        Command::Verify(args) => verify::run(context, args).await,
    }
}

/// Names what a killed import left, which takes room and isn't seen by `ls`.
fn tell_left_overs(context: &Context, left: &[(String, u64)]) {
    for (name, bytes) in left {
        context.out.note(&format!(
            "{name} was left by an import that was killed, {}: the next import removes it",
            HumanBytes(*bytes)
        ));
    }
}

/// Does what takes long where it holds up nobody. Ctrl-C lets it end in its own way, which leaves nothing behind.
pub(super) async fn watched<T: Send + 'static>(
    work: impl FnOnce(&ImageProgress) -> T + Send + 'static,
) -> Result<T, CliError> {
    let mut signals = StopSignal::listen_for_hang_up_too()?;
    let progress = Arc::new(ImageProgress::new());
    let inner = Arc::clone(&progress);
    let mut work = tokio::task::spawn_blocking(move || work(&inner));
    let done = tokio::select! {
        done = &mut work => done,
        () = signals.next() => {
            progress.stop();
            work.await
        }
    };
    progress.close();
    done.map_err(|stopped| CliError::Start(std::io::Error::other(stopped)))
}

/// A set that was just made, as a document.
fn document(store: &ImageStore, set: &metalform_images::Imported) -> Value {
    let ImageManifest { name, source, template, recipe, files, .. } = &set.manifest;
    json!({
        "id": set.id, "name": name, "dir": store.dir().join(&set.id), "default": set.is_default,
        "was_there": set.was_there, "source": source, "template": template, "recipe": recipe, "files": files,
    })
}

/// The same for a person.
fn tell(context: &Context, set: &metalform_images::Imported, made: &str) -> Result<(), CliError> {
    let made = if set.was_there { "was there already, and is whole" } else { made };
    let default = if set.is_default { "the default" } else { "not the default" };
    context.out.data(&format!("{}: {made}; {default}", set.id))?;
    lines(&set.manifest.files).iter().try_for_each(|line| context.out.data(line))
}

/// One a file, in columns as wide as the widest in them.
fn lines(files: &[ImageFile]) -> Vec<String> {
    let name_width = files.iter().map(|file| file.name.len()).max().unwrap_or_default();
    let size_width = files.iter().map(|file| file.size.to_string().len()).max().unwrap_or_default();
    let line =
        |file: &ImageFile| format!("  {:<name_width$}  {:>size_width$}  sha256:{}", file.name, file.size, file.sha256);
    files.iter().map(line).collect()
}

/// `NAME=PATH`.
fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("write NAME=PATH".to_owned()),
    }
}
