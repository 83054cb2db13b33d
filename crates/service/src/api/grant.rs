//! What one credential may hand on to another: names, a role, clusters. Never more than it has itself.

use super::{ApiError, caller::Caller};
use metalform_model::{ApiRole, ApiToken, Scope, plan_rules};

/// Clusters that one credential may be limited to.
const MAX_CLUSTERS: usize = 100;

/// How a plan may call its cluster.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,74}$")]
#[expect(dead_code, reason = "it is there for the document, where a list can't say what its items are like")]
pub(super) struct ClusterName(String);

/// That it is a name that `what` (a token, a user) can have.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    if ApiToken::is_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let hint = "1 to 40 lower-case letters, digits, dots, underscores and hyphens, the first a letter or digit";
    Err(ApiError::new(400, "bad_request", format!("{shown:?} can't be a {what}'s name"), hint))
}

/// The scope of those clusters; of all, where none is named.
pub(super) fn scope_of(clusters: Option<Vec<String>>) -> Result<Scope, ApiError> {
    let bad = |message: String, hint: &str| Err(ApiError::new(400, "bad_request", message, hint));
    let Some(names) = clusters else { return Ok(Scope::All) };
    if !(1..=MAX_CLUSTERS).contains(&names.len()) {
        let hint = "name 1 to 100 clusters, or leave `clusters` out for all";
        return bad(format!("nothing can be limited to {} clusters", names.len()), hint);
    }
    if let Some(name) = names.iter().find(|name| !plan_rules::is_cluster_name(name)) {
        let shown: String = name.chars().take(80).collect();
        return bad(format!("{shown:?} can't be a cluster's name"), "name clusters as their plans do");
    }
    Ok(Scope::Clusters(names.into_iter().collect()))
}

/// That the caller may hand on that role and scope.
pub(super) fn check_reach(caller: &Caller, role: ApiRole, clusters: &Scope) -> Result<(), ApiError> {
    if !caller.role.includes(role) {
        let message = format!("whoever has the role {} can't give the role {role}", caller.role);
        return Err(ApiError::new(403, "role_insufficient", message, "ask for a lesser role"));
    }
    if !caller.scope.includes(clusters) {
        let message = "whoever is limited to clusters can't give more of them";
        return Err(ApiError::new(403, "scope_insufficient", message, "name clusters that the caller is limited to"));
    }
    Ok(())
}

/// The clusters, in the words of the audit.
pub(super) fn in_words(clusters: &Scope) -> String {
    match clusters {
        Scope::All => "all clusters".to_owned(),
        Scope::Clusters(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_more_than_they_have() {
        let of = |names: &[&str]| Scope::Clusters(names.iter().map(|&name| name.to_owned()).collect());
        let caller = |role, scope| Caller { role, scope, ..Caller::bootstrap() };
        for own in ApiRole::ALL {
            for wanted in ApiRole::ALL {
                let refused = check_reach(&caller(own, Scope::All), wanted, &Scope::All).is_err();
                assert_eq!(refused, !own.includes(wanted), "{own} {wanted}");
            }
        }
        let limited = caller(ApiRole::Admin, of(&["a", "b"]));
        assert!(check_reach(&limited, ApiRole::Admin, &of(&["b"])).is_ok());
        for wider in [Scope::All, of(&["c"]), of(&["a", "c"])] {
            assert!(check_reach(&limited, ApiRole::Viewer, &wider).is_err(), "{wider:?}");
        }
    }
}
