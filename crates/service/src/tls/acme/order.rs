//! One order: what the authority is asked and shown until it issues a certificate. RFC 8555; what it is shown is tls-alpn-01,
//! RFC 8737, because that needs no other port than the one people use, and nobody's DNS.

use super::{super::presented::Presented, AcmeError};
use crate::tls::TlsError;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use secrecy::SecretString;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How long the authority may look for us, and how long it may take to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));

/// Key and chain, as one text.
pub(super) async fn order(
    account: &Account,
    domains: &BTreeSet<String>,
    presented: &Presented,
) -> Result<SecretString, AcmeError> {
    let identifiers: Vec<_> = domains.iter().cloned().map(Identifier::Dns).collect();
    let order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(asked("take an order"))?;
    let issued = fulfil(order, presented).await;
    presented.end_challenges();
    issued
}

async fn fulfil(mut order: Order, presented: &Presented) -> Result<SecretString, AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(asked("say what it wants to be shown"))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| AcmeError::NoChallenge { domain: domain.clone() })?;
        let shown = answer(&domain, challenge.key_authorization().digest().as_ref());
        presented.show_challenge(domain, shown.map_err(|error| AcmeError::Certificate(error.into()))?);
        challenge.set_ready().await.map_err(asked("look for this service"))?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(not_found(&mut order).await),
        // An order that has failed brings a problem, which says less than that of the name that failed.
        Err(Error::Api(problem)) => {
            return Err(match not_found(&mut order).await {
                found @ AcmeError::NotFound { .. } => found,
                _ => asked("find this service")(Error::Api(problem)),
            });
        }
        Err(error) => return Err(asked("find this service in time")(error)),
    }
    let key = order.finalize().await.map_err(asked("take the request for a certificate"))?;
    let chain = order.poll_certificate(&PATIENCE).await.map_err(asked("issue the certificate"))?;
    Ok(SecretString::from(format!("{key}{chain}")))
}

fn asked(what: &'static str) -> impl Fn(Error) -> AcmeError {
    move |source| AcmeError::Asked { what, source }
}

/// Which name the authority did not find us behind, and what it says of that.
async fn not_found(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return AcmeError::NotFound { domain, why: problem.to_string() };
        }
    }
    asked("find this service")(Error::Str("the order is invalid, and no challenge says why"))
}

/// The certificate that shows the authority who we are: for that name, with a digest that it can reckon, too.
fn answer(domain: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let failed = |source| TlsError::Make { what: "the answer to a challenge", source };
    let mut params = CertificateParams::new([domain.to_owned()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let pair = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&pair).map_err(failed)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    // Not by way of the check that the two belong together: it refuses the extension, which must be critical.
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(TlsError::Setup)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
