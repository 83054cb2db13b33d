//! Refusals in the VPC API's shape: `{"errors":[{"code","message","more_info","target"?}],"trace"}`.
//!
//! The codes for conflicts of bare metal servers are not published: clients have to match the HTTP status first.

use serde_json::{Value, json};

/// A refused request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub status: u16,
    pub code: String,
    pub message: String,
    pub target: Option<(&'static str, String)>,
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        ApiError { status, code: code.into(), message: message.into(), target: None, retry_after: None }
    }

    fn field(self, name: impl Into<String>) -> Self {
        ApiError { target: Some(("field", name.into())), ..self }
    }

    fn parameter(self, name: &str) -> Self {
        ApiError { target: Some(("parameter", name.into())), ..self }
    }

    /// 404: the id in the path.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, "not_found", format!("The {what} with ID {id} could not be found.")).parameter("id")
    }

    /// 400: what the body refers to does not exist.
    pub fn no_such(what: &str, field: &str) -> Self {
        Self::new(400, "not_found", format!("The {what} named by {field} could not be found.")).field(field)
    }

    pub fn invalid(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self::new(400, "invalid_value", format!("{field}: {why}")).field(field)
    }

    pub fn missing(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::new(400, "missing_field", format!("{field} is required.")).field(field)
    }

    pub fn unknown_field(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::new(400, "unknown_field", format!("{field} is not a known field.")).field(field)
    }

    pub fn bad_parameter(name: &str, why: &str) -> Self {
        Self::new(400, "invalid_value", format!("{name}: {why}")).parameter(name)
    }

    pub fn missing_parameter(name: &str) -> Self {
        Self::new(400, "missing_value", format!("The query parameter {name} is required.")).parameter(name)
    }

    /// 400, with the text seen for VPCs (IBM/vpc-python-sdk PR 65).
    pub fn name_taken(name: &str) -> Self {
        Self::new(400, "validation_unique_failed", format!("Provided Name ({name}) is not unique")).field("name")
    }

    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(409, code, message)
    }

    /// 409, with the text seen for instances (terraform-provider-ibm issue 2541).
    pub fn wrong_status() -> Self {
        Self::conflict(
            "invalid_state",
            "An action was requested on a resource which is not supported at the current status of the resource.",
        )
    }

    pub fn in_use(what: &str, id: &str) -> Self {
        Self::conflict("resource_in_use", format!("The {what} {id} is in use."))
    }

    pub fn unauthenticated() -> Self {
        Self::new(401, "not_authenticated", "The token is expired, missing or not valid.")
    }

    pub fn not_simulated(method: &str, path: &str) -> Self {
        Self::new(501, "not_simulated", format!("{method} {path} is not simulated."))
    }

    /// What a server create answers when the interface it should make is refused: the inner answer as text
    /// (terraform-provider-ibm issue 5389).
    pub fn inside_server_create(self, trace: &str) -> Self {
        let inner = json!({"errors": [{"code": self.code, "message": self.message}], "trace": trace});
        Self::new(self.status, "bad_field", format!("Handler Error: Status={}, JSON={inner}", self.status))
    }

    pub fn body(&self, trace: &str) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "more_info": ""});
        if let Some((kind, name)) = &self.target {
            error["target"] = json!({"type": kind, "name": name});
        }
        json!({"errors": [error], "trace": trace})
    }
}
