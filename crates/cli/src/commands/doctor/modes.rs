//! Who may read and change what lies in the data folder, and the image sets.

use super::check::Check;
use metalform_service::{Config, check_secret_file};
use std::{
    fs::{self, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const NAME: &str = "modes";

/// What a mode may not have, and what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    forbidden: u32,
    wanted: u32,
    says: &'static str,
}

const SECRET: Rule = Rule { forbidden: 0o077, wanted: 0o600, says: "others may read it" };
const PUBLIC: Rule = Rule { forbidden: 0o022, wanted: 0o644, says: "others may change it" };
const FOLDER: Rule = Rule { forbidden: 0o022, wanted: 0o755, says: "others may put files into it" };
/// Nothing in it is anybody else's business.
const DATA_DIR: Rule = Rule { forbidden: 0o022, wanted: 0o700, says: "others may put files into it" };

/// Of a file of the data folder, by its path in there. What the service didn't make may be read by whoever its owner likes.
fn rule(path: &Path, is_folder: bool) -> Rule {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if is_folder {
        return if path.as_os_str().is_empty() { DATA_DIR } else { FOLDER };
    }
    let is_secret = match path.parent().and_then(Path::to_str) {
        Some("") => {
            ["token", "lock", "audit.heads", "ibm-api-key"].iter().any(|each| name.starts_with(each))
                || ["secret.key", "audit.key", "metalform.db"].iter().any(|each| name.starts_with(each))
        }
        Some("tls") => !["ca.pem", "ca-earlier.pem"].iter().any(|each| name.starts_with(each)),
        _ => false,
    };
    if is_secret { SECRET } else { PUBLIC }
}

/// Looks at everything, and mends modes if told to.
pub fn check(config: &Config, fix: bool) -> Vec<Check> {
    // Where it leads, if it is a link: what counts is the folder.
    let data_dir = &fs::canonicalize(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let mut walk = Walk { fix, seen: 0, found: Vec::new(), owner: None };
    match fs::metadata(data_dir) {
        Ok(there) if there.is_dir() => {
            walk.owner = Some(there.uid());
            walk.folder(data_dir, Path::new(""), &rule);
            walk.open_folder(data_dir, &there);
        }
        Ok(_) => {
            let message = format!("{} is no folder", data_dir.display());
            return vec![Check::problem(NAME, message, "let data_dir name a folder")];
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            walk.found
                .push(Check::ok(NAME, format!("{} isn't there yet; the first start makes it", data_dir.display())));
        }
        Err(error) => walk.cannot(data_dir, &error),
    }
    let images = fs::canonicalize(config.images_dir()).unwrap_or_else(|_| config.images_dir());
    if !images.starts_with(data_dir) && images.is_dir() {
        // Whose they are is the operator's affair.
        walk.owner = None;
        walk.folder(&images, Path::new("images"), &|_, is_folder| if is_folder { FOLDER } else { PUBLIC });
    }
    for (key, path) in config.secret_files() {
        match check_secret_file(path) {
            Ok(()) => {
                walk.seen += 1;
                walk.check_owner_of_secret(key, path, fs::metadata(data_dir).ok());
            }
            Err(metalform_service::SecretError::Open { mode, .. }) => walk.wrong(path, mode, SECRET),
            Err(error) => walk.found.push(Check::failed(NAME, &error, format!("{key} names it: {}", error.hint()))),
        }
    }
    if walk.found.is_empty() {
        walk.found.push(Check::ok(NAME, format!("{} files and folders of {}", walk.seen, data_dir.display())));
    }
    walk.found
}

struct Walk {
    fix: bool,
    seen: usize,
    found: Vec<Check>,
    /// Of the data folder, while it is looked through.
    owner: Option<u32>,
}

impl Walk {
    fn folder(&mut self, path: &Path, below: &Path, rule: &dyn Fn(&Path, bool) -> Rule) {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.cannot(path, &error),
        };
        // Where a link leads somebody else has decided.
        if metadata.is_symlink() && !below.as_os_str().is_empty() {
            return;
        }
        self.one(path, below, &metadata, rule(below, !metadata.is_file()));
        if metadata.is_file() {
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.cannot(path, &error),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let below = below.join(path.file_name().unwrap_or_default());
            self.folder(&path, &below, rule);
        }
    }

    /// Every secret in it has a mode of its own; its files' names and sizes are nobody's business either.
    fn open_folder(&mut self, path: &Path, metadata: &Metadata) {
        const OPEN: u32 = 0o055;
        let (shown, mode) = (path.display(), metadata.mode() & 0o777);
        // What is worse was told.
        if mode & OPEN == 0 || mode & DATA_DIR.forbidden != 0 {
            return;
        }
        if self.fix {
            return self.wrong(path, mode, Rule { forbidden: 0o077, ..DATA_DIR });
        }
        let message = format!("{shown} has mode {mode:o}: others may look into it");
        self.found.push(Check::warning(NAME, message, format!("chmod 700 {shown}, or --fix-modes")));
    }

    fn one(&mut self, path: &Path, below: &Path, metadata: &Metadata, rule: Rule) {
        self.seen += 1;
        let mode = metadata.mode() & 0o777;
        if mode & rule.forbidden != 0 {
            self.wrong(path, mode, rule);
        }
        let is_image = below.starts_with("images");
        if let Some(owner) = self.owner.filter(|owner| *owner != metadata.uid() && !is_image) {
            let message = format!("{} belongs to the user {}, the folder to {owner}", path.display(), metadata.uid());
            self.found.push(Check::problem(NAME, message, format!("chown {owner} {}", path.display())));
        }
        if is_image && mode & 0o004 == 0 && self.owner != Some(metadata.uid()) {
            let message = format!("{} (mode {mode:o}) can't be read by the service", path.display());
            let wanted = if metadata.is_file() { PUBLIC.wanted } else { FOLDER.wanted };
            self.found.push(Check::problem(NAME, message, format!("chmod {wanted:o} {}", path.display())));
        }
    }

    /// A file of mode 0600 that somebody else than the service has. systemd's credentials are root's, and the service reads them
    /// all the same.
    fn check_owner_of_secret(&mut self, key: &str, path: &Path, data_dir: Option<Metadata>) {
        let (Some(data_dir), Ok(file)) = (data_dir, fs::metadata(path)) else { return };
        if file.uid() != data_dir.uid() && !path.starts_with("/run/credentials") {
            let (path, has, needs) = (path.display(), file.uid(), data_dir.uid());
            let message = format!("{path} ({key}) belongs to the user {has}, the data folder to {needs}");
            self.found.push(Check::problem(NAME, message, format!("chown {needs} {path}")));
        }
    }

    fn wrong(&mut self, path: &Path, mode: u32, rule: Rule) {
        let (shown, wanted) = (path.display(), rule.wanted);
        if self.fix {
            match take_from(path, rule.forbidden) {
                Ok(now) => self.found.push(Check::ok(NAME, format!("{shown} had mode {mode:o}; it has {now:o} now"))),
                Err(error) => self.cannot(path, &error),
            }
            return;
        }
        let message = format!("{shown} has mode {mode:o}: {}", rule.says);
        self.found.push(Check::problem(NAME, message, format!("chmod {wanted:o} {shown}, or --fix-modes")));
    }

    fn cannot(&mut self, path: &Path, error: &io::Error) {
        let hint = "run it as the user that the service runs as";
        self.found.push(Check::problem(NAME, format!("{}: {error}", path.display()), hint));
    }
}

/// Takes these bits from a mode, and says what is left. It never gives any, and never by way of a link: whoever could put one
/// in place between look and change would have a mode of their choice changed elsewhere.
fn take_from(path: &Path, bits: u32) -> io::Result<u32> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mode = file.metadata()?.mode() & 0o7777 & !bits;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_only_ever_made_tighter_and_never_by_way_of_a_link() {
        let folder = std::env::temp_dir().join(format!("metalform-modes-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("file"), folder.join("link"));
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        for (before, bits, after) in [(0o666, 0o022, 0o644), (0o640, 0o077, 0o600), (0o620, 0o022, 0o600)] {
            fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            assert_eq!(take_from(&file, bits).unwrap(), after);
            assert_eq!(mode(&file), after);
        }
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        take_from(&link, 0o077).unwrap_err();
        assert_eq!(mode(&file), 0o666);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_file_of_the_data_folder_has_its_rule() {
        for (path, is_folder, wanted) in [
            ("", true, DATA_DIR),
            ("tls", true, FOLDER),
            ("images", true, FOLDER),
            ("token", false, SECRET),
            ("secret.key", false, SECRET),
            ("secret.key.old", false, SECRET),
            ("audit.key.new", false, SECRET),
            ("metalform.db-wal", false, SECRET),
            ("ibm-api-key", false, SECRET),
            ("tls/ca.key", false, SECRET),
            ("tls/server.pem", false, SECRET),
            ("tls/ca.pem", false, PUBLIC),
            ("tls/ca-earlier.pem", false, PUBLIC),
            ("tls/acme-account.json", false, SECRET),
            ("audit.pub", false, PUBLIC),
            ("images/ce/vmlinuz", false, PUBLIC),
            ("notes.txt", false, PUBLIC),
        ] {
            assert_eq!(rule(Path::new(path), is_folder), wanted, "{path}");
        }
    }
}
