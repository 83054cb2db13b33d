//! `metalform image overlay`: an image set with more in its initrd becomes another set.

use super::{Folder, document, named_path, tell, watched};
use crate::{context::Context, error::CliError};
use clap::Args;
use metalform_boot::Templates;
use metalform_images::{ImportError, Overlaid, OverlayError};
use metalform_model::Recipe;
use serde_json::json;
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Of a longer file the beginning is read, which is no document. One without an end would be read for ever.
const MAX_RECIPE_BYTES: u64 = 64 << 10;

/// Make an image set of another, with more in its initrd
///
/// The old set stays as it is. Kernel modules must be built for its kernel; the ones they need are found among those given,
/// or in --modules-dir.
#[derive(Debug, Args)]
pub struct Overlay {
    /// The set to begin with
    set: String,
    /// A kernel module: .ko, .ko.xz, .ko.gz or .ko.zst
    #[arg(long = "module", value_name = "PATH")]
    modules: Vec<PathBuf>,
    /// A folder /lib/modules/RELEASE, of which what is named or needed is taken
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,
    /// A module to load before the others
    #[arg(long, value_name = "NAME")]
    load: Vec<String>,
    /// One more file in the initrd
    #[arg(long = "file", value_name = "DEST=PATH", value_parser = named_path)]
    files: Vec<(String, PathBuf)>,
    /// The agent, which runs the installer and reports [default: metalform-agent beside this program]
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    agent: Option<Option<PathBuf>>,
    /// A script or program to start in the agent's place; it ends in `exec /metalform/agent`
    #[arg(long, value_name = "PATH")]
    init: Option<PathBuf>,
    /// Certificates for programs of the initrd, PEM: /metalform/ca.pem
    #[arg(long, value_name = "PATH")]
    ca: Option<PathBuf>,
    /// How the agent runs the installer, JSON
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The script template its machines boot with
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// What the new set is called [default: as before]
    #[arg(long)]
    name: Option<String>,
    /// Make it the set that machines get which ask for no other
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    folder: Folder,
}

/// Runs it.
pub async fn run(context: &Context, args: &Overlay) -> Result<(), CliError> {
    let store = args.folder.store(context)?;
    let what = metalform_images::Overlay {
        base: args.set.clone(),
        modules: args.modules.clone(),
        modules_dir: args.modules_dir.clone(),
        load: args.load.clone(),
        files: args.files.clone(),
        agent: args.agent.clone().map(|path| path.map_or_else(own_agent, Ok)).transpose()?,
        init: args.init.clone(),
        ca: args.ca.clone(),
        recipe: args.recipe.as_deref().map(read_recipe).transpose()?,
        template: args.template.clone(),
        name: args.name.clone(),
        make_default: args.default,
    };
    let into = store.clone();
    let made = match watched(move |progress| metalform_images::overlay(&into, &what, progress)).await? {
        Err(OverlayError::Write(ImportError::Stopped) | OverlayError::Base(metalform_images::SetError::Stopped)) => {
            return Err(CliError::Interrupted);
        }
        overlaid => overlaid.map_err(CliError::Overlay)?,
    };
    if context.json {
        let mut document = document(&store, &made.set);
        document["lacks_init"] = json!(made.lacks_init);
        document["modules"] = json!(made.modules);
        document["built_in_modules"] = json!(made.built_in);
        document["expected_modules"] =
            made.expected.iter().map(|(module, needs)| json!({"module": module, "needs": needs})).collect();
        return context.out.json(&document);
    }
    tell(context, &made.set, "made")?;
    if !made.modules.is_empty() {
        context.out.data(&format!("  modules, in the order of loading: {}", made.modules.join(" ")))?;
    }
    warn(context, &made);
    Ok(())
}

/// What the set relies on and nobody here could look at.
fn warn(context: &Context, made: &Overlaid) {
    for module in &made.built_in {
        context.out.note(&format!("{module} is built into that kernel: nothing is to be loaded"));
    }
    for (module, needs) in &made.expected {
        context.out.note(&format!(
            "{module} needs {needs}, which was not given: it has to be in the set's initrd already; --modules-dir finds it"
        ));
    }
    if !made.modules.is_empty() && made.set.manifest.recipe.is_none() {
        context.out.note(
            "the agent loads the modules, and is started only in a set with a recipe: --agent and --recipe add both",
        );
    }
    let template = made.set.manifest.template.as_deref();
    if let Some(name) = template.filter(|name| !Templates::builtin().has(name)) {
        context.out.note(&format!(
            "the template {name} is none of the built-in ones: the service needs \
             {name}.ipxe in `[boot] templates_dir`"
        ));
    }
    if made.lacks_init {
        context.out.note(
            "a set with a recipe starts /metalform/init, which was not given: it has to be in the set's initrd already; \
             --agent adds it",
        );
    }
}

/// Beside the program that runs.
fn own_agent() -> Result<PathBuf, CliError> {
    let program = std::env::current_exe().map_err(CliError::Start)?;
    Ok(program.with_file_name("metalform-agent"))
}

fn read_recipe(path: &Path) -> Result<Recipe, CliError> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_RECIPE_BYTES).read_to_end(&mut text));
    read.map_err(|source| CliError::Unreadable { name, source })?;
    serde_json::from_slice(&text).map_err(|source| CliError::BadRecipe { path: path.to_owned(), source })
}
