//! Our own authority: a key that is made once, and a certificate over it.
//!
//! The key is written first. A crash between the two leaves a key without a certificate, and the next start makes one over
//! it; so does a certificate that nears its end. Name and key stay the same then, and a copy of the old one that a client
//! has goes on to be good until its own end. So does a copy of its digest: scripts that stand in user data pin the certificate
//! that was the present one when they were made, so earlier ones over the same key are kept in `ca-earlier.pem`, written before
//! the present one is replaced, and shown to machines until their own end.

use super::{
    TlsError,
    certificate::{self, Facts, Validity},
};
use crate::secrets::{self, CA_KEY, SealedFiles};
use metalform_model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use std::{
    io::ErrorKind,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What signs our server certificates.
#[derive(Debug)]
pub(super) struct Authority {
    pub certificate: CertificateDer<'static>,
    /// Those before it over the same key that haven't ended, the oldest first.
    pub earlier: Vec<CertificateDer<'static>>,
    pub validity: Validity,
    pub issuer: Issuer<'static, KeyPair>,
}

/// Both planes look at it, each in its own time: two that renew it at once would each go on with another certificate.
static ALONE: Mutex<()> = Mutex::new(());

impl Authority {
    /// Reads `ca.key`, which is sealed, `ca.pem` and `ca-earlier.pem` of the folder, or makes what isn't there, or is due.
    pub fn load_or_make(folder: &Path, sealed: &SealedFiles, now: Timestamp) -> Result<Authority, TlsError> {
        // What it guards are files, each whole after every step.
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (cert, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        let pair = load_or_make_key(&key, sealed, &cert)?;
        let present = read_certificate(&cert)?;
        if let Some(der) = &present
            && certificate::public_key(der).as_deref() != Some(pair.public_key_raw())
        {
            return Err(TlsError::Mismatch { cert, key });
        }
        let earlier_file = folder.join("ca-earlier.pem");
        let mut earlier = read_earlier(&earlier_file, &pair, now)?;
        let certificate = match present {
            Some(der) if Facts::of(&der).is_some_and(|facts| !facts.validity.is_due(now)) => der,
            other => {
                let (der, pem) = sign(&pair, now)?;
                if let Some(before) = other.as_ref().filter(|before| !earlier.contains(before) && holds(before, now)) {
                    keep(&cert, &earlier_file)?;
                    earlier.push(before.clone());
                }
                let failed = |source| TlsError::File { doing: "write", path: cert.clone(), source };
                secrets::write_whole(&cert, pem.as_bytes(), 0o644).map_err(failed)?;
                let what = if other.is_some() { "renewed over the same key" } else { "made" };
                tracing::info!(file = %cert.display(), "the certificate of our own authority is {what}");
                der
            }
        };
        let facts = Facts::of(&certificate).ok_or(TlsError::Content { path: cert, what: "X.509 certificate" })?;
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)
            .map_err(|source| TlsError::Make { what: "certificates of our own authority", source })?;
        earlier.retain(|der| *der != certificate);
        Ok(Authority { certificate, earlier, validity: facts.validity, issuer })
    }
}

fn load_or_make_key(path: &Path, sealed: &SealedFiles, cert: &Path) -> Result<KeyPair, TlsError> {
    match sealed.open_file(path, CA_KEY) {
        Ok(pem) => KeyPair::from_pem(pem.expose_secret())
            .map_err(|_| TlsError::Content { path: path.to_owned(), what: "private key" }),
        Err(error) if error.is_not_found() => {
            if cert.exists() {
                return Err(TlsError::KeyLost { cert: cert.to_owned(), key: path.to_owned() });
            }
            let pair = KeyPair::generate().map_err(|source| TlsError::Make { what: "a private key", source })?;
            sealed.seal_file(path, CA_KEY, &SecretString::from(pair.serialize_pem()))?;
            Ok(pair)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, TlsError> {
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TlsError::File { doing: "read", path: path.to_owned(), source }),
    };
    let der = CertificateDer::from_pem_slice(&pem);
    der.map(Some).map_err(|_| TlsError::Content { path: path.to_owned(), what: "certificate" })
}

/// Those of the file that are over that key and haven't ended. No file: none was renewed yet.
fn read_earlier(path: &Path, key: &KeyPair, now: Timestamp) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TlsError::File { doing: "read", path: path.to_owned(), source }),
    };
    let bad = || TlsError::Content { path: path.to_owned(), what: "certificate" };
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| bad())?;
    let is_over = |der: &CertificateDer<'_>| certificate::public_key(der).as_deref() == Some(key.public_key_raw());
    Ok(all.into_iter().filter(|der| is_over(der) && holds(der, now)).collect())
}

/// Whether it hasn't ended.
fn holds(der: &CertificateDer<'_>, now: Timestamp) -> bool {
    Facts::of(der).is_some_and(|facts| now <= facts.validity.not_after)
}

/// Adds what `cert` holds to the earlier ones.
fn keep(cert: &Path, earlier: &Path) -> Result<(), TlsError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { doing, path, source }
    };
    let mut pem = match std::fs::read(earlier) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(failed("read", earlier))?,
    };
    pem.extend(std::fs::read(cert).map_err(failed("read", cert))?);
    pem.push(b'\n');
    secrets::write_whole(earlier, &pem, 0o644).map_err(failed("write", earlier))
}

/// The certificate over a key, as DER and PEM.
fn sign(key: &KeyPair, now: Timestamp) -> Result<(CertificateDer<'static>, String), TlsError> {
    let mut params = CertificateParams::default();
    // After the key, so that the same key has the same name whenever it signs, and another key has another one: a client
    // that trusts two of our authorities can tell them apart.
    let id = hex::encode(params.key_identifier(key).get(..8).unwrap_or_default());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Metalform CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, Validity::starting(now, LIFETIME));
    let made = params.self_signed(key);
    let made = made.map_err(|source| TlsError::Make { what: "the certificate of our own authority", source })?;
    Ok((made.der().clone(), made.pem()))
}

/// Writes the times down in the library's own type, which has no name here.
pub(super) fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let date = |at: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_micros(u64::try_from(at.0).unwrap_or_default())
    };
    (params.not_before, params.not_after) = (date(validity.not_before), date(validity.not_after));
}
