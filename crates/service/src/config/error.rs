//! A configuration that can't be used.

use std::path::PathBuf;
use thiserror::Error;

/// A configuration that can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or a key is unknown or of the wrong kind.
    #[error("the configuration is wrong{}: {message}", .line.map(|line| format!(" in line {line}")).unwrap_or_default())]
    Wrong {
        /// Which line of the file, if it is of one. The line itself isn't shown: under a mistyped key may stand a secret.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A value is refused.
    #[error("{key} in the configuration: {why}")]
    Refused {
        /// Which key.
        key: &'static str,
        /// Why.
        why: String,
        /// What to write instead.
        hint: String,
    },
}

impl ConfigError {
    pub(super) fn wrong(text: &str, error: &toml::de::Error) -> ConfigError {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.filter(|_| !text.is_empty()).map(|before| 1 + before.matches('\n').count());
        ConfigError::Wrong { line, message: error.message().trim_end().to_owned() }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            ConfigError::Read { .. } => "name the file with --config, or leave it out for the defaults".into(),
            ConfigError::Wrong { .. } => {
                "the keys are data_dir and those of [boot] [control] [store] [secrets] [ibm_cloud] \
                                      [images] [profiles] [nutanix] [audit] [timeouts]"
                    .into()
            }
            ConfigError::Refused { hint, .. } => hint.clone(),
        }
    }
}
