//! What machines get that ask for no other image set.

use super::check::Check;
use crate::{commands::image::watched, error::CliError};
use metalform_boot::ImageSet;
use metalform_images::{ImageStore, SetError, SetFault};
use metalform_service::Config;

const NAME: &str = "images";

/// Looks at the default set; `thorough` reads all of it.
pub async fn check(config: &Config, thorough: bool) -> Result<Check, CliError> {
    let store = ImageStore::new(config.images_dir());
    let shown = store.dir().display().to_string();
    let import = "`metalform image import ISO --default`";
    let id = match store.lost_default().and_then(|lost| Ok((lost, store.default_id()?, store.has_default()?))) {
        Err(error) => return Ok(Check::failed(NAME, &error, error.hint())),
        Ok((Some(lost), ..)) => {
            return Ok(Check::problem(NAME, format!("the default {lost:?} is no set of {shown}"), import));
        }
        Ok((None, None, false)) => {
            return Ok(Check::warning(NAME, format!("no default image set in {shown}: machines get nothing"), import));
        }
        // As the service reads it: what it can't read makes machines wait.
        Ok((None, None, true)) => {
            return Ok(match ImageSet::described(config.images_dir(), None) {
                Err(error) => Check::failed(NAME, &error, error.hint()),
                Ok(_) => Check::ok(NAME, format!("plain files in {shown}, nothing to verify by")),
            });
        }
        Ok((None, Some(id), _)) => id,
    };
    let of = id.clone();
    let faults: Result<Vec<SetFault>, SetError> = match thorough {
        true => watched(move |progress| store.set(&of)?.verify(progress)).await?,
        false => store.set(&of).and_then(|set| set.look()),
    };
    Ok(match faults {
        Err(SetError::Stopped) => return Err(CliError::Interrupted),
        Err(error) => Check::failed(NAME, &error, error.hint()),
        Ok(faults) if faults.is_empty() => Check::ok(
            NAME,
            match thorough {
                true => format!("{id} is what its manifest says, byte for byte"),
                false => format!("{id} has every file, with the right length; --thorough reads them"),
            },
        ),
        Ok(faults) => {
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Check::problem(
                NAME,
                format!("{id} is damaged: {}", told.join("; ")),
                "remove the set's folder and import it again",
            )
        }
    })
}
