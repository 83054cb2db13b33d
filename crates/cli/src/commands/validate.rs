//! `metalform validate`: what the plan alone shows. Needs no service.

use crate::{context::Context, error::CliError, plan_text::PlanText, timeline::node_count};
use clap::Args;
use metalform_model::{PlanFault, Profiles, read_plan};
use serde_json::{json, to_value};

/// Check a plan, without a service
#[derive(Debug, Args)]
pub struct Validate {
    /// The plan, TOML or JSON; `-` reads standard input
    plan: String,
}

/// Runs it.
pub fn run(context: &Context, args: &Validate) -> Result<(), CliError> {
    let plan = PlanText::read(&args.plan)?;
    match read_plan(&plan.text, plan.format, &profiles(context)?) {
        Ok(checked) if context.json => context.out.json(&json!({
            "valid": true, "cluster": checked.plan.cluster.name, "nodes": checked.plan.nodes.len(),
            "warnings": checked.warnings,
        })),
        Ok(checked) => {
            for warning in &checked.warnings {
                context.out.data(&warning.to_string())?;
            }
            let (cluster, nodes) = (&checked.plan.cluster.name, node_count(checked.plan.nodes.len()));
            context.out.data(&format!("{}: a good plan: cluster {cluster}, {nodes}", plan.name))
        }
        Err(faults) => {
            let errors = faults.iter().filter(|fault| fault.is_error()).count();
            if context.json {
                let faults = to_value(&faults).unwrap_or_default();
                return Err(CliError::BadPlan { name: plan.name, errors, faults });
            }
            show(context, &plan.name, &faults, errors)
        }
    }
}

/// The faults are what was asked for, so they are data; that there are any is the error.
fn show(context: &Context, name: &str, faults: &[PlanFault], errors: usize) -> Result<(), CliError> {
    for fault in faults {
        context.out.data(&fault.to_string())?;
    }
    Err(CliError::BadPlan { name: name.to_owned(), errors, faults: json!([]) })
}

/// The built-in table, and the file of the configuration where there is one.
fn profiles(context: &Context) -> Result<Profiles, CliError> {
    let builtin = Profiles::builtin();
    if context.config_file().is_none() {
        return Ok(builtin);
    }
    let Some(path) = context.load_config_of_client()?.profiles.file else { return Ok(builtin) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|source| CliError::Unreadable { name, source })?;
    builtin.with_user_file(&text).map_err(|source| CliError::BadProfiles { path, source })
}
