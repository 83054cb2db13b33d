//! What every command gets: the global flags, the environment, the clock and the output.

use crate::{client::Client, error::CliError, output::Output, server::Server};
use metalform_model::{Clock, Timestamp};
use metalform_service::{Config, WallClock};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a configuration is looked for when none is named.
const DEFAULT_CONFIG: &str = "metalform.toml";

/// See the module.
pub struct Context {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// How long a refused connection is tried again.
    pub connect_for: Duration,
    /// Standard output and error.
    pub out: Output,
    /// What time it is.
    pub clock: WallClock,
}

impl Context {
    /// The configuration: defaults, file, environment.
    pub fn load_config(&self) -> Result<Config, CliError> {
        Config::load(self.config.as_deref(), &variable).map_err(CliError::Config)
    }

    /// The same for whoever only talks to the service: how machines reach it is then nobody's concern, and elsewhere
    /// than on its own machine nobody could say.
    pub fn load_config_of_client(&self) -> Result<Config, CliError> {
        let env = |name: &str| match name {
            "METALFORM_BOOT_PUBLIC_URL" => Some("http://127.0.0.1".to_owned()),
            _ => variable(name),
        };
        Config::load(self.config.as_deref(), &env).map_err(CliError::Config)
    }

    /// The configuration's file, if there is one.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref().or_else(|| Some(Path::new(DEFAULT_CONFIG)).filter(|path| path.exists()))
    }

    /// A client of the service.
    pub async fn client(&self) -> Result<Client, CliError> {
        Client::new(&Server::find(self).await?, self.connect_for)
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// An environment variable; an empty one is none.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
