//! The document that describes the control plane, made from the handlers' own annotations. What every guarded route has in
//! common (who may call it, and how it refuses) is added from the table of policies, so that no annotation can forget it.

use super::{
    audit, clusters, credentials, events, nodes, page,
    policy::{ROUTES, Route, Verb},
    tokens,
};
use axum::Json;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        RefOr, ResponseBuilder,
        extensions::ExtensionsBuilder,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Metalform", description = "From a plan to a healthy Nutanix cluster"),
    paths(
        page::page,
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
        tokens::revoke
    ),
    components(schemas(tokens::NewToken, tokens::ClusterName, clusters::RetryRequest))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "the document")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(complete())
}

/// The name of the one way to show a credential.
const SCHEME: &str = "token";

fn complete() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "an API token (`metalform token create`), or the text of `token` in the service's data folder",
    ));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(SCHEME.into(), RefOr::T(SecurityScheme::Http(bearer.build())));
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
    let Some(roles) = route.policy.roles() else {
        operation.security = Some(Vec::new());
        return;
    };
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    operation.security = Some(vec![SecurityRequirement::new(SCHEME, [""; 0])]);
    operation.extensions = Some(ExtensionsBuilder::new().add("x-roles", json!(words)).build());
    let role = format!(
        "the token's role, or the clusters that it is limited to, don't allow it; it takes {}",
        words.join(", ")
    );
    let mut may = |status: u16, description: &str| {
        let response = ResponseBuilder::new().description(description).build();
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    };
    may(401, "no valid token");
    may(403, &role);
    may(429, "too many calls, or too many without a valid token: see Retry-After");
    may(503, "the store doesn't answer: see Retry-After");
    if route.path.contains('{') {
        may(400, "a path that isn't UTF-8");
    }
    if route.verb == Verb::Post {
        may(408, "the body doesn't come to an end");
        may(413, "the body is too large");
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
