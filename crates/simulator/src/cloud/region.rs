//! The region and its three zones.

use super::{Cloud, error::ApiError, fields::Refused};
use serde_json::{Value, json};

impl Cloud {
    /// Names of the zones.
    pub(super) fn zones(&self) -> [String; 3] {
        [1, 2, 3].map(|n| format!("{}-{n}", self.settings.region))
    }

    pub(super) fn zone_reference(&self, zone: &str) -> Value {
        let (base, region) = (&self.settings.vpc_url, &self.settings.region);
        json!({"href": format!("{base}/regions/{region}/zones/{zone}"), "name": zone})
    }

    fn region_json(&self) -> Value {
        let (base, region) = (&self.settings.vpc_url, &self.settings.region);
        json!({
            "endpoint": base.trim_end_matches("/v1"),
            "href": format!("{base}/regions/{region}"),
            "name": region,
            "status": "available",
        })
    }

    fn zone_json(&self, zone: &str) -> Value {
        let mut json = self.zone_reference(zone);
        let region = self.region_json();
        json["region"] = json!({"href": region["href"], "name": region["name"]});
        json["status"] = "available".into();
        json
    }

    fn known_region(&self, region: &str) -> Refused<()> {
        if region == self.settings.region { Ok(()) } else { Err(ApiError::not_found("region", region)) }
    }

    pub(super) fn list_regions(&self) -> Value {
        json!({"regions": [self.region_json()]})
    }

    pub(super) fn get_region(&self, region: &str) -> Refused<Value> {
        self.known_region(region).map(|()| self.region_json())
    }

    pub(super) fn list_zones(&self, region: &str) -> Refused<Value> {
        self.known_region(region)?;
        Ok(json!({"zones": self.zones().map(|zone| self.zone_json(&zone))}))
    }

    pub(super) fn get_zone(&self, region: &str, zone: &str) -> Refused<Value> {
        self.known_region(region)?;
        match self.zones().iter().any(|each| each == zone) {
            true => Ok(self.zone_json(zone)),
            false => Err(ApiError::not_found("zone", zone)),
        }
    }
}
