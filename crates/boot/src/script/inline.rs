//! A script that stands in user data: what a template makes of a node, behind a part that asks the boot plane first.
//!
//! A script that is fetched is another one once the machine is installed. One in user data is the same at every start, and
//! user data can't be changed in place, so it has to ask. What is asked goes over plain HTTP, and is therefore never run:
//!
//! - `open` answers a word, whose digest stands in the script, while the boot attempt is open. Builds that can compare go on
//!   with no other word, so whoever hasn't heard it can't say yes. Older ones go by the status.
//! - `done` answers once the machine is installed. Whoever forges it, or holds both back, keeps a machine from being
//!   installed, and gets no further.
//!
//! A word that was overheard can be said again: iPXE has nothing fresh to compare it with. What it leads to is the kernel and
//! the initrd whose digests stand beside it, and their agent, which touches no disk before the boot plane has bound its session.
//! Rejected: a script as the answer (it would be run), one answer for both questions (older builds see a status and nothing
//! else), `params` and HTTPS (builds that have neither).
//!
//! After ten minutes without an answer the machine boots from its disk: an installed one must not depend on us for ever, and on
//! the disk of one that isn't installed iPXE itself lies, and begins again.

use super::{
    fault::TemplateFault,
    lint::lint,
    template::{Templates, render_text},
    values::{ScriptValues, ValueError, is_sha256},
};

/// The part before the template.
const BEGINNING: &str = include_str!("../../templates/in-user-data.ipxe");
/// Bytes of user data. IBM documents it for virtual server instances (cloud.ibm.com/docs/vpc, "user data"), and nothing of the
/// kind for bare metal.
pub const MAX_USER_DATA: usize = 64 * 1024;

/// A script that can't stand in user data. Permanent: template or values have to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InlineScriptError {
    /// A value can't stand in any script.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The template has a label of the part before it.
    #[error("the template has the label `:{0}`, which the part before it in user data has, too")]
    LabelTaken(String),
    /// More than user data holds.
    #[error("the boot script has {bytes} bytes, and user data holds {MAX_USER_DATA}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
}

impl InlineScriptError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            InlineScriptError::Value(_) => "import the image set again, or name another template in [boot] template",
            InlineScriptError::LabelTaken(_) => "rename the label in the template",
            InlineScriptError::TooLong { .. } => {
                "shorten the template, or set [ibm_cloud] user_data = \"url\", where a script may have any length"
            }
        }
    }
}

impl Templates {
    /// The script of a node as it stands in its user data; `open_sha256` is the digest of the word that permits to go on. A
    /// secret, as it holds the tokens. `None` if there is no such template.
    pub fn render_inline(
        &self,
        name: Option<&str>,
        values: &ScriptValues<'_>,
        open_sha256: &str,
    ) -> Option<Result<String, InlineScriptError>> {
        Some(self.render(name, values)?.map_err(InlineScriptError::from).and_then(|script| {
            if !is_sha256(open_sha256) {
                return Err(ValueError::NO_DIGEST.into());
            }
            let mut whole = render_text(&BEGINNING.replace("{{open_sha256}}", open_sha256), values)?;
            // A template begins with its magic, which the linter has held.
            whole.extend(script.split_once('\n').map(|(_, rest)| rest));
            let taken = lint(&whole).into_iter().find_map(|(_, fault)| match fault {
                TemplateFault::DuplicateLabel(label) => Some(label),
                _ => None,
            });
            match taken {
                Some(label) => Err(InlineScriptError::LabelTaken(label)),
                None if whole.len() > MAX_USER_DATA => Err(InlineScriptError::TooLong { bytes: whole.len() }),
                None => Ok(whole),
            }
        }))
    }
}
