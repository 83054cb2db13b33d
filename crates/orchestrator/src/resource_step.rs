//! Making and removing cloud resources so that a crash, a lost answer or a lagging list neither doubles nor forgets one.
//!
//! Making: record the intent under a deterministic name, look the name up, send one create, record the outcome. IBM's VPC
//! has no idempotency key; unique names are the only guard. Rejected: tagging (a VPC's servers have no user tags at
//! create), and trusting a single look-up after a lost answer (lists may lag).
//! Removing: by recorded id only, and "gone" only when the cloud says so.

use crate::{
    CallError, CallErrorKind, Deletion, Found, LinkError, Orchestrator, ResourceKind, Wanted, crash::crash_point,
    flow::Pass,
};
use metalform_model::{NewEvent, Resource, ResourceState, Slot, kind, resource_name, with_causes};
use metalform_store::{Changes, StoreError};
use serde_json::json;
use std::time::Duration;

/// Look-ups by name after a create whose answer was lost, before another is sent.
const LOOKUPS: u8 = 3;

/// How a step on one resource ended.
#[derive(Debug)]
pub(crate) enum Step {
    /// As wanted.
    Done,
    /// Under way in the cloud; look again.
    UnderWay,
    /// Not yet; try again.
    Again { error: String, retry_after: Option<Duration> },
    /// It will fail again until a person changes something.
    Refused { code: &'static str, error: String, hint: String },
}

impl Step {
    fn from(error: CallError) -> Step {
        let message = with_causes(&error);
        match error.kind {
            CallErrorKind::Permanent => Step::Refused { code: "cloud_refused", error: message, hint: error.hint },
            _ => Step::Again { error: message, retry_after: error.retry_after },
        }
    }
}

impl From<LinkError> for Step {
    fn from(error: LinkError) -> Step {
        match error.transient {
            true => Step::Again { error: error.to_string(), retry_after: None },
            false => Step::Refused { code: "no_user_data", error: error.to_string(), hint: error.hint },
        }
    }
}

/// Whose resource it is, and all that belongs to that owner.
pub(crate) struct Holder<'a> {
    pub server_id: Option<&'a str>,
    pub subnet: &'a str,
    pub resources: &'a mut Vec<Resource>,
}

impl Holder<'_> {
    fn place(&self, slot: Slot) -> Option<usize> {
        self.resources.iter().position(|r| r.slot == slot)
    }
}

impl Orchestrator {
    /// Makes a resource, or finds it made. With `refused` it can only be found.
    pub(crate) async fn ensure(
        &self,
        pass: &Pass<'_>,
        holder: &mut Holder<'_>,
        slot: Slot,
        wanted: Wanted,
        refused: Option<LinkError>,
        announce: Option<NewEvent>,
    ) -> Result<Step, StoreError> {
        let word = slot.as_str();
        let mut fresh = false;
        let place = match holder.place(slot) {
            Some(place) if !holder.resources[place].is_gone() => place,
            at => {
                if let Some(error) = refused {
                    return Ok(error.into());
                }
                let name = match &wanted {
                    Wanted::Address { name, .. } | Wanted::Interface { name, .. } | Wanted::Server { name, .. } => name,
                };
                let resource = Resource {
                    server_id: holder.server_id.map(str::to_owned),
                    slot,
                    name: name.clone(),
                    state: ResourceState::Intended,
                    cloud_id: None,
                    subnet: holder.subnet.to_owned(),
                    address: None,
                    in_doubt: true,
                    lookups_left: LOOKUPS,
                    changed_at: self.clock.now(),
                };
                self.record_resource(pass, &resource, announce.into_iter().collect()).await?;
                crash_point(&format!("intent.{word}"));
                fresh = true;
                match at {
                    Some(place) => {
                        holder.resources[place] = resource;
                        place
                    }
                    None => {
                        holder.resources.push(resource);
                        holder.resources.len() - 1
                    }
                }
            }
        };

        let own_interface = holder.place(Slot::Interface).and_then(|p| holder.resources[p].cloud_id.clone());
        let is_ours = |found: &Found| slot != Slot::Server || found.interface == own_interface;
        match self.cloud.find(&wanted).await {
            Ok(Some(found)) if is_ours(&found) => {
                return self.made(pass, &mut holder.resources[place], found, "found").await;
            }
            Ok(Some(found)) => return Ok(somebody_elses(&holder.resources[place], &found)),
            Ok(None) => {}
            Err(error) => return Ok(Step::from(error)),
        }
        if let Some(error) = refused {
            return Ok(error.into());
        }

        let resource = &mut holder.resources[place];
        if resource.in_doubt && !fresh && resource.lookups_left > 0 {
            resource.lookups_left -= 1;
            self.record_resource(pass, resource, Vec::new()).await?;
            let error = format!("{} isn't listed; an earlier request for it may still be on its way", resource.name);
            return Ok(Step::Again { error, retry_after: Some(Duration::from_secs(2)) });
        }
        if !fresh {
            resource.in_doubt = true;
            resource.lookups_left = LOOKUPS;
            self.record_resource(pass, resource, Vec::new()).await?;
            crash_point(&format!("intent.{word}"));
        }

        let answer = self.cloud.create(&wanted).await;
        crash_point(&format!("answer.{word}"));
        match answer {
            Ok(found) => self.made(pass, resource, found, "created").await,
            Err(error) => {
                // Only an answer that proves that nothing was made ends the doubt.
                if matches!(error.kind, CallErrorKind::Permanent | CallErrorKind::Transient) {
                    resource.in_doubt = false;
                    self.record_resource(pass, resource, Vec::new()).await?;
                }
                Ok(Step::from(error))
            }
        }
    }

