//! Who somebody is to us, by what the provider says of them. Pure.

use super::{OidcConfig, id_token::Claims};
use metalform_model::ApiRole;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody whom the provider knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What the provider calls them, unchanging.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// Their role; `None`: none of their groups has one.
    pub role: Option<ApiRole>,
}

impl Identity {
    /// How the audit calls them.
    pub(crate) fn who(&self) -> String {
        format!("oidc:{} ({})", self.name, self.subject)
    }

    /// Reads it out of what is believed.
    pub(crate) fn of(claims: &Claims, config: &OidcConfig) -> Identity {
        let text = |name: &str| claims.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let subject = text("sub").unwrap_or_default();
        let name = ["preferred_username", "email", "name"].into_iter().find_map(text).unwrap_or(subject);
        Identity {
            subject: clean(subject, 255),
            name: clean(name, MAX_NAME),
            role: role_of(&groups(&claims.0, &config.role_claim), &config.roles),
        }
    }
}

const MAX_NAME: usize = 80;

/// Stands in audit lines: no control characters, and not endless.
fn clean(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// A list of texts, or one text; under its own name, or where dots lead to (`realm_access.roles`).
fn groups<'a>(claims: &'a Map<String, Value>, path: &str) -> BTreeSet<&'a str> {
    let found = claims.get(path).or_else(|| {
        let mut parts = path.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    });
    match found {
        Some(Value::String(one)) => [one.as_str()].into(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// The first of these that one of the groups has. A person has one role; operator and auditor are apart, so whoever is in groups of
/// both is the one who can do something.
fn role_of(groups: &BTreeSet<&str>, roles: &BTreeMap<ApiRole, Vec<String>>) -> Option<ApiRole> {
    [ApiRole::Admin, ApiRole::Operator, ApiRole::Auditor, ApiRole::Viewer]
        .into_iter()
        .find(|role| roles.get(role).is_some_and(|names| names.iter().any(|name| groups.contains(name.as_str()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(claims: Value, role_claim: &str) -> Identity {
        let config: OidcConfig = toml::from_str(&format!(
            "issuer = \"https://id\"\nclient_id = \"a\"\nrole_claim = \"{role_claim}\"\n\
             roles = {{ admin = [\"root\"], operator = [\"ops\", \"sre\"], auditor = [\"audit\"], viewer = [\"all\"] }}"
        ))
        .unwrap();
        Identity::of(&Claims(claims.as_object().unwrap().clone()), &config)
    }

    #[test]
    fn the_strongest_of_the_groups_gives_the_role_and_none_gives_none() {
        for (groups, role) in [
            (json!(["all", "sre", "x"]), Some(ApiRole::Operator)),
            (json!(["all", "root"]), Some(ApiRole::Admin)),
            (json!(["audit", "ops"]), Some(ApiRole::Operator)),
            (json!(["audit"]), Some(ApiRole::Auditor)),
            (json!("all"), Some(ApiRole::Viewer)),
            (json!(["All", "roots", "roo", ""]), None),
            (json!([]), None),
            (json!({"root": true}), None),
            (json!([["root"], 1, null]), None),
            (Value::Null, None),
        ] {
            assert_eq!(identity(json!({"sub": "1", "groups": groups}), "groups").role, role, "{groups}");
        }
        assert_eq!(identity(json!({"sub": "1"}), "groups").role, None);
    }

    #[test]
    fn the_claim_of_the_groups_may_lie_within_others_and_may_have_dots_in_its_name() {
        let nested = json!({"sub": "1", "realm_access": {"roles": ["ops"]}});
        assert_eq!(identity(nested, "realm_access.roles").role, Some(ApiRole::Operator));
        let dotted = json!({"sub": "1", "https://example.com/roles": ["audit"]});
        assert_eq!(identity(dotted, "https://example.com/roles").role, Some(ApiRole::Auditor));
        assert_eq!(identity(json!({"sub": "1", "a": "ops"}), "a.b").role, None);
    }

    #[test]
    fn a_name_is_what_people_call_somebody_and_fits_into_a_line() {
        let who = |claims| identity(claims, "groups").who();
        assert_eq!(who(json!({"sub": "7", "preferred_username": "ann", "email": "a@b"})), "oidc:ann (7)");
        assert_eq!(who(json!({"sub": "7", "preferred_username": "", "email": "a@b"})), "oidc:a@b (7)");
        assert_eq!(who(json!({"sub": "7"})), "oidc:7 (7)");
        assert_eq!(who(json!({"sub": "7", "name": "a\nb\u{1b}[2J"})), "oidc:ab[2J (7)");
        assert_eq!(who(json!({"sub": "7", "name": "x".repeat(1000)})).len(), 80 + "oidc: (7)".len());
    }
}
