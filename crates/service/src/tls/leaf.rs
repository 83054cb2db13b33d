//! The server certificate that our own authority signs. Key and certificate are one file, so that after a crash both are
//! there or neither; one that can't be read costs nothing but a new one.

use super::{
    TlsError,
    authority::{Authority, set_validity},
    certificate::{Facts, Validity, is_signed_by},
    pair,
};
use crate::secrets::{self, SealedFiles, SecretError};
use metalform_model::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeSet, fmt, io::ErrorKind, path::Path, sync::Arc, time::Duration};

const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// Whose certificate it is. Each plane has a key of its own: the boot plane shows its certificate to a network that the
/// operators' isn't shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plane {
    /// People have the authority's certificate already.
    Control,
    /// Machines have its digest alone, so it is shown, too.
    Boot,
}

impl Plane {
    fn file(self) -> &'static str {
        match self {
            Plane::Control => "server.pem",
            Plane::Boot => "boot.pem",
        }
    }

    fn common_name(self) -> &'static str {
        match self {
            Plane::Control => "Metalform control plane",
            Plane::Boot => "Metalform boot plane",
        }
    }
}

/// A server certificate of ours with its key.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub key: Arc<CertifiedKey>,
    pub facts: Facts,
}

/// Why a new one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// There is none.
    Missing,
    /// There is a file, and it holds none.
    Unreadable,
    /// It doesn't hold yet, or two thirds of its time are over.
    Due,
    /// It is for other names than the service goes by.
    OtherNames,
    /// It is signed by another authority than ours.
    OtherAuthority,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Missing => "there was none",
            Reason::Unreadable => "the one there was can't be read",
            Reason::Due => "two thirds of its time are over, or it doesn't hold yet",
            Reason::OtherNames => "the service goes by other names now",
            Reason::OtherAuthority => "our authority is another one now",
        })
    }
}

impl Leaf {
    /// Reads the plane's file in the folder; makes a new one where there is a reason. Gives that reason, too.
    pub fn load_or_make(
        folder: &Path,
        sealed: &SealedFiles,
        plane: Plane,
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(Leaf, Option<Reason>), TlsError> {
        let failed = |source| TlsError::File { doing: "make", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let authority = Authority::load_or_make(folder, sealed, now)?;
        let path = folder.join(plane.file());
        let present = match secrets::read(&path) {
            Ok(pem) => read(&pem, &path).map_err(|_| Reason::Unreadable),
            Err(SecretError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Err(Reason::Missing),
            // Whoever may have read the key can pass for this service.
            Err(SecretError::Open { .. } | SecretError::Content { .. }) => Err(Reason::Unreadable),
            Err(error) => return Err(error.into()),
        };
        let reason = match present {
            Ok(leaf) => match reason(&leaf, &authority, names, now) {
                None => return Ok((leaf.shown_by(plane, &authority), None)),
                Some(reason) => reason,
            },
            Err(reason) => reason,
        };
        let pem = make(&authority, plane, names, now)?;
        let failed = |source| TlsError::File { doing: "write", path: path.clone(), source };
        secrets::write_whole(&path, pem.expose_secret().as_bytes(), 0o600).map_err(failed)?;
        let leaf = read(&pem, &path)?.shown_by(plane, &authority);
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::info!(%reason, until = %leaf.facts.validity.not_after, names, "a new server certificate is made");
        Ok((leaf, Some(reason)))
    }

    fn shown_by(self, plane: Plane, authority: &Authority) -> Leaf {
        match plane {
            Plane::Control => self,
            Plane::Boot => {
                let mut key = (*self.key).clone();
                key.cert.truncate(1);
                // The present one first: that is what new scripts pin.
                key.cert.push(authority.certificate.clone());
                key.cert.extend(authority.earlier.iter().cloned());
                Leaf { key: Arc::new(key), ..self }
            }
        }
    }
}

fn reason(leaf: &Leaf, authority: &Authority, names: &BTreeSet<String>, now: Timestamp) -> Option<Reason> {
    let is_ours = leaf.key.cert.first().is_some_and(|der| is_signed_by(der, &authority.certificate));
    if !is_ours {
        Some(Reason::OtherAuthority)
    } else if leaf.facts.validity.is_due(now) {
        Some(Reason::Due)
    } else if leaf.facts.names != *names {
        Some(Reason::OtherNames)
    } else {
        None
    }
}

fn read(pem: &SecretString, path: &Path) -> Result<Leaf, TlsError> {
    let pem = pem.expose_secret();
    let key = pair::certified(pem.as_bytes(), path, pem.as_bytes(), path)?;
    let facts = key.cert.first().and_then(|der| Facts::of(der));
    let facts = facts.ok_or(TlsError::Content { path: path.to_owned(), what: "X.509 certificate" })?;
    Ok(Leaf { key: Arc::new(key), facts })
}

/// A new key, and a certificate over it.
fn make(
    authority: &Authority,
    plane: Plane,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<SecretString, TlsError> {
    let failed = |source| TlsError::Make { what: "a server certificate", source };
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, plane.common_name());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, Validity::starting(now, LIFETIME).within(authority.validity));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, &authority.issuer).map_err(failed)?;
    Ok(SecretString::from(format!("{}{}", key.serialize_pem(), certificate.pem())))
}
