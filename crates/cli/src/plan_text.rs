//! A plan as it lies there: a file, or standard input for `-`.

use crate::error::CliError;
use metalform_model::{MAX_PLAN_BYTES, PlanFormat};
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Read},
};

/// A plan's text.
pub struct PlanText {
    /// What it is called in messages.
    pub name: String,
    /// The text.
    pub text: String,
    /// TOML or JSON.
    pub format: PlanFormat,
}

impl PlanText {
    /// Reads it. No more than a plan can be, and a little, so that too large a plan is told as such.
    pub fn read(path: &str) -> Result<PlanText, CliError> {
        let name = if path == "-" { "standard input" } else { path };
        let unreadable = |source| CliError::Unreadable { name: name.to_owned(), source };
        let source: Box<dyn Read> = match path {
            "-" => Box::new(io::stdin().lock()),
            path => Box::new(File::open(path).map_err(unreadable)?),
        };
        let mut text = String::new();
        source.take(MAX_PLAN_BYTES as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
        let format = PlanFormat::detect((path != "-").then_some(path), &text);
        Ok(PlanText { name: name.to_owned(), text, format })
    }

    /// The cluster's own address, as it is written there. Only for what is told at the end: whether the plan is good is
    /// the service's to say.
    pub fn external_ip(&self) -> Option<String> {
        let tree: Value = match self.format {
            PlanFormat::Json => serde_json::from_str(&self.text).ok()?,
            PlanFormat::Toml => toml::from_str(&self.text).ok()?,
        };
        tree["cluster"]["external_ip"].as_str().map(str::to_owned)
    }
}
