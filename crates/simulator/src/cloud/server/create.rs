//! Creating a server: everything the body says is checked, then the server is there at once, `pending`.

use super::{Attachment, Disk, LEDGER_KIND, SERVER, Server, Status, Step, read_options};
use crate::{
    cloud::{
        Cloud,
        error::ApiError,
        fields::{Fields, Refused},
        profile::Profile,
    },
    fault::{CloudFault, Occasion},
};
use metalform_model::Timestamp;
use serde_json::Value;

const FIELDS: &[&str] = &[
    "bandwidth",
    "enable_secure_boot",
    "initialization",
    "metadata_service",
    "name",
    "network_attachments",
    "network_interfaces",
    "primary_network_attachment",
    "primary_network_interface",
    "profile",
    "reservation_affinity",
    "resource_group",
    "trusted_platform_module",
    "vpc",
    "zone",
];

impl Cloud {
    pub(in crate::cloud) fn create_server(&mut self, now: Timestamp, body: &Value, trace: &str) -> Refused<Value> {
        let fields = Fields::of(body, "", FIELDS)?;
        if fields.has("primary_network_interface") || fields.has("network_interfaces") {
            if fields.has("primary_network_attachment") || fields.has("network_attachments") {
                return Err(ApiError::invalid(
                    "primary_network_interface",
                    "attachments and interfaces exclude each other",
                ));
            }
            return Err(ApiError::not_simulated("POST", "/bare_metal_servers with primary_network_interface"));
        }
        self.check_resource_group(&fields)?;
        let zone = self.read_zone(&fields)?;
        let profile = self.read_profile(&fields)?;
        if !profile.in_zone(&zone) {
            return Err(ApiError::invalid("profile", format!("{} is not available in {zone}", profile.name)));
        }
        let options = read_options(&fields, profile)?;
        let initialization = self.read_initialization(fields.require("initialization")?, "initialization")?;
        let name = match fields.text("name")? {
            None => self.mint.words(),
            Some(name) => name.to_owned(),
        };
        self.check_server_name(&name, "")?;
        self.check_quota(&name)?;

        let primary = fields.require("primary_network_attachment")?;
        let attachments = self.read_attachments(now, primary, &fields, trace)?;
        let vpc = self.check_place(&fields, &zone, &attachments)?;

        let identity = self.mint.identity(&SERVER, &self.settings, &name, now);
        let id = identity.id.clone();
        for attachment in &attachments {
            if let Some(vni) = self.vni_mut(&attachment.vni) {
                vni.target = Some((id.clone(), attachment.id.clone()));
            }
        }
        let disks =
            profile.drives().into_iter().map(|drive| Disk { id: self.mint.id(true), name: self.mint.words(), drive });
        let disks = disks.collect();
        let mut server = Server {
            identity,
            profile,
            zone,
            vpc,
            network_boot: self.boots_ipxe(&initialization),
            initialization,
            boot_disk_writes: 1,
            disks,
            attachments,
            bandwidth: profile.default_bandwidth(),
            secure_boot: false,
            tpm_mode: "disabled".into(),
            metadata_service: (false, "http".into()),
            reservation_policy: "automatic".into(),
            status: Status::Pending,
            reason: None,
            stopping: false,
            powered: false,
            booted: false,
            jitter: self.mint.jitter(),
            timer: 0,
        };
        server.take_options(options);
        self.servers.push(server);
        self.record_made(LEDGER_KIND, &name, &id, now);
        if self.faults.take_cloud(Occasion::of(&name), |f| matches!(f, CloudFault::StaysPending)).is_none() {
            let duration = self.settings.durations.provision;
            self.schedule_server(&id, now, duration, Step::Starting);
        }
        self.get_server(&id)
    }

    fn read_zone(&self, fields: &Fields<'_>) -> Refused<String> {
        fields.require("zone")?;
        let Some(zone) = fields.object("zone", &["name", "href"])? else { return Err(ApiError::missing("zone")) };
        let (name, href) = (zone.text("name")?, zone.text("href")?);
        if name.or(href).is_none() {
            return Err(ApiError::missing("zone.name"));
        }
        let fits = |each: &String| {
            name.is_none_or(|name| name == each) && href.is_none_or(|href| self.zone_reference(each)["href"] == href)
        };
        self.zones().into_iter().find(fits).ok_or_else(|| ApiError::no_such("zone", "zone"))
    }

    fn read_profile(&self, fields: &Fields<'_>) -> Refused<&'static Profile> {
        fields.require("profile")?;
        let Some(profile) = fields.object("profile", &["name", "href"])? else {
            return Err(ApiError::missing("profile"));
        };
        let by_href = profile.text("href")?.and_then(|href| href.rsplit('/').next());
        let name = profile.text("name")?.or(by_href).ok_or_else(|| ApiError::missing("profile.name"))?;
        self.profile(name).ok_or_else(|| ApiError::no_such("bare metal server profile", "profile"))
    }

    /// 25 servers per account unless raised; the text is the one seen for instances (fedora-copr issue 2829).
    fn check_quota(&mut self, name: &str) -> Refused<()> {
        let occasion = Occasion { method: "POST", path: "/v1/bare_metal_servers", name };
        let struck = self.faults.take_cloud(occasion, |f| matches!(f, CloudFault::Quota)).is_some();
        if !struck && self.servers.len() < self.settings.quota {
            return Ok(());
        }
        let quota = self.settings.quota;
        let message = format!(
            "The requested bare metal server will put user over quota. Allocated: {}, quota: {quota}.",
            self.servers.len()
        );
        Err(ApiError::new(400, "over_quota", message))
    }

    fn read_attachments(
        &mut self,
        now: Timestamp,
        primary: &Value,
        fields: &Fields<'_>,
        trace: &str,
    ) -> Refused<Vec<Attachment>> {
        let mut all = vec![self.make_attachment(now, primary, "primary_network_attachment", &[], trace)?];
        for value in fields.list("network_attachments")?.into_iter().flatten() {
            let next = self.make_attachment(now, value, "network_attachments", &all, trace)?;
            if all.iter().any(|other| other.vni == next.vni) {
                return Err(ApiError::in_use("virtual network interface", &next.vni));
            }
            all.push(next);
        }
        Ok(all)
    }

    /// All interfaces must be in the server's zone and in one VPC, the one that is named if one is.
    fn check_place(&self, fields: &Fields<'_>, zone: &str, attachments: &[Attachment]) -> Refused<String> {
        let subnets: Vec<_> = attachments.iter().map(|each| self.vni_subnet(self.vni(&each.vni))).collect();
        let vpc = subnets[0].vpc.clone();
        if subnets.iter().any(|subnet| subnet.zone != zone) {
            return Err(ApiError::invalid("zone", "the subnet of a network attachment is in another zone"));
        }
        let named = fields.refer("vpc", "VPC", &self.vpcs)?;
        if subnets.iter().any(|subnet| subnet.vpc != vpc) || named.is_some_and(|named| named.identity.id != vpc) {
            return Err(ApiError::invalid("vpc", "the subnet of a network attachment is in another VPC"));
        }
        Ok(vpc)
    }

    /// There is one resource group, the account's default.
    pub(in crate::cloud) fn check_resource_group(&self, fields: &Fields<'_>) -> Refused<()> {
        let Some(group) = fields.object("resource_group", &["id"])? else { return Ok(()) };
        match group.text("id")? {
            None => Err(ApiError::missing(group.path("id"))),
            Some(id) if id == crate::cloud::RESOURCE_GROUP => Ok(()),
            Some(_) => Err(ApiError::no_such("resource group", "resource_group")),
        }
    }
}
