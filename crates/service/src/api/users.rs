//! Users: made, listed, removed, given another password. A password is in no answer.
//!
//! An admin who is limited to clusters knows only of those users that are limited no wider, as with tokens.

use super::{
    ApiError, App, body,
    caller::Caller,
    grant::{ClusterName, check_name, check_reach, in_words, scope_of},
    limits::{account_locked_out, count_account},
    record::{Call, Recorded, deed_line},
};
use crate::password_hash::Looked;
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{Extensions, StatusCode},
    response::{IntoResponse, Response},
};
use metalform_model::{ApiRole, User, audit_action, check_password};
use metalform_store::PasswordHash;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// Who a new user is to be. `Debug` is left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// Lower-case letters, digits, dots, underscores and hyphens, at most 40.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,39}$")]
    name: String,
    /// What they may do.
    #[schema(value_type = String, pattern = "^(viewer|auditor|operator|admin)$")]
    role: ApiRole,
    /// The clusters that they are limited to; all of them without it.
    #[schema(value_type = Option<Vec<ClusterName>>, min_items = 1, max_items = 100)]
    clusters: Option<Vec<String>>,
    /// 12 characters or more, none of those that are tried first.
    #[schema(min_length = 12, max_length = 1024)]
    password: String,
}

/// Another password. `Debug` is left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// 12 characters or more, none of those that are tried first.
    #[schema(min_length = 12, max_length = 1024)]
    password: String,
    /// The present one, of whoever changes their own.
    #[schema(max_length = 1024)]
    old_password: Option<String>,
}

/// Every user, without their password.
#[utoipa::path(get, path = "/api/v1/users", responses((status = 200, description = "the users")))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, ApiError> {
    let mut users = app.store.users().await?;
    users.retain(|user| caller.scope.includes(&user.clusters));
    Ok(Json(json!({"users": users})))
}

/// Makes a user.
#[utoipa::path(post, path = "/api/v1/users",
    request_body(content = NewUser, description = "who they are to be"),
    responses((status = 201, description = "the user"),
    (status = 400, description = "a body that isn't understood"),
    (status = 409, description = "there is a user of that name"),
    (status = 422, description = "a password that is guessed too soon")))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    extensions: Extensions,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let hint = "send {\"name\": \"ann\", \"role\": \"viewer\" | \"auditor\" | \"operator\" | \"admin\", \"password\": \"…\"}, \
                and if wanted \"clusters\": [\"a\"]";
    let wanted: NewUser = body::read(&bytes, hint)?;
    check_name("user", &wanted.name)?;
    let clusters = scope_of(wanted.clusters)?;
    check_reach(&caller, wanted.role, &clusters)?;
    check_new_password(&wanted.name, &wanted.password)?;
    let hash = app.passwords.hash(wanted.password.into()).await?;
    let now = app.clock.now();
    let user = User {
        name: wanted.name,
        role: wanted.role,
        clusters,
        created_at: now,
        created_by: caller.who.clone(),
        password_set_at: now,
        last_login_at: None,
    };
    let line = deed_line(&app, &caller, &extensions, audit_action::USER_CREATE, deed(&user));
    app.store.add_user(&user, &hash, &line).await?;
    Ok((StatusCode::CREATED, Recorded, Json(user)).into_response())
}

/// Removes a user; all their sessions end.
#[utoipa::path(delete, path = "/api/v1/users/{name}", params(("name" = String, Path, description = "the user's name")),
    responses((status = 200, description = "they are removed"), (status = 404, description = "none of that name")))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
) -> Result<(Recorded, Json<User>), ApiError> {
    let (user, _) = reachable(&app, &caller, &name).await?;
    let line = deed_line(&app, &caller, &extensions, audit_action::USER_REMOVE, deed(&user));
    if !app.store.remove_user(&name, &line).await? {
        // Somebody else was faster.
        return Err(unknown(&name));
    }
    Ok((Recorded, Json(user)))
}

