//! What a machine shows to get something, or to be heard: its boot token, or the signature of its session. Beside the check
//! of its address, never instead of it.
//!
//! Without an exchange the token is enough: image sets without our agent know nothing else. Once it was exchanged, it is
//! good for the script and for the exchange of a later round, and for nothing else in that boot attempt: whoever has read
//! it on a console or a command line is late. Rejected: the token alone again in each new round. Whoever has it could
//! begin one by fetching the script, and then report in the node's name without leaving a key behind.
//!
//! In a round whose script pins our authority the token alone is good for nothing but the exchange: there is an agent, and
//! it exchanges first. So what is secret in a document is told to one key of a round and to nobody else; and it is told over
//! TLS. A session goes on over what it was begun over: one that an older script began isn't ended by a later script.

use crate::{BootAttemptRef, BootNode, BootPlane, Channel, Refusal, query::BootQuery, session::RequestCounted};
use axum::http::{HeaderMap, Method};
use metalform_model::{RequestSignature, SIGNATURE_HEADER, Trust};

/// A request, as far as it can be signed.
pub(crate) struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a BootQuery<'a>,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub channel: Channel,
}

/// The attempt that a request is of, and by what that was shown. It may be closed.
///
/// A signature's number is remembered before anything is done: a request that is answered with an error is not signed for
/// another time either.
pub(crate) async fn prove(
    plane: &BootPlane,
    node: &BootNode,
    asked: &Asked<'_>,
) -> Result<(BootAttemptRef, Trust), Refusal> {
    let Some(header) = asked.headers.get(SIGNATURE_HEADER) else {
        let attempt = plane.check_token(asked.query, node)?;
        let is_pinned = plane.is_pinned(node);
        plane.check_channel(is_pinned, asked.channel)?;
        let needs_session = is_pinned || node.session.is_some();
        return if needs_session { Err(Refusal::SessionNeeded) } else { Ok((attempt, Trust::Token)) };
    };
    let attempt = node.attempt.ok_or(Refusal::NotInstalling)?;
    // What isn't known for sure ends no installer: a machine that is told so asks again.
    let unknown = if node.is_recalled { Refusal::StoreAway } else { Refusal::SessionUnknown };
    let session = node.session.ok_or(unknown)?;
    plane.check_channel(session.over_tls, asked.channel)?;
    let signed: RequestSignature =
        header.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Refusal::SignatureWrong)?;
    if !session.has_signed(&signed, asked.method.as_str(), asked.path, asked.body) {
        return Err(Refusal::SignatureWrong);
    }
    match plane.in_time(plane.sessions.count_request(attempt.id, session.key, signed.counter)).await? {
        RequestCounted::New => Ok((attempt, Trust::Session)),
        RequestCounted::Stale { last } => Err(Refusal::SignatureStale { last }),
    }
}

/// The attempt that an installer's callback is of: by the token in the URL that only its document names. The boot token
/// does as long as it wasn't exchanged.
pub(crate) fn prove_progress(
    plane: &BootPlane,
    node: &BootNode,
    query: &BootQuery<'_>,
) -> Result<BootAttemptRef, Refusal> {
    if let Some((token, attempt)) = query.token.zip(node.attempt)
        && plane.key.is_progress_token_of(token, attempt.id)
    {
        return Ok(attempt);
    }
    let attempt = plane.check_token(query, node)?;
    if plane.is_pinned(node) || node.session.is_some() { Err(Refusal::SessionNeeded) } else { Ok(attempt) }
}