    async fn made(
        &self,
        pass: &Pass<'_>,
        resource: &mut Resource,
        found: Found,
        how: &'static str,
    ) -> Result<Step, StoreError> {
        let now = self.clock.now();
        resource.state = ResourceState::Created;
        resource.in_doubt = false;
        resource.changed_at = now;
        resource.address = found.address.or(resource.address);
        resource.cloud_id = Some(found.cloud_id);
        let address = resource.address.map(|a| format!(" {a}")).unwrap_or_default();
        let message = format!("{}{address} {how}: {}", resource.slot.in_words(), resource.name);
        let data = json!({"slot": resource.slot, "name": resource.name, "id": resource.cloud_id,
            "address": resource.address, "how": how});
        let event = of_holder(NewEvent::new(now, kind::RESOURCE_CREATED, message).with(data), resource);
        self.record_resource(pass, resource, vec![event]).await?;
        crash_point(&format!("recorded.{}", resource.slot.as_str()));
        Ok(Step::Done)
    }

    /// Deletes a resource by its recorded id, or sees that it is gone. `Done` may mean "one step further": ask again until
    /// the row says gone.
    pub(crate) async fn remove(
        &self,
        pass: &Pass<'_>,
        holder: &mut Holder<'_>,
        slot: Slot,
        wanted_name: Option<Wanted>,
    ) -> Result<Step, StoreError> {
        let own_interface = holder.place(Slot::Interface).and_then(|p| holder.resources[p].cloud_id.clone());
        let Some(place) = holder.place(slot) else { return Ok(Step::Done) };
        let resource = &mut holder.resources[place];
        let kind_of = ResourceKind::from(slot);
        let Some(cloud_id) = resource.cloud_id.clone() else {
            return self.settle(pass, resource, wanted_name, own_interface).await;
        };
        if resource.state == ResourceState::Deleting {
            let waited = self.clock.now().since(resource.changed_at);
            return match self.cloud.exists(kind_of, &resource.subnet, &cloud_id).await {
                Ok(false) => self.gone(pass, resource).await,
                Ok(true) if waited >= self.timeouts.delete => self.send_delete(pass, resource, &cloud_id).await,
                Ok(true) => Ok(Step::UnderWay),
                Err(error) => Ok(Step::from(error)),
            };
        }
        self.send_delete(pass, resource, &cloud_id).await
    }

    async fn send_delete(&self, pass: &Pass<'_>, resource: &mut Resource, cloud_id: &str) -> Result<Step, StoreError> {
        let word = resource.slot.as_str();
        crash_point(&format!("intent.delete_{word}"));
        let answer = self.cloud.delete(resource.slot.into(), &resource.subnet, cloud_id).await;
        crash_point(&format!("answer.delete_{word}"));
        match answer {
            Ok(Deletion::Gone) => self.gone(pass, resource).await,
            Ok(Deletion::Accepted) => {
                resource.state = ResourceState::Deleting;
                resource.changed_at = self.clock.now();
                self.record_resource(pass, resource, Vec::new()).await?;
                Ok(Step::Done)
            }
            Err(error) => Ok(Step::from(error)),
        }
    }

    /// A row without an id: the create may have happened without our knowing. Nothing is gone before its name was looked
    /// up as often as after a lost answer.
    async fn settle(
        &self,
        pass: &Pass<'_>,
        resource: &mut Resource,
        wanted: Option<Wanted>,
        own_interface: Option<String>,
    ) -> Result<Step, StoreError> {
        let Some(wanted) = wanted else { return self.gone(pass, resource).await };
        match self.cloud.find(&wanted).await {
            Ok(Some(found)) if resource.slot != Slot::Server || found.interface == own_interface => {
                self.made(pass, resource, found, "found").await
            }
            Ok(Some(_)) => self.gone(pass, resource).await,
            Ok(None) if resource.in_doubt && resource.lookups_left > 0 => {
                resource.lookups_left -= 1;
                self.record_resource(pass, resource, Vec::new()).await?;
                let error = format!("looks whether {} was made after all", resource.name);
                Ok(Step::Again { error, retry_after: Some(Duration::from_secs(2)) })
            }
            Ok(None) => self.gone(pass, resource).await,
            Err(error) => Ok(Step::from(error)),
        }
    }

    async fn gone(&self, pass: &Pass<'_>, resource: &mut Resource) -> Result<Step, StoreError> {
        let now = self.clock.now();
        resource.state = ResourceState::Gone;
        resource.in_doubt = false;
        resource.changed_at = now;
        let message = format!("{} is gone: {}", resource.slot.in_words(), resource.name);
        let data = json!({"slot": resource.slot, "name": resource.name, "id": resource.cloud_id});
        let event = of_holder(NewEvent::new(now, kind::RESOURCE_GONE, message).with(data), resource);
        self.record_resource(pass, resource, vec![event]).await?;
        Ok(Step::Done)
    }

    async fn record_resource(
        &self,
        pass: &Pass<'_>,
        resource: &Resource,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        let changes = Changes { resources: vec![resource], events, ..Changes::default() };
        self.store.commit(pass.lease, changes).await
    }
}

fn of_holder(event: NewEvent, resource: &Resource) -> NewEvent {
    match &resource.server_id {
        Some(server_id) => event.of_node(server_id),
        None => event,
    }
}

fn somebody_elses(resource: &Resource, found: &Found) -> Step {
    Step::Refused {
        code: "name_taken",
        error: format!(
            "a server named {} exists already ({}) and doesn't hang on our interface; it is left alone",
            resource.name, found.cloud_id
        ),
        hint: "give the node another server_name, or remove that server yourself".into(),
    }
}

/// The deterministic name of a holder's resource.
pub(crate) fn name_of(pass: &Pass<'_>, server_id: Option<&str>, slot: Slot) -> String {
    resource_name(pass.deployment, server_id, slot)
}
