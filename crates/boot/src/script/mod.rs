//! The boot script: a template, and the values that go into it.
//!
//! iPXE splits a line into words before it expands its own `${…}`, so iPXE settings can't inject commands, but text that
//! the server pastes in can: a line break, ` || `, ` ; `, ` #` or `${`. Therefore every value has a strict character set and
//! is refused, never escaped, when it leaves it.
//!
//! The built-in `foundation` is the seed's script with its four faults mended: all arguments stand on the `kernel` line
//! (`imgargs` replaces them), `initrd=` is among them (UEFI builds before 2.0 hand over no initrd without it), downloads
//! have a failure branch, and `imgfree` drops what an earlier round left. Rejected: `--timeout` on the downloads, which
//! would stand between the command and the URL, where the seed's text is fixed; builds since 2.0 give up after 120 s without
//! a byte by themselves.
//!
//! Both built-in templates tell where they stand ("beacons"): once when everything is there and the kernel is started, and
//! with the error when a command failed. A beacon can't hold up a boot: it has a time limit and an empty failure branch,
//! and the image that it leaves is freed by name, because UEFI builds since 2.0 hand every image to the kernel as a part of
//! its initrd. Not one for each step: the downloads themselves are seen.
//!
//! Both compare kernel and initrd with the manifest's digests where the build can (`sha256sum --set`, since 2.0), and never
//! need it: without the command they go on and say so. A comparison that was made and failed never boots. The image's name can't
//! be changed from outside to make the command fail: a redirection keeps it (`src/core/image.c`).

mod commands;
mod counter;
mod fault;
mod flow;
mod inline;
mod lint;
mod pin;
mod template;
mod values;
mod walk;

pub use fault::TemplateFault;
pub use inline::{InlineScriptError, MAX_USER_DATA};
pub use lint::lint;
#[cfg(feature = "fuzzing")]
pub(crate) use template::render_any;
pub use template::{FOUNDATION_TEMPLATE, TemplateError, TemplateErrors, Templates, lint_file};
pub use values::{BootHost, BootHostError, ScriptNetwork, ScriptValues, ValueError, script_url};
pub(crate) use values::{is_image_set_name, is_server_id};

#[cfg(test)]
mod tests;
