//! What a server's boot disk is made from: image, keys, user data. Reinitializing puts a new image on the boot disk; data
//! disks keep what they hold.

use super::{Status, Step};
use crate::cloud::{
    Cloud,
    error::ApiError,
    fields::{Fields, Refused, refer},
};
use metalform_model::Timestamp;
use serde_json::{Value, json};

/// The limit documented for instances; nothing of the kind is published for bare metal.
const MAX_USER_DATA: usize = 64 * 1024;

const FIELDS: &[&str] = &["image", "keys", "user_data", "default_trusted_profile"];

/// The initialization of a server.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Initialization {
    image: String,
    keys: Vec<String>,
    pub user_data: Option<String>,
    trusted_profile: Option<Value>,
}

impl Cloud {
    /// Reads an initialization at that place of a body: in POST `initialization`, in PUT the whole.
    pub(super) fn read_initialization(&self, value: &Value, at: &str) -> Refused<Initialization> {
        let fields = Fields::of(value, at, FIELDS)?;
        let image = refer(fields.require("image")?, &fields.path("image"), "image", &self.images)?;
        let unusable = |why: &str| ApiError::invalid(fields.path("image"), format!("{}: {why}", image.identity.name));
        if !image.usable() {
            return Err(unusable(image.status));
        }
        if !image.bare_metal {
            return Err(unusable("not for bare metal servers"));
        }
        fields.require("keys")?;
        let mut keys = Vec::new();
        for key in fields.list("keys")?.into_iter().flatten() {
            keys.push(self.read_key(key, &fields.path("keys"))?);
        }
        if keys.is_empty() && image.windows {
            return Err(ApiError::invalid(fields.path("keys"), "a Windows image needs a key"));
        }
        let user_data = fields.text("user_data")?;
        if user_data.is_some_and(|data| data.len() > MAX_USER_DATA) {
            return Err(ApiError::invalid(fields.path("user_data"), "is longer than 64 KB"));
        }
        let trusted_profile = match fields.object("default_trusted_profile", &["target", "auto_link"])? {
            None => None,
            Some(profile) => {
                let target = Fields::of(profile.require("target")?, profile.path("target"), &["id", "crn"])?;
                let named = target.text("id")?.or(target.text("crn")?);
                let id = named.ok_or_else(|| ApiError::missing(target.path("id")))?;
                let auto_link = profile.flag("auto_link")?.unwrap_or(true);
                let id = id.rsplit(':').next().unwrap_or(id);
                Some(json!({
                    "auto_link": auto_link,
                    "target": {"crn": format!("crn:v1:bluemix:public:iam-identity::a/{}::profile:{id}",
                        crate::cloud::ACCOUNT), "id": id, "resource_type": "trusted_profile"},
                }))
            }
        };
        Ok(Initialization {
            image: image.identity.id.clone(),
            keys,
            user_data: user_data.map(str::to_owned),
            trusted_profile,
        })
    }

    fn read_key(&self, value: &Value, at: &str) -> Refused<String> {
        if let Some(fingerprint) = value.get("fingerprint") {
            Fields::of(value, at, &["fingerprint"])?;
            let found = self.keys.iter().find(|key| fingerprint == key.fingerprint.as_str());
            return found.map(|key| key.identity.id.clone()).ok_or_else(|| ApiError::no_such("key", at));
        }
        refer(value, at, "key", &self.keys).map(|key| key.identity.id.clone())
    }

    /// Whether a server with that initialization boots from the network.
    pub(super) fn boots_ipxe(&self, initialization: &Initialization) -> bool {
        self.images.iter().any(|image| image.identity.id == initialization.image && image.boots_ipxe())
    }

    pub(in crate::cloud) fn get_initialization(&self, id: &str) -> Refused<Value> {
        let initialization = &self.server(id)?.initialization;
        let image = self.images.iter().find(|image| image.identity.id == initialization.image);
        let keys: Vec<Value> = self
            .keys
            .iter()
            .filter(|key| initialization.keys.contains(&key.identity.id))
            .map(|key| key.reference())
            .collect();
        let mut json = json!({"image": image.map(|image| image.reference()), "keys": keys, "user_accounts": []});
        if let Some(profile) = &initialization.trusted_profile {
            json["default_trusted_profile"] = profile.clone();
        }
        Ok(json)
    }

    /// Writes the boot disk anew; the server starts by itself when that is done.
    pub(in crate::cloud) fn reinitialize_server(&mut self, now: Timestamp, id: &str, body: &Value) -> Refused<Value> {
        let server = self.server(id)?;
        let initialization = self.read_initialization(body, "")?;
        let failed_before = server.status == Status::Failed && server.reason.as_deref() == Some("cannot_reinitialize");
        if server.status != Status::Stopped && !failed_before {
            return Err(ApiError::wrong_status());
        }
        let network_boot = self.boots_ipxe(&initialization);
        let server = self.server_mut(id)?;
        server.initialization = initialization;
        server.network_boot = network_boot;
        server.boot_disk_writes += 1;
        server.status = Status::Reinitializing;
        server.reason = None;
        let duration = self.settings.durations.reinitialize;
        self.schedule_server(id, now, duration, Step::Reinitialized);
        self.get_initialization(id)
    }
}
