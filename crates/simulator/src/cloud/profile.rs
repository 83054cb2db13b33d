//! Bare metal profiles: IBM's table of 2026-08-14 (bare_metal_server_profile.md). The RAID 1 pair of boot drives shows
//! as one disk: `sata` 960 GB on generation 2, `nvme` 480 GB on generation 3.

use super::{Cloud, error::ApiError, fields::Refused, page, power::Drive};
use crate::http::Request;
use serde_json::{Value, json};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Profile {
    pub name: &'static str,
    vcpu: u64,
    pub memory_gib: u64,
    data_drives: usize,
    data_gb: u64,
}

const fn row(name: &'static str, vcpu: u64, memory_gib: u64, data_drives: usize, data_gb: u64) -> Profile {
    Profile { name, vcpu, memory_gib, data_drives, data_gb }
}

/// The whole table. A `d` in the name means data drives, `de` dense ones.
static PROFILES: &[Profile] = &[
    row("bx2-metal-96x384", 96, 384, 0, 0),
    row("bx2d-metal-96x384", 96, 384, 8, 3200),
    row("bx3-metal-48x256", 48, 256, 0, 0),
    row("bx3-metal-64x256", 64, 256, 0, 0),
    row("bx3d-metal-192x1024", 192, 1024, 8, 7680),
    row("bx3d-metal-48x256", 48, 256, 4, 7680),
    row("bx3d-metal-64x256", 64, 256, 4, 7680),
    row("cx2-metal-96x192", 96, 192, 0, 0),
    row("cx2d-metal-96x192", 96, 192, 8, 3200),
    row("cx3d-metal-48x128", 48, 128, 4, 7680),
    row("cx3d-metal-64x128", 64, 128, 4, 7680),
    row("mx2-metal-96x768", 96, 768, 0, 0),
    row("mx2d-metal-96x768", 96, 768, 8, 3200),
    row("mx2de-metal-96x768", 96, 768, 8, 3200),
    row("mx3-metal-48x512", 48, 512, 0, 0),
    row("mx3-metal-64x512", 64, 512, 0, 0),
    row("mx3d-metal-128x1024", 128, 1024, 8, 7680),
    row("mx3d-metal-16x128", 16, 128, 4, 7680),
    row("mx3d-metal-48x512", 48, 512, 4, 7680),
    row("mx3d-metal-64x512", 64, 512, 4, 7680),
    row("mx3d-metal-96x1024", 96, 1024, 8, 7680),
    row("mx3de-metal-48x512", 48, 512, 16, 15360),
    row("mx3de-metal-64x512", 64, 512, 16, 15360),
    row("ux3-metal-16x512", 16, 512, 0, 0),
    row("ux3d-metal-16x512", 16, 512, 4, 7680),
    row("ux3de-metal-16x512", 16, 512, 16, 15360),
    row("vx2d-metal-96x1536", 96, 1536, 8, 3200),
    row("vx3-metal-16x256", 16, 256, 0, 0),
    row("vx3d-metal-16x256", 16, 256, 4, 7680),
];

/// No profile of IBM's: what an emulated machine can be on the computer that emulates it, with drives in the proportions of
/// generation 3. Offered only where machines are emulated ([`super::CloudSettings::lab_profile`]).
static LAB: Profile = row(LAB_PROFILE, 2, 2, 4, 960);

/// Name of the profile of emulated machines.
pub const LAB_PROFILE: &str = "lx3d-metal-2x2";

impl Profile {
    fn third_generation(&self) -> bool {
        self.name.as_bytes()[2] == b'3'
    }

    pub fn cores(&self) -> u64 {
        self.vcpu / 2
    }

    /// Sockets: two, and one for the smallest.
    pub fn sockets(&self) -> u64 {
        if self.vcpu <= 16 { 1 } else { 2 }
    }

