//! The document that describes the control plane, made from the handlers' own annotations. What every guarded route has in
//! common (who may call it, and how it refuses) is added from the table of policies, so that no annotation can forget it.

use super::{
    audit, auth, clusters, credentials, events, grant, nodes, oidc, page,
    policy::{Policy, ROUTES, Route, Verb},
    sessions, signed_in, tokens, users,
};
use axum::Json;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        RefOr, ResponseBuilder,
        extensions::ExtensionsBuilder,
        path::{Operation, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Metalform", description = "From a plan to a healthy Nutanix cluster"),
    paths(
        page::page,
        page::script,
        page::alive,
        page::ready,
        document,
        clusters::list,
        clusters::create,
        clusters::show,
        clusters::destroy,
        clusters::retry,
        clusters::form,
        credentials::read,
        events::events,
        nodes::list,
        nodes::show,
        nodes::script,
        nodes::explain,
        audit::list,
        audit::head,
        tokens::list,
        tokens::create,
        tokens::revoke,
        sessions::show,
        sessions::login,
        sessions::logout,
        signed_in::list,
        signed_in::end,
        oidc::begin,
        oidc::finish,
        users::list,
        users::create,
        users::remove,
        users::set_password
    ),
    components(schemas(
        tokens::NewToken,
        grant::ClusterName,
        clusters::RetryRequest,
        sessions::Login,
        users::NewUser,
        users::NewPassword
    ))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "the document")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(complete())
}

/// The names of the two ways to show a credential, and of what goes with the second where something is changed.
const SCHEME: &str = "token";
const SESSION_SCHEME: &str = "session";
const CSRF_SCHEME: &str = "csrf";

fn complete() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "an API token (`metalform token create`), or the text of `token` in the service's data folder",
    ));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(SCHEME.into(), RefOr::T(SecurityScheme::Http(bearer.build())));
    let cookie = ApiKeyValue::with_description(
        "__Host-metalform",
        "the session of `POST /api/v1/session`; called `metalform` where the service speaks plain HTTP",
    );
    components.security_schemes.insert(SESSION_SCHEME.into(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Cookie(cookie))));
    let csrf = ApiKeyValue::with_description(auth::CSRF_HEADER, "`csrf_token` of `GET /api/v1/session`");
    components.security_schemes.insert(CSRF_SCHEME.into(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Header(csrf))));
    for route in ROUTES {
        if let Some(operation) = document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.verb)) {
            operation.operation_id = Some(snake_case(&format!("{:?}", route.operation)));
            describe(operation, route);
        }
    }
    document
}

/// `ListClusters` as programs that are made from the document call it: `list_clusters`.
fn snake_case(name: &str) -> String {
    let mut word = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

fn operation(item: &mut PathItem, verb: Verb) -> Option<&mut Operation> {
    match verb {
        Verb::Get => item.get.as_mut(),
        Verb::Post => item.post.as_mut(),
        Verb::Delete => item.delete.as_mut(),
    }
}

/// Who may call it, and every refusal that may come before the handler or from below it.
fn describe(operation: &mut Operation, route: &Route) {
    let security =
        |names: &[&str]| names.iter().fold(SecurityRequirement::default(), |all, name| all.add(*name, [""; 0]));
    let words: Option<Vec<&str>> = route.policy.roles().map(|roles| roles.iter().map(|role| role.as_str()).collect());
    operation.security = Some(match (&words, route.verb) {
        (None, _) => Vec::new(),
        (Some(_), Verb::Get) => vec![security(&[SCHEME]), security(&[SESSION_SCHEME])],
        (Some(_), Verb::Post | Verb::Delete) => vec![security(&[SCHEME]), security(&[SESSION_SCHEME, CSRF_SCHEME])],
    });
    if route.policy == Policy::Public {
        return;
    }
    let mut may = |status: u16, description: &str| {
        let response = ResponseBuilder::new().description(description).build();
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    };
    match &words {
        Some(words) => {
            may(401, "no valid token, and no session");
            let role = "the role, or the clusters that the credential is limited to, don't allow it, or another site had the \
                        browser call";
            may(403, &format!("{role}; it takes {}", words.join(", ")));
        }
        None => may(403, "another site had the browser call"),
    }
    may(429, "too many calls, or too many without a valid credential: see Retry-After");
    may(503, "the store doesn't answer: see Retry-After");
    if route.path.contains('{') {
        may(400, "a path that isn't UTF-8");
    }
    if route.verb == Verb::Post {
        may(408, "the body doesn't come to an end");
        may(413, "the body is too large");
    }
    if let Some(words) = words {
        operation.extensions = Some(ExtensionsBuilder::new().add("x-roles", json!(words)).build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_operations_have_the_same_id() {
        let document = serde_json::to_value(complete()).unwrap();
        let items = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<&str> = items.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.contains(&"list_clusters") && ids.contains(&"page"), "{ids:?}");
    }

    /// Both ways: what is served is described, and what is described is served.
    #[test]
    fn the_document_and_the_table_of_policies_speak_of_the_same_routes() {
        let document = serde_json::to_value(complete()).unwrap();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|verb| (path.clone(), verb.clone())))
            .collect();
        let stated: BTreeSet<(String, String)> =
            ROUTES.iter().map(|route| (route.path.to_owned(), format!("{:?}", route.verb).to_lowercase())).collect();
        assert_eq!(described, stated);
        assert_eq!(stated.len(), ROUTES.len(), "no route stands twice");
    }
}
