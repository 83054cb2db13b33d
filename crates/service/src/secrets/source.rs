//! Where the secret key comes from: `[secrets] key`.

use super::{SecretError, command, key::SecretKey, read, read_beside};
use secrecy::SecretString;
use serde::Deserialize;
use std::{fmt, path::PathBuf, str::FromStr};
use thiserror::Error;

/// A place that a secret key is got from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `file:PATH`: its owner alone may read it.
    File(PathBuf),
    /// `env:NAME`: a variable of the service's environment.
    Variable(String),
    /// `credential:NAME`: what systemd gives the unit by `LoadCredential=` and its like.
    Credential(String),
    /// `command:PROGRAM ARGS…`: what it writes to standard output.
    Command {
        /// What is started.
        program: String,
        /// With what.
        args: Vec<String>,
    },
}

/// A text that names no place. It isn't shown: it may be a key that somebody wrote there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadKeySource(&'static str);

impl BadKeySource {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        "write file:PATH, env:NAME, credential:NAME or command:PROGRAM ARGS…"
    }
}

impl FromStr for KeySource {
    type Err = BadKeySource;

    fn from_str(text: &str) -> Result<Self, BadKeySource> {
        let (kind, rest) = text.split_once(':').ok_or(BadKeySource("it doesn't say where the secret key is"))?;
        if rest.trim().is_empty() {
            return Err(BadKeySource("nothing stands after the colon"));
        }
        match kind {
            "file" => Ok(KeySource::File(rest.into())),
            "env" if rest.contains('=') || rest.contains('\0') => Err(BadKeySource("that is no name of a variable")),
            "env" => Ok(KeySource::Variable(rest.to_owned())),
            "credential" if rest.contains('/') || rest.starts_with('.') => {
                Err(BadKeySource("a credential has a name, not a path"))
            }
            "credential" => Ok(KeySource::Credential(rest.to_owned())),
            "command" => {
                let mut words = rest.split_whitespace().map(str::to_owned);
                let program = words.next().ok_or(BadKeySource("nothing stands after the colon"))?;
                Ok(KeySource::Command { program, args: words.collect() })
            }
            _ => Err(BadKeySource("it doesn't say where the secret key is")),
        }
    }
}

/// Arguments of a command aren't shown: some programs want a password there.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "file:{}", path.display()),
            KeySource::Variable(name) => write!(f, "env:{name}"),
            KeySource::Credential(name) => write!(f, "credential:{name}"),
            KeySource::Command { program, .. } => write!(f, "command:{program}"),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeySource {
    /// As `[secrets] key` has it. What is wrong with it is told when the configuration is checked: a parser's own error would
    /// show the line, and with it a key that somebody wrote there.
    pub(crate) fn deserialize<'de, D>(deserializer: D) -> Result<Option<Result<KeySource, BadKeySource>>, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        Ok(Some(String::deserialize(deserializer)?.parse()))
    }

    /// Gets the key.
    pub(super) async fn fetch(&self) -> Result<SecretKey, SecretError> {
        let text = self.fetch_from(&|name| std::env::var(name).ok(), credentials_directory()).await?;
        SecretKey::from_hex(&text).ok_or_else(|| SecretError::NoKey { from: self.clone() })
    }

    async fn fetch_from(
        &self,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
        credentials: Option<PathBuf>,
    ) -> Result<SecretString, SecretError> {
        match self {
            KeySource::File(path) => read(path),
            KeySource::Variable(name) => {
                let text = env(name).filter(|text| !text.is_empty());
                text.map(|text| text.trim().into()).ok_or_else(|| SecretError::NoVariable { name: name.clone() })
            }
            KeySource::Credential(name) => {
                let folder = credentials.ok_or_else(|| SecretError::NoCredentials { name: name.clone() })?;
                read_beside(&folder.join(name), Some(&folder))
            }
            KeySource::Command { program, args } => {
                let ran = command::run(program, args, command::LIMIT).await;
                ran.map_err(|source| SecretError::Command { program: program.clone(), source })
            }
        }
    }
}

/// Where systemd puts the unit's credentials.
pub(super) fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::tests::Folder;
    use secrecy::ExposeSecret;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_source_is_read_as_it_is_written_and_a_key_in_its_place_is_never_shown() {
        for text in ["file:a/b", "env:KEY", "credential:metalform-key"] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
        let command: KeySource = "command:/usr/bin/kms  get --pin 1234".parse().unwrap();
        let args = ["get", "--pin", "1234"].map(str::to_owned).to_vec();
        assert_eq!(command, KeySource::Command { program: "/usr/bin/kms".into(), args });
        assert_eq!(format!("{command} {command:?}"), "command:/usr/bin/kms command:/usr/bin/kms");
        for wrong in [
            "",
            "0123abcd",
            "file:",
            "env: ",
            "env:A=0123abcd",
            "credential:../x",
            "credential:a/b",
            "command: ",
            "x:0123abcd",
        ] {
            let error = wrong.parse::<KeySource>().unwrap_err();
            let told = format!("{error} {error:?} {}", error.hint());
            assert!(told.contains("file:PATH") && !told.contains("0123abcd"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_key_comes_from_wherever_it_is_said_to_be() {
        let folder = Folder::new();
        let file = folder.0.join("key");
        fs::write(&file, " from the file\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        let env = |name: &str| (name == "KEY").then(|| "from the environment".to_owned());
        let fetch = async |source: &str, credentials: Option<PathBuf>| {
            let source: KeySource = source.parse().unwrap();
            source.fetch_from(&env, credentials).await.map(|text| text.expose_secret().to_owned())
        };
        let from_file = format!("file:{}", file.display());
        assert_eq!(fetch("env:KEY", None).await.unwrap(), "from the environment");
        assert_eq!(fetch("command:/bin/echo from a command", None).await.unwrap(), "from a command");
        // systemd's access control list shows as a mode of the group; elsewhere that is everybody in the group.
        assert_eq!(fetch("credential:key", Some(folder.0.clone())).await.unwrap(), "from the file");
        assert!(matches!(fetch(&from_file, None).await, Err(SecretError::Open { mode: 0o440, .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        let open_to_all = fetch("credential:key", Some(folder.0.clone())).await;
        assert!(matches!(open_to_all, Err(SecretError::Open { mode: 0o444, .. })), "{open_to_all:?}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(fetch(&from_file, None).await.unwrap(), "from the file");
        for (source, told) in [
            ("env:OTHER", "OTHER, which isn't set"),
            ("credential:key", "$CREDENTIALS_DIRECTORY isn't set"),
            ("file:/nonexistent/key", "can't use the secret file"),
            ("command:/nonexistent/kms", "gave no secret key"),
        ] {
            let error = fetch(source, None).await.unwrap_err();
            assert!(error.to_string().contains(told) && !error.hint().is_empty(), "{error}");
        }
    }

    #[test]
    fn what_only_looks_as_if_it_lay_among_the_credentials_is_refused() {
        let (folder, credentials) = (Folder::new(), Folder::new());
        let file = folder.0.join("key");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
        let link = credentials.0.join("key");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(matches!(read_beside(&link, Some(&credentials.0)), Err(SecretError::Open { .. })));
        let around = credentials.0.join("..").join(folder.0.file_name().unwrap()).join("key");
        assert!(matches!(read_beside(&around, Some(&credentials.0)), Err(SecretError::Open { .. })));
    }
}
