//! Accepting a plan: read it, ask the cloud, write it down. Nothing is created by a refused plan.

use crate::{
    api::{ApiError, App, Caller},
    config::UserData,
    survey::survey,
};
use metalform_boot::{ImageSetError, InlineScriptError};
use metalform_ibm_cloud::ErrorKind;
use metalform_model::{
    AuditEntry, CheckedPlan, Clock, ClusterRecord, ImageRole, NewEvent, NodePlan, NodeRecord, PlanFault, PlanFormat,
    Site, Timestamp, kind, plan_hash, read_plan, with_causes,
};
use metalform_store::{Accepted, ClusterState, NewCluster};
use serde_json::json;
use uuid::Uuid;

/// What became of a plan.
pub(crate) enum Deployed {
    /// Accepted; the loop has been woken.
    New(Box<ClusterState>),
    /// The same plan lives already.
    Same(Box<ClusterState>),
    /// Everything was checked, nothing was written.
    Checked(Vec<PlanFault>),
}

/// Accepts a plan, or says everything that is wrong with it. `line` is what the audit says of a cluster of that name.
pub(crate) async fn deploy(
    app: &App,
    caller: &Caller,
    text: &str,
    format: PlanFormat,
    dry_run: bool,
    line: impl FnOnce(&str) -> AuditEntry,
) -> Result<Deployed, ApiError> {
    let checked = read_plan(text, format, &app.profiles).map_err(bad_plan)?;
    if !caller.reaches(&checked.plan.cluster.name) {
        return Err(out_of_scope(&checked.plan.cluster.name));
    }
    let hash = plan_hash(&checked.plan);
    let name = &checked.plan.cluster.name;
    if let Some(state) = app.store.cluster_named(name).await?.filter(is_living) {
        return if state.plan_hash == hash { Ok(Deployed::Same(Box::new(state))) } else { Err(plan_differs(name)) };
    }
    let orders = checked.plan.nodes.iter().any(|n| !n.existing);
    let mut warnings = checked.warnings.clone();
    if orders {
        images_are_there(app).await?;
        warnings.extend(scripts_are_there(app).await?);
    }
    let site = ask_the_cloud(app, &checked).await?;
    if dry_run {
        return Ok(Deployed::Checked(warnings));
    }

    let now = app.clock.now();
    let id = new_deployment_id(app.clock.as_ref());
    let plan = checked.plan;
    let message =
        format!("Starting Nutanix cluster deployment of {} with {} nodes", plan.cluster.name, plan.nodes.len());
    let new = NewCluster {
        plan_hash: hash,
        site,
        record: ClusterRecord::new(id, &plan, now),
        nodes: plan.nodes.iter().map(|n| first_record(n, now)).collect(),
        event: NewEvent::new(now, kind::DEPLOYMENT_STARTED, message).with(
            json!({"by": caller.who, "nodes": plan.nodes.len(), "plan_hash": plan_hash(&plan), "warnings": warnings}),
        ),
        plan,
    };
    let name = new.plan.cluster.name.clone();
    match app.store.accept(&new, &line(&name)).await? {
        Accepted::New => {
            app.wake.wake(id);
            Ok(Deployed::New(Box::new(app.living(caller, &name).await?)))
        }
        // Somebody else was faster.
        Accepted::Same(_) => Ok(Deployed::Same(Box::new(app.living(caller, &name).await?))),
        Accepted::Differs(_) => Err(plan_differs(&name)),
    }
}

fn first_record(plan: &NodePlan, now: Timestamp) -> NodeRecord {
    let mut record = NodeRecord::new(&plan.server_id, plan.existing, now);
    (record.mgmt_ip, record.ahv_ip, record.cvm_ip) = (plan.mgmt_ip, plan.ahv_ip, plan.cvm_ip);
    record
}

fn is_living(state: &ClusterState) -> bool {
    state.record.phase != metalform_model::ClusterPhase::Released
}

fn bad_plan(faults: Vec<PlanFault>) -> ApiError {
    let errors = faults.iter().filter(|f| f.is_error()).count();
    let message = match errors {
        1 => "the plan has a fault".to_owned(),
        n => format!("the plan has {n} faults"),
    };
    ApiError::new(400, "bad_plan", message, "mend them all; nothing was created").with(json!({"faults": faults}))
}

fn out_of_scope(name: &str) -> ApiError {
    let message = format!("the token isn't for a cluster named {name}");
    let hint = "give the cluster a name that the token is limited to; an admin makes tokens";
    ApiError::new(403, "scope_insufficient", message, hint)
}

