//! Stock images: more than 1,100 public ones, so that an unfiltered first page misses the one that boots iPXE, as on the
//! real cloud (red-hat-storage/ocs-ci pages through them for this reason).

use super::{
    Cloud,
    error::ApiError,
    fields::Refused,
    identity::{Identity, Kind, Mint, stamp},
    page,
    settings::CloudSettings,
};
use crate::http::Request;
use metalform_model::Timestamp;
use serde_json::{Value, json};

const IMAGE: Kind = Kind { path: "images", crn: "image", zonal: false };

/// The stock image whose user data is an iPXE script or its URL, with its id in us-south.
const IPXE: (&str, &str) = ("ibm-ipxe-20240326-amd64-1", "r006-bfef819d-11af-4252-9bd3-bae1d9dd8e1d");

/// An image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub identity: Identity,
    pub status: &'static str,
    pub user_data_format: &'static str,
    pub bare_metal: bool,
    pub windows: bool,
}

impl AsRef<Identity> for Image {
    fn as_ref(&self) -> &Identity {
        &self.identity
    }
}

impl Image {
    pub fn reference(&self) -> Value {
        self.identity.reference("image")
    }

    /// Statuses a server can be made from.
    pub fn usable(&self) -> bool {
        matches!(self.status, "available" | "partially_available" | "deprecated")
    }

    pub fn boots_ipxe(&self) -> bool {
        self.user_data_format == "ipxe"
    }
}

/// All stock images. Only the iPXE one and the families are IBM's; versions and statuses are made up.
pub(super) fn stock(mint: &mut Mint, settings: &CloudSettings, now: Timestamp) -> Vec<Image> {
    const FAMILIES: [&str; 7] =
        ["centos-stream", "debian", "redhat", "rocky-linux", "sles", "ubuntu", "windows-server"];
    let mut images = Vec::with_capacity(1141);
    for n in 0..1140_usize {
        let family = FAMILIES[n % FAMILIES.len()];
        let windows = family == "windows-server";
        images.push(Image {
            identity: mint.identity(
                &IMAGE,
                settings,
                &format!("ibm-{family}-{}-amd64-{}", n / 35 + 1, n / 7 % 5 + 1),
                now,
            ),
            status: match n / 7 % 5 {
                0 => "obsolete",
                1 => "deprecated",
                _ => "available",
            },
            user_data_format: if windows { "cloudbase_init" } else { "cloud_init" },
            bare_metal: family != "centos-stream",
            windows,
        });
        if n == 700 {
            images.push(Image {
                identity: mint.identity_with(&IMAGE, settings, IPXE.1.into(), IPXE.0, now),
                status: "available",
                user_data_format: "ipxe",
                bare_metal: true,
                windows: false,
            });
        }
    }
    images
}

impl Cloud {
    fn image_json(&self, image: &Image) -> Value {
        let name = &image.identity.name;
        let os = name.trim_start_matches("ibm-");
        json!({
            "allowed_use": {
                "api_version": "2025-07-01",
                "bare_metal_server": image.bare_metal.to_string(),
                "instance": (!image.boots_ipxe()).to_string(),
            },
            "catalog_offering": {"managed": false},
            "created_at": stamp(image.identity.created_at),
            "crn": image.identity.crn,
            "encryption": "none",
            "file": {"size": 1},
            "href": image.identity.href,
            "id": image.identity.id,
            "name": name,
            "operating_system": {
                "allow_user_image_creation": false,
                "architecture": "amd64",
                "dedicated_host_only": false,
                "display_name": os,
                "family": os.split("-amd64").next().unwrap_or(os),
                "href": format!("{}/operating_systems/{os}", self.settings.vpc_url),
                "name": os,
                "user_data_format": image.user_data_format,
                "vendor": "IBM",
                "version": "1",
            },
            "resource_group": self.resource_group(),
            "resource_type": "image",
            "status": image.status,
            "status_reasons": [],
            "user_data_format": image.user_data_format,
            "visibility": "public",
            "zones": self.zones().map(|zone| self.zone_reference(&zone)),
        })
    }

    pub(super) fn list_images(&self, request: &Request) -> Refused<Value> {
        let known = [
            "limit",
            "start",
            "resource_group.id",
            "name",
            "status",
            "visibility",
            "user_data_format",
            "remote.account.id",
        ];
        page::only_parameters(request, &known)?;
        let items: Vec<(u64, &Image)> = self
            .images
            .iter()
            .filter(|image| {
                self.in_resource_group(request)
                    && request.query("name").is_none_or(|name| name == image.identity.name)
                    && page::filter(request, "status", image.status)
                    && page::filter(request, "visibility", "public")
                    && page::filter(request, "user_data_format", image.user_data_format)
                    && request.query("remote.account.id").is_none_or(|account| account == "null")
            })
            .map(|image| (image.identity.seq, image))
            .collect();
        let href = format!("{}/images", self.settings.vpc_url);
        page::page(request, &href, "images", &items, |image| self.image_json(image))
    }

    pub(super) fn get_image(&self, id: &str) -> Refused<Value> {
        let found = self.images.iter().find(|image| image.identity.id == id);
        found.map(|image| self.image_json(image)).ok_or_else(|| ApiError::not_found("image", id))
    }
}
