//! `metalform image import`: an installer's ISO, or files, become an image set.

use super::{Folder, document, named_path, tell, watched};
use crate::{context::Context, error::CliError};
use clap::Args;
use metalform_images::{ImportError, Source};
use std::path::PathBuf;

/// Make an image set of an installer's ISO, or of files
///
/// All or nothing: the set appears when it is whole and on the disk. The first one becomes the default.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["iso", "kernel"])))]
pub struct Import {
    /// The installer's ISO
    iso: Option<PathBuf>,
    /// The kernel, where there is no ISO
    #[arg(long, value_name = "PATH", requires = "initrd", conflicts_with = "iso")]
    kernel: Option<PathBuf>,
    /// The initrd, where there is no ISO
    #[arg(long, value_name = "PATH", requires = "kernel", conflicts_with = "iso")]
    initrd: Option<PathBuf>,
    /// One more file of the set
    #[arg(long = "file", value_name = "NAME=PATH", value_parser = named_path)]
    files: Vec<(String, PathBuf)>,
    /// The SHA-256 that the ISO's vendor publishes: nothing is imported if it has another
    #[arg(long, value_name = "HEX", value_parser = sha256, conflicts_with = "kernel")]
    sha256: Option<String>,
    /// What the set is called [default: after the ISO, or custom]
    #[arg(long)]
    name: Option<String>,
    /// Make it the set that machines get which ask for no other
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    folder: Folder,
}

/// Runs it.
pub async fn run(context: &Context, args: &Import) -> Result<(), CliError> {
    let store = args.folder.store(context)?;
    let source = match (&args.iso, &args.kernel, &args.initrd) {
        (Some(iso), ..) => Source::Iso(iso.clone()),
        (None, kernel, initrd) => {
            Source::Files { kernel: kernel.clone().unwrap_or_default(), initrd: initrd.clone().unwrap_or_default() }
        }
    };
    let (files, sha256, name) = (args.files.clone(), args.sha256.clone(), args.name.clone());
    let what = metalform_images::Import { source, files, sha256, name, make_default: args.default };
    let into = store.clone();
    let set = match watched(move |progress| metalform_images::import(&into, &what, progress)).await? {
        Err(ImportError::Stopped) => return Err(CliError::Interrupted),
        imported => imported.map_err(CliError::Import)?,
    };
    match context.json {
        true => context.out.json(&document(&store, &set))?,
        false => tell(context, &set, "imported")?,
    }
    if set.may_lack_installer {
        context.out.note(
            "the ISO has neither Rock Ridge nor Joliet names, which cuts off long ones: if the installer package is in it, \
             give it with --file NAME=PATH",
        );
    }
    Ok(())
}

fn sha256(text: &str) -> Result<String, String> {
    let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_digest { Ok(text.to_ascii_lowercase()) } else { Err("not 64 hexadecimal digits".to_owned()) }
}
