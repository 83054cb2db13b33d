//! What it takes to run the installer of a set: which files are fetched, and how its program is started.

use crate::{
    boot_plane::{BootPlane, PlaneError},
    machine::{Machine, Mount},
};
use metalform_model::{ARIZONA_WORD, ImageFile, ImageManifest, ImageRole, InstalledBy, Recipe};
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// Where that document is, seen from inside of Phoenix' tree.
const ARIZONA_PATH: &str = "/tmp/metalform/arizona.json";

/// What every installer gets, within the workspace.
pub const DOCUMENTS: [&str; 3] = ["config.json", "disks.json", "report.json"];

/// Documents for the installer, and the files it asked for.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// `/run/metalform` of the machine.
    pub folder: PathBuf,
}

impl Workspace {
    /// Makes the folder: with room for files of most of the memory, since that is what they are kept in.
    pub fn make(machine: &dyn Machine) -> io::Result<Workspace> {
        let folder = machine.root().join("run/metalform");
        fs::create_dir_all(&folder)?;
        machine.mount(&Mount::Memory { at: folder.display().to_string(), size: "90%" })?;
        // Of another's making, the folder could be read by others: it holds the boot token.
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder.join("files"))?;
        Ok(Workspace { folder })
    }

    /// Where image files are put.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Writes a document that only root may read.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        use io::Write;
        let path = self.folder.join(name);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        Ok(path)
    }
}

/// The set can't be installed by this agent. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Its initrd was to do all by itself.
    #[error("the image set has no recipe: its manifest does not say how its installer is run")]
    NoRecipe,
    /// A recipe without a program.
    #[error("the recipe names no program")]
    NoProgram,
    /// A file that the recipe wants and the manifest hasn't.
    #[error("the recipe wants {0}, which is not in the manifest")]
    NoFile(String),
    /// A name that would be a path.
    #[error("the manifest's file name {0:?} is no name of a file")]
    BadName(String),
}

/// The files to fetch before the installer starts, and who says that the node is installed.
pub fn needs(manifest: &ImageManifest) -> Result<(Vec<&ImageFile>, InstalledBy), RecipeError> {
    let recipe = manifest.recipe.as_ref().ok_or(RecipeError::NoRecipe)?;
    let (Recipe::Command { command, .. } | Recipe::PhoenixCe { command }) = recipe;
    if command.first().is_none_or(String::is_empty) {
        return Err(RecipeError::NoProgram);
    }
    let (files, installed_by) = match recipe {
        Recipe::Command { files, installed_by, .. } => {
            let found = files.iter().map(|name| manifest.file(name).ok_or_else(|| RecipeError::NoFile(name.clone())));
            (found.collect::<Result<Vec<_>, _>>()?, *installed_by)
        }
        Recipe::PhoenixCe { .. } => {
            let squashfs = manifest.with_role(ImageRole::Squashfs);
            // Phoenix restarts the machine itself; its first boot, which we have no part in, ends the installation.
            (vec![squashfs.ok_or_else(|| RecipeError::NoFile("a squashfs".into()))?], InstalledBy::System)
        }
    };
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    match files.iter().find(|file| !is_name(&file.name)) {
        Some(file) => Err(RecipeError::BadName(file.name.clone())),
        None => Ok((files, installed_by)),
    }
}