/// Gives a user another password; all their sessions end. Everybody changes their own and shows the present one; an admin
/// gives others theirs.
#[utoipa::path(post, path = "/api/v1/users/{name}/password",
    params(("name" = String, Path, description = "the user's name")),
    request_body(content = NewPassword, description = "the password"),
    responses((status = 200, description = "the user"),
    (status = 400, description = "a body that isn't understood"),
    (status = 404, description = "none of that name"),
    (status = 409, description = "somebody else changed the password meanwhile"),
    (status = 422, description = "a password that is guessed too soon")))]
pub(super) async fn set_password(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    extensions: Extensions,
    bytes: Bytes,
) -> Result<(Recorded, Json<User>), ApiError> {
    let hint = "send {\"password\": \"…\"}, and for one's own \"old_password\": \"…\"";
    let NewPassword { password, old_password } = body::read(&bytes, hint)?;
    let is_own = caller.session().is_some_and(|session| session.user.as_ref() == Some(&name));
    if !is_own && caller.role != ApiRole::Admin {
        let message = format!("the role {} doesn't allow to change somebody else's password", caller.role);
        let details = json!({"role": caller.role, "roles": [ApiRole::Admin]});
        return Err(ApiError::new(403, "role_insufficient", message, "an admin does that").with(details));
    }
    let (mut user, present) = reachable(&app, &caller, &name).await?;
    check_new_password(&name, &password)?;
    if is_own {
        let call = Call::named(audit_action::USER_PASSWORD, name.clone(), &extensions);
        check_present(&app, &call, &user, &present, old_password).await?;
    }
    let new = app.passwords.hash(password.into()).await?;
    let now = app.clock.now();
    let line = deed_line(&app, &caller, &extensions, audit_action::USER_PASSWORD, name.clone());
    if !app.store.set_password(&name, &new, Some(&present), now, &line).await? {
        let hint = "look who it was in the audit, and try again";
        return Err(ApiError::new(409, "password_changed", "somebody else changed the password meanwhile", hint));
    }
    user.password_set_at = now;
    Ok((Recorded, Json(user)))
}

/// That the present password was shown. Whoever sits down at an open browser has the session and not that; guesses count like
/// failed logins.
async fn check_present(
    app: &App,
    call: &Call,
    user: &User,
    present: &PasswordHash,
    shown: Option<String>,
) -> Result<(), ApiError> {
    let Some(shown) = shown else {
        let hint = "send the present one as `old_password`";
        return Err(ApiError::new(400, "old_password_missing", "the present password is missing", hint));
    };
    let counted = match count_account(app, call, &user.name).await {
        Ok(counted) => counted,
        Err(locked) => return Err(account_locked_out(locked.wait)),
    };
    match app.passwords.look(shown.into(), Some(present.clone())).await {
        Ok(Looked::Wrong) => {
            let hint = "an admin gives a new one with `metalform user password`";
            Err(ApiError::new(403, "old_password_wrong", "the present password is another one", hint))
        }
        Ok(Looked::Right | Looked::RightAndRehashed(_)) => {
            app.limits.forgive_account(&user.name, app.clock.now());
            Ok(())
        }
        Err(error) => {
            app.limits.take_account_back(&user.name, counted);
            Err(error.into())
        }
    }
}

/// The user of that name, if the caller may know of them.
async fn reachable(app: &App, caller: &Caller, name: &str) -> Result<(User, PasswordHash), ApiError> {
    let found = app.store.user(name).await?;
    found.filter(|(user, _)| caller.scope.includes(&user.clusters)).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    ApiError::new(404, "unknown_user", format!("no user is named {shown:?}"), "`metalform user list` lists them")
}

fn check_new_password(user: &str, password: &str) -> Result<(), ApiError> {
    check_password(user, password).map_err(|error| ApiError::new(422, "bad_password", error.to_string(), error.hint()))
}

/// What the audit says who was made or removed.
fn deed(user: &User) -> String {
    format!("{}: {} of {}", user.who(), user.role, in_words(&user.clusters))
}
