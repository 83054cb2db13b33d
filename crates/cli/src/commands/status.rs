//! `metalform status`: how clusters stand.

use crate::{
    context::Context,
    error::CliError,
    output::clean,
    timeline::{cluster_line, node_line},
};
use clap::Args;
use metalform_model::{ClusterStatus, Timestamp};
use serde_json::json;

/// Show how a cluster and its nodes stand, or all clusters
#[derive(Debug, Args)]
pub struct Status {
    /// The cluster's name; all clusters without it
    cluster: Option<String>,
}

/// Runs it.
pub async fn run(context: &Context, args: &Status) -> Result<(), CliError> {
    let client = context.client().await?;
    let Some(name) = &args.cluster else {
        let clusters = client.clusters().await?;
        if context.json {
            return context.out.json(&json!({"clusters": clusters}));
        }
        if clusters.is_empty() {
            context.out.note("no clusters; `metalform deploy PLAN` makes one");
        }
        let width = clusters.iter().map(|c| c.name.len()).max().unwrap_or(0);
        return clusters.iter().try_for_each(|c| context.out.data(&cluster_line(c, width, context.now())));
    };
    let status = client.cluster(name).await?;
    match context.json {
        true => context.out.json(&status),
        false => context.out.data(&in_words(&status, context.now())),
    }
}

fn in_words(status: &ClusterStatus, now: Timestamp) -> String {
    let width = status.nodes.iter().map(|n| n.server_id.len() + 2).max().unwrap_or(0).max(status.name.len());
    let mut told = cluster_line(status, width, now);
    for node in &status.nodes {
        told += &format!("\n  {}", node_line(node, width - 2, now));
        let address = |ip: Option<std::net::Ipv4Addr>| ip.map_or("none yet".into(), |ip| ip.to_string());
        told += &format!("\n  {:width$}mgmt {}, CVM {}", "", address(node.mgmt_ip), address(node.cvm_ip));
        if let Some(hint) = &node.hint {
            told += &format!("\n  {:width$}hint: {}", "", clean(hint));
        }
    }
    if let Some(hint) = &status.hint {
        told += &format!("\nhint: {}", clean(hint));
    }
    told
}
