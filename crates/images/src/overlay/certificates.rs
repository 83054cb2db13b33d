//! Certificates in PEM, as TLS libraries take them for roots.

use super::OverlayError;
use crate::{FileError, opened::open_file};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{io::Read, path::Path};

/// Bundles of all the roots there are have a quarter of it.
const MAX_BYTES: u64 = 1 << 20;
/// In the first line of every kind of key.
const KEY: &[u8] = b"PRIVATE KEY";

/// The file as it is, once every certificate in it could be read; it has to hold at least one, and no key.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<u8>, OverlayError> {
    let mut bytes = Vec::new();
    let file = open_file(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    match fault(&bytes) {
        Some(why) => Err(OverlayError::BadCa { path: path.to_owned(), why }),
        None => Ok(bytes),
    }
}

/// Why it can't be a file of certificates.
fn fault(bytes: &[u8]) -> Option<String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Some(format!("it is longer than {MAX_BYTES} bytes"));
    }
    if bytes.windows(KEY.len()).any(|part| part == KEY) {
        return Some("it holds a private key, and whoever may boot could read it".to_owned());
    }
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        count += 1;
        let fault = match certificate {
            Ok(certificate) => webpki::anchor_from_trusted_cert(&certificate).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(fault) = fault {
            return Some(format!("certificate {count} of it can't be read ({fault})"));
        }
    }
    (count == 0).then(|| "it holds no certificate in PEM".to_owned())
}
