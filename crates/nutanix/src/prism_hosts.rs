//! The hosts of a cluster, as `GET v2.0/hosts` shows them: the API's own definition and payloads of AOS 5.10.

use crate::{Error, Operation, PinRule, PrismClient};
use serde_json::Value;
use std::net::Ipv4Addr;

const HOSTS_PATH: &str = "/PrismGateway/services/rest/v2.0/hosts";

/// One host. What is missing or has another type is `None`: fields come and go by release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Its name.
    pub name: Option<String>,
    /// Its controller VM.
    pub cvm_ip: Option<Ipv4Addr>,
    /// `NORMAL`, `NEW`, `MARKED_FOR_REMOVAL_BUT_NOT_DETACHABLE`, `DETACHABLE`.
    pub state: Option<String>,
    /// `kNormalMode` once it takes part in the metadata ring.
    pub metadata: Option<String>,
    /// Whether it is known to slow the cluster down.
    pub is_degraded: Option<bool>,
}

impl HostView {
    fn read(host: &Value) -> Self {
        let text = |key: &str| host[key].as_str().map(String::from);
        Self {
            name: text("name"),
            // The definition spells it `service_v_m_external_i_p`; payloads spell it thus.
            cvm_ip: text("service_vmexternal_ip").and_then(|ip| ip.parse().ok()),
            state: text("state"),
            metadata: text("metadata_store_status"),
            is_degraded: host["is_degraded"].as_bool(),
        }
    }

    /// Whether it takes full part in its cluster.
    pub fn is_normal(&self) -> bool {
        let is = |field: &Option<String>, word: &str| field.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(word));
        is(&self.state, "NORMAL") && is(&self.metadata, "kNormalMode") && self.is_degraded != Some(true)
    }

    /// What a person reads.
    pub fn in_words(&self) -> String {
        let or = |field: &Option<String>| field.clone().unwrap_or_else(|| "unknown".into());
        let degraded = if self.is_degraded == Some(true) { ", degraded" } else { "" };
        format!("{} {}, metadata {}{degraded}", or(&self.name), or(&self.state), or(&self.metadata))
    }
}

impl PrismClient {
    /// The hosts of the cluster that the CVM or VIP at `address` belongs to. Errors as of [`PrismClient::cluster`].
    pub async fn hosts(&self, address: Ipv4Addr, pin: PinRule) -> Result<Vec<HostView>, Error> {
        let (json, _) = self.read(Operation::ReadHosts, HOSTS_PATH, address, pin).await?;
        Ok(json["entities"].as_array().into_iter().flatten().map(HostView::read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{CVM, Scripted};

    #[tokio::test]
    async fn hosts_are_read_leniently_and_judged_by_state_metadata_and_degradation() {
        let body = r#"{"metadata":{"count":4},"entities":[
            {"name":"a","service_vmexternal_ip":"10.0.0.1","state":"NORMAL","metadata_store_status":"kNormalMode","is_degraded":false},
            {"name":"b","state":"NEW","metadata_store_status":"kNormalMode"},
            {"name":"c","state":"NORMAL","metadata_store_status":"kNormalMode","is_degraded":true},
            {"state":null}]}"#;
        let client = PrismClient::new(Scripted::answering([Ok((200, body))]), Default::default());
        let hosts = client.hosts(CVM, PinRule::TrustFirst).await.unwrap();
        let normal: Vec<bool> = hosts.iter().map(HostView::is_normal).collect();
        assert_eq!(normal, [true, false, false, false]);
        assert_eq!(hosts[0].cvm_ip, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(hosts[2].in_words(), "c NORMAL, metadata kNormalMode, degraded");
        assert_eq!(hosts[3].in_words(), "unknown unknown, metadata unknown");
    }
}
