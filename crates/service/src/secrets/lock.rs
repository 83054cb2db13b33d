//! One change of the secrets at a time. `secret set` works beside a running service, so the data folder's own lock doesn't keep it
//! and `secret rotate` apart: what is sealed under the key before, after every file was sealed anew, would never open again.

use super::SecretError;
use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

/// A change takes a second.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// Held while secrets are changed; the system frees it with the process.
#[derive(Debug)]
pub(super) struct ChangeLock {
    _file: File,
}

impl ChangeLock {
    /// Waits some seconds for another process's change. `None`: there is no such folder, and in it no secret.
    pub async fn take(data_dir: &Path) -> Result<Option<ChangeLock>, SecretError> {
        if !data_dir.exists() {
            return Ok(None);
        }
        let path = data_dir.join("lock.secrets");
        let failed = |source| SecretError::File { path: path.clone(), source };
        let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(ChangeLock { _file: file })),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Err(SecretError::Changing { data_dir: data_dir.to_owned() })
    }
}
