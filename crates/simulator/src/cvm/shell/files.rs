//! The files of a system, as far as clients make and read them: by absolute path, kept over a restart.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    File(Vec<u8>),
}

/// The file system of a CVM or a hypervisor.
#[derive(Debug, Clone, Default)]
pub struct Files {
    nodes: BTreeMap<String, (Node, u32)>,
}

/// Why a file can't be used, as the C library says it.
pub type Errno = &'static str;

const MISSING: Errno = "No such file or directory";
const EXISTS: Errno = "File exists";
const FOLDER: Errno = "Is a directory";
const NO_FOLDER: Errno = "Not a directory";

/// A path made absolute, without `.` and `..`.
pub fn absolute(cwd: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Files {
    /// Folders that are there from the installation on.
    pub fn with_folders(folders: &[&str]) -> Self {
        let mut files = Files::default();
        files.nodes.insert("/".into(), (Node::Folder, 0o755));
        for folder in folders {
            let mut path = String::new();
            for part in folder.split('/').filter(|part| !part.is_empty()) {
                path = format!("{path}/{part}");
                files.nodes.insert(path.clone(), (Node::Folder, 0o755));
            }
        }
        files
    }

    pub fn exists(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    pub fn is_folder(&self, path: &str) -> bool {
        matches!(self.nodes.get(path), Some((Node::Folder, _)))
    }

    /// Permission bits.
    #[cfg(test)]
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.nodes.get(path).map(|(_, mode)| *mode)
    }

    pub fn read(&self, path: &str) -> Result<&[u8], Errno> {
        match self.nodes.get(path) {
            None => Err(MISSING),
            Some((Node::Folder, _)) => Err(FOLDER),
            Some((Node::File(bytes), _)) => Ok(bytes),
        }
    }

    fn check_parent(&self, path: &str) -> Result<(), Errno> {
        let parent = match path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        };
        match self.nodes.get(parent) {
            None => Err(MISSING),
            Some((Node::File(_), _)) => Err(NO_FOLDER),
            Some((Node::Folder, _)) => Ok(()),
        }
    }

    /// Opens for writing: makes the file, or empties it.
    pub fn open(&mut self, path: &str, truncate: bool, umask: u32) -> Result<(), Errno> {
        match self.nodes.get_mut(path) {
            Some((Node::Folder, _)) => Err(FOLDER),
            Some((Node::File(bytes), _)) => {
                if truncate {
                    bytes.clear();
                }
                Ok(())
            }
            None => {
                self.check_parent(path)?;
                self.nodes.insert(path.to_owned(), (Node::File(Vec::new()), 0o666 & !umask));
                Ok(())
            }
        }
    }

    /// Writes at the end of an open file. One that was removed meanwhile takes it silently, as an open file does.
    pub fn append(&mut self, path: &str, bytes: &[u8]) {
        if let Some((Node::File(content), _)) = self.nodes.get_mut(path) {
            content.extend_from_slice(bytes);
        }
    }

    pub fn make_folder(&mut self, path: &str, umask: u32) -> Result<(), Errno> {
        if self.exists(path) {
            return Err(EXISTS);
        }
        self.check_parent(path)?;
        self.nodes.insert(path.to_owned(), (Node::Folder, 0o777 & !umask));
        Ok(())
    }

    /// With all folders above it; one that is there is good.
    pub fn make_folders(&mut self, path: &str, umask: u32) -> Result<(), Errno> {
        let mut at = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = format!("{at}/{part}");
            if !self.is_folder(&at) {
                self.make_folder(&at, umask)?;
            }
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &str, recursive: bool) -> Result<(), Errno> {
        if !self.exists(path) {
            return Err(MISSING);
        }
        if self.is_folder(path) {
            if !recursive {
                return Err(FOLDER);
            }
            let below = format!("{path}/");
            self.nodes.retain(|at, _| !at.starts_with(&below));
        }
        self.nodes.remove(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute() {
        assert_eq!(absolute("/home/nutanix", ".metalform/job/../x"), "/home/nutanix/.metalform/x");
        assert_eq!(absolute("/home", "/etc//./nutanix/"), "/etc/nutanix");
        assert_eq!(absolute("/", "../.."), "/");
    }

    #[test]
    fn a_folder_is_made_once_and_not_without_its_parent() {
        let mut files = Files::with_folders(&["/home/nutanix"]);
        assert_eq!(files.make_folder("/home/nutanix/a/b", 0o022), Err(MISSING));
        assert_eq!(files.make_folder("/home/nutanix/a", 0o077), Ok(()));
        assert_eq!(files.make_folder("/home/nutanix/a", 0o077), Err(EXISTS));
        assert_eq!(files.mode("/home/nutanix/a"), Some(0o700));
        assert_eq!(files.open("/home/nutanix/a/f", true, 0o077), Ok(()));
        assert_eq!(files.mode("/home/nutanix/a/f"), Some(0o600));
        assert_eq!(files.make_folder("/home/nutanix/a/f/g", 0), Err(NO_FOLDER));
        assert_eq!(files.remove("/home/nutanix/a", false), Err(FOLDER));
        assert_eq!(files.remove("/home/nutanix/a", true), Ok(()));
        assert!(!files.exists("/home/nutanix/a/f"));
    }
}
