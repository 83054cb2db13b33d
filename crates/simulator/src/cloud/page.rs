//! One page of a collection: `limit` (default 50, at most 100), an opaque `start`, and `next` only if there is more.

use super::{error::ApiError, fields::Refused};
use crate::http::Request;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::form_urlencoded;

/// Renders the page that was asked for. Items come in ascending order of the number beside them, which `start` carries
/// in disguise; so a page begins right even after something was deleted in between.
pub(super) fn page<T>(
    request: &Request,
    href: &str,
    name: &str,
    items: &[(u64, T)],
    render: impl Fn(&T) -> Value,
) -> Refused<Value> {
    let limit = match request.query("limit") {
        None => 50,
        Some(text) => match text.parse::<usize>() {
            Ok(limit @ 1..=100) => limit,
            _ => return Err(ApiError::bad_parameter("limit", "must be 1 to 100")),
        },
    };
    let from = match request.query("start") {
        None => 0,
        Some(start) => read_start(start).ok_or_else(|| ApiError::bad_parameter("start", "is not a page token"))?,
    };
    let begin = items.partition_point(|(seq, _)| *seq < from);
    let end = items.len().min(begin + limit);
    let link = |start: Option<u64>| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        let filters = request
            .query
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "limit" | "start" | "version" | "generation"));
        query.extend_pairs(filters);
        if let Some(seq) = start {
            query.append_pair("start", &write_start(seq));
        }
        json!({"href": format!("{href}?{}", query.finish())})
    };
    let mut body = json!({"first": link(None), "limit": limit, "total_count": items.len()});
    body[name] = items[begin..end].iter().map(|(_, item)| render(item)).collect();
    if let Some((seq, _)) = items.get(end) {
        body["next"] = link(Some(*seq));
    }
    Ok(body)
}

fn write_start(seq: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("p{seq:08}"))
}

fn read_start(text: &str) -> Option<u64> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?.strip_prefix('p')?.parse().ok()
}

/// Refuses query parameters that the operation does not have: a filter that does nothing would look like one that
/// matches everything.
pub(super) fn only_parameters(request: &Request, known: &[&str]) -> Refused<()> {
    let unknown = request
        .query
        .iter()
        .find(|(key, _)| !matches!(key.as_str(), "version" | "generation") && !known.contains(&key.as_str()));
    match unknown {
        Some((key, _)) => Err(ApiError::bad_parameter(key, "is not a parameter of this operation")),
        None => Ok(()),
    }
}

/// Whether a comma-separated filter lets the value through.
pub(super) fn filter(request: &Request, name: &str, value: &str) -> bool {
    request.query(name).is_none_or(|wanted| wanted.split(',').any(|each| each == value))
}
