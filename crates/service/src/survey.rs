//! What the cloud says about a plan before anything is made: everything that would fail later anyway, all at once.

use metalform_ibm_cloud::{Error, VpcClient};
use metalform_model::{CheckedPlan, PlanFault, Site, SubnetFacts, plan_rules::check_against_subnet};
use std::collections::{BTreeMap, BTreeSet};

/// What a survey found.
pub(crate) struct Survey {
    /// What the loop needs to know of the place.
    pub site: Site,
    /// Faults of the plan that only the cloud can show.
    pub faults: Vec<PlanFault>,
    /// Names and addresses that somebody has already.
    pub taken: Vec<PlanFault>,
}

/// Reads the cloud. Changes nothing there.
pub(crate) async fn survey(vpc: &VpcClient, checked: &CheckedPlan) -> Result<Survey, Error> {
    let plan = &checked.plan;
    let mut found = Survey { site: Site::default(), faults: Vec::new(), taken: Vec::new() };
    let placements: Vec<_> =
        plan.nodes.iter().enumerate().filter_map(|(i, n)| n.placement.as_ref().map(|p| (i, n, p))).collect();
    if placements.is_empty() {
        return Ok(found);
    }

    match vpc.find_ipxe_image().await? {
        Some(image) => found.site.boot_image = image.id,
        None => found.faults.push(PlanFault::error(
            "no_boot_image",
            "cloud",
            "the region has no stock image whose user_data_format is ipxe",
            "deploy to a region that offers network boot",
        )),
    }

    let mut profiles = BTreeMap::new();
    let mut looked_up = BTreeSet::new();
    for (i, node, placement) in &placements {
        let at = |key: &str| format!("nodes[{i}].{key}");
        if looked_up.insert(("subnet", placement.subnet.clone())) {
            survey_subnet(vpc, checked, &placement.subnet, &mut found).await?;
        }
        if let Some(subnet) = found.site.subnets.get(&placement.subnet) {
            if subnet.zone != placement.zone {
                found.faults.push(
                    PlanFault::error(
                        "zone_differs",
                        at("zone"),
                        format!("the subnet lies in {}", subnet.zone),
                        "write the subnet's zone, or name a subnet of this zone",
                    )
                    .with_value(&placement.zone),
                );
            }
            if subnet.vpc != placement.vpc {
                found.faults.push(
                    PlanFault::error(
                        "vpc_differs",
                        at("vpc"),
                        format!("the subnet belongs to {}", subnet.vpc),
                        "write the subnet's VPC, or name a subnet of this one",
                    )
                    .with_value(&placement.vpc),
                );
            }
        }
        if !profiles.contains_key(&placement.profile) {
            let profile = absent_is_none(vpc.get_bare_metal_server_profile(&placement.profile).await)?;
            profiles.insert(placement.profile.clone(), profile);
        }
        match profiles.get(&placement.profile).and_then(Option::as_ref) {
            None => found.faults.push(
                PlanFault::error(
                    "unknown_profile",
                    at("profile"),
                    "the cloud offers no such profile",
                    "see `ibmcloud is bare-metal-server-profiles`",
                )
                .with_value(&placement.profile),
            ),
            Some(profile) if profile.is_offered_in(&placement.zone) == Some(false) => found.faults.push(
                PlanFault::error(
                    "profile_not_in_zone",
                    at("profile"),
                    format!("the cloud doesn't offer it in {}", placement.zone),
                    "choose another zone or profile",
                )
                .with_value(&placement.profile),
            ),
            Some(_) => {}
        }
        for key in &placement.ssh_keys {
            if looked_up.insert(("key", key.clone())) && absent_is_none(vpc.get_key(key).await)?.is_none() {
                found.faults.push(unknown(at("ssh_keys"), "SSH key", key));
            }
        }
        for group in &placement.security_groups {
            if looked_up.insert(("group", group.clone()))
                && absent_is_none(vpc.get_security_group(group).await)?.is_none()
            {
                found.faults.push(unknown(at("security_groups"), "security group", group));
            }
        }
        if let Some(server) = vpc.find_bare_metal_server(&node.server_name).await? {
            let why = format!("a server of that name exists already ({}) and isn't ours; it is left alone", server.id);
            found.taken.push(
                PlanFault::error("name_taken", at("server_name"), why, "choose another server_name")
                    .with_value(&node.server_name),
            );
        }
    }
    Ok(found)
}

async fn survey_subnet(
    vpc: &VpcClient,
    checked: &CheckedPlan,
    subnet_id: &str,
    found: &mut Survey,
) -> Result<(), Error> {
    let plan = &checked.plan;
    let user = plan.nodes.iter().position(|n| n.placement.as_ref().is_some_and(|p| p.subnet == subnet_id));
    let path = format!("nodes[{}].subnet", user.unwrap_or_default());
    let Some(subnet) = absent_is_none(vpc.get_subnet(subnet_id).await)? else {
        found.faults.push(unknown(path, "subnet", subnet_id));
        return Ok(());
    };
    let Ok(cidr) = subnet.ipv4_cidr_block.parse::<ipnet::Ipv4Net>() else {
        found.faults.push(unknown(path, "subnet with an IPv4 block", subnet_id));
        return Ok(());
    };
    let dns_servers = match absent_is_none(vpc.get_vpc(&subnet.vpc.id).await)? {
        Some(vpc) => vpc.dns_servers(),
        None => Vec::new(),
    };
    found.faults.extend(check_against_subnet(plan, subnet_id, cidr));
    let taken: BTreeSet<_> = vpc.list_reserved_ips(subnet_id).await?.into_iter().map(|ip| ip.address).collect();
    let mut wanted = vec![("cluster.external_ip".to_owned(), Some(plan.cluster.external_ip))];
    for (i, node) in plan.nodes.iter().enumerate().filter(|(_, n)| !n.existing) {
        let keys = [("mgmt_ip", node.mgmt_ip), ("ahv_ip", node.ahv_ip), ("cvm_ip", node.cvm_ip)];
        wanted.extend(keys.map(|(key, ip)| (format!("nodes[{i}].{key}"), ip)));
    }
    // The cloud's own addresses are listed, too; those are told as faults of the plan already.
    let told: BTreeSet<String> = found.faults.iter().map(|f| f.path.clone()).collect();
    for (path, ip) in wanted {
        if ip.is_some_and(|ip| taken.contains(&ip)) && !told.contains(&path) {
            found.taken.push(
                PlanFault::error("address_taken", path, "somebody has reserved it already", "choose a free address")
                    .with_value(ip.unwrap_or(plan.cluster.external_ip)),
            );
        }
    }
    // The VPC API names no gateway; it is always the second address of the block.
    let gateway = std::net::Ipv4Addr::from(u32::from(cidr.network()) + 1);
    let facts = SubnetFacts { cidr, gateway, zone: subnet.zone.name, vpc: subnet.vpc.id, dns_servers };
    found.site.subnets.insert(subnet_id.to_owned(), facts);
    Ok(())
}

fn unknown(path: String, what: &str, id: &str) -> PlanFault {
    let why = format!("the cloud knows no such {what}, or won't show it to us");
    PlanFault::error("unknown_id", path, why, format!("write the id of a {what} of this region")).with_value(id)
}

fn absent_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
