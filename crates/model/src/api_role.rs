//! Roles: what a credential may do, and of which clusters.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiRole {
    /// Reads clusters, nodes, timelines and explanations.
    Viewer,
    /// Reads what a viewer reads, and the audit. Changes nothing.
    Auditor,
    /// Reads what a viewer reads, boot scripts and passwords; deploys, retries, forms and destroys.
    Operator,
    /// Does everything; the only one to make and revoke tokens.
    Admin,
}

impl ApiRole {
    /// The least first; neither of auditor and operator includes the other.
    pub const ALL: [ApiRole; 4] = [ApiRole::Viewer, ApiRole::Auditor, ApiRole::Operator, ApiRole::Admin];

    /// The word on the wire and at the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ApiRole::Viewer => "viewer",
            ApiRole::Auditor => "auditor",
            ApiRole::Operator => "operator",
            ApiRole::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn parse(word: &str) -> Option<ApiRole> {
        ApiRole::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether whoever has this one may do all that the other may.
    pub fn includes(self, other: ApiRole) -> bool {
        self == other || self == ApiRole::Admin || other == ApiRole::Viewer
    }
}

impl fmt::Display for ApiRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The clusters that a credential speaks for. On the wire `null`, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<BTreeSet<String>>", into = "Option<BTreeSet<String>>")]
pub enum Scope {
    /// All of them, whoever makes them.
    #[default]
    All,
    /// Those of these names, whether they live yet or not.
    Clusters(BTreeSet<String>),
}

impl Scope {
    /// Whether a cluster of that name is within.
    pub fn holds(&self, cluster: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Clusters(names) => names.contains(cluster),
        }
    }

    /// Whether all of the other is within.
    pub fn includes(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::All, _) => true,
            (Scope::Clusters(_), Scope::All) => false,
            (Scope::Clusters(own), Scope::Clusters(other)) => own.is_superset(other),
        }
    }
}

impl From<Option<BTreeSet<String>>> for Scope {
    fn from(names: Option<BTreeSet<String>>) -> Self {
        names.map_or(Scope::All, Scope::Clusters)
    }
}

impl From<Scope> for Option<BTreeSet<String>> {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => None,
            Scope::Clusters(names) => Some(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_all_viewer_is_in_all_and_the_two_between_are_apart() {
        use ApiRole::*;
        for (role, included) in [
            (Viewer, &[Viewer][..]),
            (Auditor, &[Viewer, Auditor]),
            (Operator, &[Viewer, Operator]),
            (Admin, &ApiRole::ALL),
        ] {
            let found: Vec<ApiRole> = ApiRole::ALL.into_iter().filter(|other| role.includes(*other)).collect();
            assert_eq!(found, included, "{role}");
            assert_eq!(ApiRole::parse(role.as_str()), Some(role));
        }
        assert_eq!(ApiRole::parse("root"), None);
    }

    #[test]
    fn a_scope_includes_what_is_no_wider() {
        let of = |names: &[&str]| Scope::Clusters(names.iter().map(|&name| name.to_owned()).collect());
        assert!(Scope::All.includes(&Scope::All) && Scope::All.includes(&of(&["a"])));
        assert!(of(&["a", "b"]).includes(&of(&["a"])) && of(&["a"]).includes(&of(&["a"])));
        assert!(!of(&["a"]).includes(&of(&["a", "b"])) && !of(&["a"]).includes(&Scope::All));
        assert!(of(&["a"]).holds("a") && !of(&["a"]).holds("ab") && Scope::All.holds("ab"));
    }

    #[test]
    fn a_scope_is_null_or_a_list_of_names() {
        for (text, scope) in [("null", Scope::All), (r#"["a"]"#, Scope::Clusters(["a".to_owned()].into()))] {
            assert_eq!(serde_json::from_str::<Scope>(text).unwrap(), scope);
            assert_eq!(serde_json::to_string(&scope).unwrap(), text);
        }
    }
}