/// Why the installer's program isn't ready to start.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The node's Arizona document.
    #[error("the installer's document can't be had")]
    Arizona(#[from] PlaneError),
    /// A mount.
    #[error("{what} can't be mounted")]
    Mount {
        /// What, in words.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A document or a link within the installer's tree.
    #[error("{what} can't be put into the installer's tree")]
    Place {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The command of `Recipe::Command`, without its documents.
pub fn plain(command: &[String]) -> Command {
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut command = clean(program);
    command.args(arguments);
    command
}

/// A program with nothing of our own environment: the kernel hands words of its command line to the first process as
/// variables, and one of them is the boot token.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TERM", "linux").env("LANG", "C.UTF-8");
    command
}

/// Phoenix of Nutanix CE: its root file system comes as a squashfs, which is read-only, so a file system in memory is laid
/// over it; its programs find their libraries only with that tree as their root.
///
/// That Phoenix runs in such a tree, wants name servers in it, and looks for its own folder under two names, is
/// documented by a public project that did it with CE 2.1 by hand; that this recipe drives it through to the end is
/// inferred, and was not tried with Nutanix' own ISO. See docs/facts/nutanix.md.
pub mod phoenix {
    use super::*;

    /// The mounts, in their order.
    pub fn mounts(squashfs: &Path, workspace: &Path) -> Vec<Mount> {
        let at = |part: &str| workspace.join("phoenix").join(part).display().to_string();
        let mut mounts = vec![
            Mount::Image { file: squashfs.display().to_string(), kind: "squashfs", at: at("image") },
            Mount::Memory { at: at("memory"), size: "75%" },
            Mount::Overlay { lower: at("image"), upper: at("memory/upper"), work: at("memory/work"), at: at("root") },
        ];
        mounts.extend(
            ["dev", "proc", "sys"]
                .map(|part| Mount::Bind { from: format!("/{part}"), at: at(&format!("root/{part}")) }),
        );
        mounts
    }

    /// Makes the tree and puts the documents into it; the command runs with it as its root.
    pub fn prepare(
        machine: &dyn Machine,
        plane: &BootPlane,
        squashfs: &Path,
        workspace: &Workspace,
        command: &[String],
        fetch: impl Fn(&BootPlane) -> Result<Vec<u8>, PlaneError>,
    ) -> Result<Command, PrepareError> {
        for mount in mounts(squashfs, &workspace.folder) {
            machine.mount(&mount).map_err(|source| PrepareError::Mount { what: in_words(&mount), source })?;
        }
        let tree = workspace.folder.join("phoenix/root");
        let arizona = fetch(plane)?;
        place(machine.root(), &tree, &arizona)?;
        bring(workspace, &tree).map_err(|source| PrepareError::Place { what: "the node's documents", source })?;
        Ok(in_tree(&tree, command))
    }

    /// Documents and links.
    pub(super) fn place(root: &Path, tree: &Path, arizona: &[u8]) -> Result<(), PrepareError> {
        let failed = |what| move |source| PrepareError::Place { what, source };
        let document = tree.join(ARIZONA_PATH.trim_start_matches('/'));
        let folder = document.parent().unwrap_or(tree);
        fs::create_dir_all(folder).and_then(|()| fs::write(&document, arizona)).map_err(failed("the document"))?;
        for name in ["resolv.conf", "hosts"] {
            let (from, to) = (root.join("etc").join(name), tree.join("etc").join(name));
            if from.exists() {
                // In the image it may be a link to nowhere, and a copy would follow it.
                drop(fs::remove_file(&to));
                fs::create_dir_all(tree.join("etc")).and_then(|()| fs::copy(&from, &to)).map_err(failed("/etc"))?;
            }
        }
        link_phoenix(tree).map_err(failed("the link to Phoenix' folder"))
    }

    /// The node's documents, under the same paths as outside.
    pub(super) fn bring(workspace: &Workspace, tree: &Path) -> io::Result<()> {
        let inner = Workspace { folder: tree.join("run/metalform") };
        DirBuilder::new().recursive(true).mode(0o700).create(&inner.folder)?;
        for name in DOCUMENTS {
            inner.write(name, &fs::read(workspace.folder.join(name))?)?;
        }
        Ok(())
    }

    /// Phoenix' folder is `phoenix` at the top of the tree, or in the home folder of its administrator, and the other name
    /// is expected, too.
    fn link_phoenix(tree: &Path) -> io::Result<()> {
        let (top, home) = (tree.join("phoenix"), tree.join("root").join("phoenix"));
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        if is_there(&top) && !is_there(&home) {
            fs::create_dir_all(tree.join("root"))?;
            return std::os::unix::fs::symlink("../phoenix", home);
        }
        if is_there(&home) && !is_there(&top) {
            return std::os::unix::fs::symlink(Path::new("root").join("phoenix"), top);
        }
        Ok(())
    }

    /// This same program, which makes the tree its root and becomes the command.
    pub(super) fn in_tree(tree: &Path, command: &[String]) -> Command {
        let mut outer = clean("/proc/self/exe");
        outer.arg(crate::cli::IN_ROOT).arg(tree);
        outer.args(command.iter().map(|word| word.replace(ARIZONA_WORD, ARIZONA_PATH)));
        outer.env("METALFORM_ARIZONA", ARIZONA_PATH).env("COMMUNITY_EDITION", "1");
        outer
    }

    fn in_words(mount: &Mount) -> String {
        match mount {
            Mount::Image { file, kind, .. } => format!("{file} ({kind})"),
            Mount::Memory { at, .. } => format!("memory at {at}"),
            Mount::Overlay { at, .. } => format!("the overlay at {at}"),
            Mount::Bind { from, at } => format!("{from} at {at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use metalform_model::MANIFEST_FORMAT;

    fn manifest(recipe: Option<Recipe>, files: &[(&str, ImageRole)]) -> ImageManifest {
        let file = |(name, role): &(&str, ImageRole)| ImageFile {
            name: (*name).into(),
            role: *role,
            size: 1,
            sha256: String::new(),
            md5: None,
        };
        ImageManifest {
            format: MANIFEST_FORMAT,
            name: "set".into(),
            source: "a test".into(),
            template: None,
            recipe,
            files: files.iter().map(file).collect(),
        }
    }

    fn phoenix_ce() -> Recipe {
        Recipe::PhoenixCe { command: vec!["/usr/bin/python3".into(), "install.py".into(), ARIZONA_WORD.into()] }
    }

    #[test]
    fn phoenix_needs_its_squashfs_and_its_first_boot_ends_the_installation() {
        let set =
            manifest(Some(phoenix_ce()), &[("hyp.iso", ImageRole::HypervisorIso), ("live.img", ImageRole::Squashfs)]);
        let (files, installed_by) = needs(&set).unwrap();
        assert_eq!((files.len(), files[0].name.as_str(), installed_by), (1, "live.img", InstalledBy::System));
        assert!(matches!(needs(&manifest(Some(phoenix_ce()), &[])), Err(RecipeError::NoFile(_))));
    }

    #[test]
    fn a_recipe_without_a_program_and_a_file_that_is_a_path_are_refused() {
        let command = |words: &[&str], files: &[&str]| Recipe::Command {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            installed_by: InstalledBy::Agent,
        };
        assert_eq!(needs(&manifest(None, &[])), Err(RecipeError::NoRecipe));
        for words in [&[][..], &[""]] {
            assert_eq!(needs(&manifest(Some(command(words, &[])), &[])), Err(RecipeError::NoProgram));
        }
        for name in ["../a", "a/b", ".hidden", ""] {
            let set = manifest(Some(command(&["/bin/sh"], &[name])), &[(name, ImageRole::Other)]);
            assert_eq!(needs(&set), Err(RecipeError::BadName(name.into())));
        }
    }

    #[test]
    fn phoenix_runs_in_a_writable_tree_over_its_squashfs_with_the_kernels_own_in_it() {
        let mounts = phoenix::mounts(Path::new("/run/metalform/files/live.img"), Path::new("/run/metalform"));
        let at = |part: &str| format!("/run/metalform/phoenix/{part}");
        let bind = |part: &str| Mount::Bind { from: format!("/{part}"), at: at(&format!("root/{part}")) };
        let expected = [
            Mount::Image { file: "/run/metalform/files/live.img".into(), kind: "squashfs", at: at("image") },
            Mount::Memory { at: at("memory"), size: "75%" },
            Mount::Overlay { lower: at("image"), upper: at("memory/upper"), work: at("memory/work"), at: at("root") },
            bind("dev"),
            bind("proc"),
            bind("sys"),
        ];
        assert_eq!(mounts, expected);
    }

    #[test]
    fn documents_are_placed_in_the_tree_and_a_link_in_their_place_is_not_followed() {
        let machine = Tree::new("phoenix-machine");
        machine.write("etc/resolv.conf", "nameserver 161.26.0.10\n");
        let tree = Tree::new("phoenix-tree");
        tree.write("etc/kept", "");
        std::os::unix::fs::symlink("/nowhere/resolv.conf", tree.root().join("etc/resolv.conf")).unwrap();
        phoenix::place(machine.root(), tree.root(), b"{}").unwrap();
        let read = |name: &str| fs::read_to_string(tree.root().join(name)).unwrap();
        assert_eq!(read("etc/resolv.conf"), "nameserver 161.26.0.10\n");
        assert_eq!(read("tmp/metalform/arizona.json"), "{}");
    }

    #[test]
    fn the_nodes_documents_are_in_the_tree_and_only_root_reads_them() {
        use std::os::unix::fs::PermissionsExt;
        let (outside, tree) = (Tree::new("phoenix-outside"), Tree::new("phoenix-inside"));
        let workspace = Workspace { folder: outside.root().to_owned() };
        for name in DOCUMENTS {
            workspace.write(name, name.as_bytes()).unwrap();
        }
        phoenix::bring(&workspace, tree.root()).unwrap();
        for name in DOCUMENTS {
            let file = tree.root().join("run/metalform").join(name);
            assert_eq!(fs::read(&file).unwrap(), name.as_bytes());
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn phoenixs_folder_has_both_its_names() {
        for (there, other) in [("phoenix", "root"), ("root", "phoenix")] {
            let tree = Tree::new(&format!("phoenix-{there}"));
            let folder = if there == "phoenix" { "phoenix".into() } else { format!("{there}/phoenix") };
            tree.write(&format!("{folder}/minimal.py"), "");
            for _ in 0..2 {
                phoenix::place(tree.root(), tree.root(), b"").unwrap();
            }
            let linked = if other == "phoenix" { "phoenix".into() } else { format!("{other}/phoenix") };
            assert!(tree.root().join(linked).join("minimal.py").exists(), "{other}");
        }
    }

    #[test]
    fn the_command_is_run_within_the_tree_and_told_its_document() {
        let Recipe::PhoenixCe { command } = phoenix_ce() else { unreachable!() };
        let command = phoenix::in_tree(Path::new("/tree"), &command);
        let words: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
        assert_eq!(words, ["in-root", "/tree", "/usr/bin/python3", "install.py", "/tmp/metalform/arizona.json"]);
        let mut variables = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        assert!(variables.any(|pair| pair == ("METALFORM_ARIZONA", "/tmp/metalform/arizona.json")));
    }
}
