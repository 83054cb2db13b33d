//! TLS to the boot plane, whose authority the boot script pins.
//!
//! Trusted is a certificate for the address that is asked, under the authority whose certificate has the pinned digest; that one
//! is shown with it. No list of authorities is loaded, and none would do: machines aren't asked to trust more than this one.
//!
//! **Dates are not looked at.** A machine comes up with any clock, and what could set it right is behind this connection. Nothing
//! is lost by it: the pin comes from the script of this very boot, the service renews its certificate by itself, and whoever
//! could steal an expired key from its folder would have found the authority's there, too. Rejected: a time of day in the
//! script, since a script may lie in a server's user data for months.
//!
//! TLS 1.3 with one suite, one group and one kind of signature: both ends are ours, and what isn't used isn't linked. The
//! cryptography is ring's: with aws-lc-rs, which everything else here uses, the program had 7.5 MB.

use crate::clock::Clock;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms, ring,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::SigningKey,
    version::TLS13,
};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// SHA-256 of the certificate that is trusted, as a boot script gives it: 64 hex digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaPin([u8; 32]);

impl FromStr for CaPin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        let bytes = hex::decode(text).ok().filter(|_| is_lower).and_then(|bytes| bytes.try_into().ok());
        bytes.map(CaPin).ok_or(())
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// None of the certificates that were shown has the pinned digest.
#[derive(Debug, thiserror::Error)]
#[error("none of the {shown} certificates that were shown is the one that the boot script pins (ca_sha256={pin})")]
struct NotPinned {
    shown: usize,
    pin: CaPin,
}

/// What opens connections with one pin. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// For the whole of a boot. Fails where the cryptography can't be set up, which is a mistake of ours.
    pub fn new(pin: CaPin) -> Result<Tls, Error> {
        let provider = Arc::new(provider());
        let verifier = Pinned { pin, algorithms: ALGORITHMS, seen: Mutex::default() };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Tls(Arc::new(config)))
    }

    /// The connection within TLS. Ends: each piece of the handshake has the stream's own limits, and all of it `limit`.
    pub fn open(
        &self,
        stream: TcpStream,
        host: Ipv4Addr,
        clock: &dyn Clock,
        limit: Duration,
    ) -> Result<TlsStream, TlsError> {
        let name = ServerName::IpAddress(host.into());
        let mut connection = ClientConnection::new(self.0.clone(), name).map_err(TlsError::of)?;
        let mut stream = stream;
        let started = clock.uptime();
        while connection.is_handshaking() {
            if clock.uptime().saturating_sub(started) > limit {
                return Err(TlsError::Broken(io::ErrorKind::TimedOut.into()));
            }
            if connection.wants_write() {
                connection.write_tls(&mut stream).map_err(TlsError::Broken)?;
                continue;
            }
            match connection.read_tls(&mut stream) {
                Ok(0) => return Err(TlsError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TlsError::Broken(error)),
            }
            if let Err(error) = connection.process_new_packets() {
                // So that the other end knows why; it may be gone.
                drop(connection.write_tls(&mut stream));
                return Err(TlsError::of(error));
            }
        }
        Ok(TlsStream(Box::new(rustls::StreamOwned::new(connection, stream))))
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The other end has no certificate that is trusted here. Permanent: whatever it says, it isn't asked.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(String),
    /// The other end speaks something else. Permanent.
    #[error("it speaks no TLS that is spoken here")]
    Refused(#[source] Box<Error>),
    /// The connection broke off. Transient: a service that is being restarted does that.
    #[error("the TLS handshake broke off")]
    Broken(#[source] io::Error),
}

impl TlsError {
    fn of(error: Error) -> TlsError {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(ours))) => {
                TlsError::Untrusted(ours.to_string())
            }
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsError::Untrusted(error.to_string()),
            other => TlsError::Refused(other.into()),
        }
    }
}

/// A connection within TLS.
pub struct TlsStream(Box<rustls::StreamOwned<ClientConnection, TcpStream>>);

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsStream(..)")
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// ECDSA over P-256: what the service's certificates are.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[webpki::ring::ECDSA_P256_SHA256])],
};

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &Kernel,
        key_provider: &Kernel,
    }
}

/// Random bytes are the kernel's; and there is no key of ours that a certificate is for.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        crate::system::fill_randomly(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Kernel {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("the agent has no private key".into()))
    }
}

#[derive(Debug)]
struct Pinned {
    pin: CaPin,
    algorithms: WebPkiSupportedAlgorithms,
    /// The authority's certificate, once it was shown. By its key a later one is trusted, too, with which the service has
    /// replaced it in the middle of an installation.
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Pinned {
    fn authority(&self, shown: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = shown.iter().find(|shown| <[u8; 32]>::from(Sha256::digest(shown)) == self.pin.0);
        if let Some(authority) = pinned {
            *seen = Some(authority.clone().into_owned());
        }
        seen.clone().ok_or_else(|| {
            let error = NotPinned { shown: shown.len() + 1, pin: self.pin };
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority(intermediates)?)?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let check = |at| verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], at, self.algorithms.all);
        // The reader wants a moment, so it gets one that the certificate itself names.
        match check(UnixTime::since_unix_epoch(Duration::ZERO)) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                check(not_before)?
            }
            checked => checked?,
        }
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