    /// Mbit/s that can be chosen, the default last. The steps of generation 3 are not published.
    pub fn bandwidths(&self) -> &'static [u64] {
        if self.third_generation() { &[10_000, 25_000, 50_000, 100_000, 200_000] } else { &[100_000] }
    }

    pub fn default_bandwidth(&self) -> u64 {
        *self.bandwidths().last().expect("each list above has a member")
    }

    /// Availability differs by zone: here generation 3 is missing from the last one.
    pub fn in_zone(&self, zone: &str) -> bool {
        !(self.third_generation() && zone.ends_with("-3"))
    }

    pub fn drives(&self) -> Vec<Drive> {
        let (interface, size_gb) = if self.third_generation() { ("nvme", 480) } else { ("sata", 960) };
        let data = Drive { interface: "nvme", size_gb: self.data_gb, boot: false };
        std::iter::once(Drive { interface, size_gb, boot: true })
            .chain(std::iter::repeat_n(data, self.data_drives))
            .collect()
    }

    fn family(&self) -> &'static str {
        match self.name.as_bytes()[0] {
            b'b' => "balanced",
            b'c' => "compute",
            b'm' => "memory",
            b'v' => "very_high_memory",
            _ => "ultra_high_memory",
        }
    }

    fn disk_json(quantity: usize, drive: &Drive) -> Value {
        json!({
            "quantity": {"type": "fixed", "value": quantity},
            "size": {"type": "fixed", "value": drive.size_gb},
            "supported_interface_types": {"type": "enum", "default": drive.interface, "values": [drive.interface]},
        })
    }
}

impl Cloud {
    fn profile_json(&self, profile: &Profile) -> Value {
        let drives = profile.drives();
        let mut disks = vec![Profile::disk_json(1, &drives[0])];
        disks.extend(drives.get(1).map(|drive| Profile::disk_json(profile.data_drives, drive)));
        let fixed = |value: u64| json!({"type": "fixed", "value": value});
        let bandwidth = match profile.bandwidths() {
            [one] => fixed(*one),
            many => json!({"type": "enum", "default": profile.default_bandwidth(), "values": many}),
        };
        let zones: Vec<Value> =
            self.zones().iter().filter(|zone| profile.in_zone(zone)).map(|zone| self.zone_reference(zone)).collect();
        json!({
            "bandwidth": bandwidth,
            "console_types": {"type": "enum", "values": ["serial", "vnc"]},
            "cpu_architecture": {"type": "fixed", "value": "amd64"},
            "cpu_core_count": fixed(profile.cores()),
            "cpu_socket_count": fixed(profile.sockets()),
            "disks": disks,
            "family": profile.family(),
            "href": self.profile_href(profile),
            "memory": fixed(profile.memory_gib),
            "name": profile.name,
            "network_attachment_count": {"type": "range", "min": 1, "max": 128},
            "network_interface_count": {"type": "range", "min": 1, "max": 128},
            "os_architecture": {"type": "enum", "default": "amd64", "values": ["amd64"]},
            "reservation_terms": {"type": "enum", "values": ["one_year", "three_year"]},
            "resource_type": "bare_metal_server_profile",
            "supported_trusted_platform_module_modes": {"type": "enum", "default": "disabled", "values": ["disabled", "tpm_2"]},
            "virtual_network_interfaces_supported": {"type": "fixed", "value": true},
            "zones": zones,
        })
    }

    pub(super) fn profile_href(&self, profile: &Profile) -> String {
        format!("{}/bare_metal_server/profiles/{}", self.settings.vpc_url, profile.name)
    }

    /// The profile of that name, where it is offered.
    pub(super) fn profile(&self, name: &str) -> Option<&'static Profile> {
        let offered = PROFILES.iter().chain(self.settings.lab_profile.then_some(&LAB));
        offered.into_iter().find(|profile| profile.name == name)
    }

    pub(super) fn list_profiles(&self, request: &Request) -> Refused<Value> {
        page::only_parameters(request, &["limit", "start"])?;
        let offered = PROFILES.iter().chain(self.settings.lab_profile.then_some(&LAB));
        let items: Vec<(u64, &Profile)> = (0..).zip(offered).collect();
        let href = format!("{}/bare_metal_server/profiles", self.settings.vpc_url);
        page::page(request, &href, "profiles", &items, |profile| self.profile_json(profile))
    }

    pub(super) fn get_profile(&self, name: &str) -> Refused<Value> {
        self.profile(name)
            .map(|profile| self.profile_json(profile))
            .ok_or_else(|| ApiError::not_found("bare metal server profile", name))
    }
}