fn plan_differs(name: &str) -> ApiError {
    ApiError::new(
        409,
        "plan_differs",
        format!("a cluster named {name} lives already, with another plan"),
        "give the cluster another name, or destroy it first; a living cluster's plan can't be changed",
    )
}

async fn images_are_there(app: &App) -> Result<(), ApiError> {
    app.plane.check_images().await.map(drop).map_err(images_missing)
}

fn images_missing(error: ImageSetError) -> ApiError {
    match error.is_transient() {
        true => ApiError::new(503, "images_unchecked", with_causes(&error), error.hint()),
        false => ApiError::new(422, "images_missing", with_causes(&error), error.hint()),
    }
}

/// Whether the template of the image set makes a script. Answers what is worth a warning.
async fn scripts_are_there(app: &App) -> Result<Vec<PlanFault>, ApiError> {
    let inline = app.user_data == UserData::Inline;
    // As it will stand in user data, the set has its id in every path.
    let pinned = match inline {
        true => app.installer.pin(None).await.map_err(images_missing)?.image_set,
        false => None,
    };
    let set = app.installer.read_set(pinned.as_deref()).await.map_err(images_missing)?;
    match set.try_script(&app.templates, &app.boot_host, inline) {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            let code = match error {
                InlineScriptError::TooLong { .. } => "user_data_too_long",
                InlineScriptError::Value(_) | InlineScriptError::LabelTaken(_) => "no_script",
            };
            return Err(ApiError::new(422, code, error.to_string(), error.hint()));
        }
        None => {
            let message =
                format!("the image set names the template {:?}, and there is none", set.template.unwrap_or_default());
            let hint = "put NAME.ipxe into [boot] templates_dir, or name another in [boot] template";
            return Err(ApiError::new(422, "unknown_template", message, hint));
        }
    }
    let mut warnings = Vec::new();
    if set.waits_for_eula() {
        warnings.push(PlanFault::error(
            "eula_not_accepted",
            "nodes",
            "the image set installs Nutanix Community Edition, whose installer waits at each node's console until its \
             license is accepted",
            "read the license; then write accept_eula = true into [nutanix] and restart the service",
        ));
    }
    if inline && set.sha256(ImageRole::Kernel).is_none() {
        warnings.push(PlanFault::error(
            "images_not_pinned",
            "nodes",
            "the script in user data names no digest: the image set has no manifest, so iPXE compares nothing",
            "import the image set with `metalform image import`",
        ));
    } else if inline && !set.has_agent() {
        warnings.push(PlanFault::error(
            "installer_not_pinned",
            "nodes",
            "the script in user data pins kernel and initrd alone: the image set has no agent, so nobody compares the \
             installer's other files, and the installer asks the boot plane in the clear",
            "add the agent with `metalform image overlay --agent`",
        ));
    }
    Ok(warnings.into_iter().map(PlanFault::as_warning).collect())
}

async fn ask_the_cloud(app: &App, checked: &CheckedPlan) -> Result<Site, ApiError> {
    if checked.plan.nodes.iter().all(|n| n.existing) {
        return Ok(Site::default());
    }
    let found = survey(&app.vpc, checked).await.map_err(|error| {
        let status = match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Forbidden => 422,
            _ => 503,
        };
        let hint = error.hint().unwrap_or("try again; nothing was created").to_owned();
        ApiError::new(status, "cloud_unavailable", with_causes(&error), &hint)
    })?;
    if !found.taken.is_empty() {
        let taken = checked.locate(found.taken);
        let code = taken.first().map_or("name_taken", |f| f.code);
        let message = taken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let hint = "nothing was created; what is there already was left alone";
        return Err(ApiError::new(409, code, message, hint).with(json!({"faults": taken})));
    }
    if !found.faults.is_empty() {
        let faults = checked.locate(found.faults);
        let message = format!("the cloud can't carry the plan out: {} faults", faults.len());
        let hint = "mend them all; nothing was created";
        return Err(ApiError::new(422, "cloud_refuses_plan", message, hint).with(json!({"faults": faults})));
    }
    Ok(found.site)
}

/// A new UUIDv7: the time of the given clock, and random bits.
fn new_deployment_id(clock: &dyn Clock) -> Uuid {
    let millis = u64::try_from(clock.now().0 / 1000).unwrap_or_default();
    let random: [u8; 10] = rand::random();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
