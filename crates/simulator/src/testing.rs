//! What this crate's tests share: a boot server that knows three nodes, as values.

use crate::{
    fetch::{Answer, FetchResult},
    http::Request,
};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
};
use url::Url;

pub const CLUSTER: &str = "prod";
pub const TOKEN: &str = "boot-secret";

/// A node of the tests' cluster.
#[derive(Debug, Clone)]
pub struct Node {
    pub server_id: String,
    pub mgmt_ip: Ipv4Addr,
    pub ahv_ip: Ipv4Addr,
    pub cvm_ip: Ipv4Addr,
}

/// Serves script, images and configurations of some nodes, and keeps their reports.
pub struct BootServer {
    pub host: String,
    pub subnet: Ipv4Net,
    pub vip: Ipv4Addr,
    pub nodes: Vec<Node>,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub reports: Mutex<Vec<(String, Value)>>,
}

/// The address at that place in the network.
pub fn nth(subnet: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + n)
}

impl BootServer {
    pub fn new(host: &str, subnet: Ipv4Net, nodes: u32) -> Self {
        let node = |n: u32| Node {
            server_id: format!("server-{n:03}"),
            mgmt_ip: nth(subnet, 10 + n),
            ahv_ip: nth(subnet, 50 + n),
            cvm_ip: nth(subnet, 100 + n),
        };
        BootServer {
            host: host.into(),
            subnet,
            vip: nth(subnet, 200),
            nodes: (1..=nodes).map(node).collect(),
            kernel: b"a kernel".to_vec(),
            initrd: b"an initrd".to_vec(),
            reports: Mutex::default(),
        }
    }

    pub fn script_url(&self, node: &Node) -> String {
        format!("http://{}/boot/ipxe/{}?t={TOKEN}", self.host, node.server_id)
    }

    fn script(&self, node: &Node) -> String {
        let (host, id, ip) = (&self.host, &node.server_id, node.mgmt_ip);
        format!(
            "#!ipxe\n:retry\nimgfree\ndhcp || goto retry\n\
             kernel http://{host}/pxe/images/vmlinuz-foundation console=ttyS0,115200 initrd=initrd-foundation.img \
             node_id={id} mgmt_ip={ip} config_url=http://{host}/boot/server/{ip} boot_token={TOKEN} || goto error\n\
             initrd http://{host}/pxe/images/initrd-foundation.img || goto error\n\
             boot || goto error\n:error\nsleep 10\ngoto retry\n"
        )
    }

    pub fn config(&self, node: &Node) -> Value {
        let (netmask, gateway) = (self.subnet.netmask(), nth(self.subnet, 1));
        json!({
            "server_info": {
                "server_id": node.server_id, "server_name": node.server_id, "mgmt_ip": node.mgmt_ip,
                "profile": "bx2d-metal-96x384", "zone": "us-south-1",
            },
            "cluster_config": {
                "cluster_name": CLUSTER, "cluster_external_ip": self.vip, "redundancy_factor": 2,
                "cluster_functions": ["AOS"], "timezone": "UTC", "dns_servers": ["8.8.8.8"],
                "ntp_servers": ["pool.ntp.org"],
                "cvm_ips": self.nodes.iter().map(|node| node.cvm_ip).collect::<Vec<_>>(),
            },
            "node_config": {
                "hypervisor": "ahv", "hypervisor_ip": node.ahv_ip, "cvm_ip": node.cvm_ip,
                "netmask": netmask, "gateway": gateway, "hostname": node.server_id,
                "role": "compute-storage", "node_position": "A",
            },
            "storage_config": {
                "boot_device": "/dev/sda", "hypervisor_device": "/dev/sda", "cvm_device": "/dev/nvme0n1",
                "data_devices": ["/dev/nvme1n1", "/dev/nvme2n1"],
                "data_devices_by": "plan",
            },
            "network_config": {
                "cidr": self.subnet.trunc(), "netmask": netmask, "gateway": gateway, "dns_servers": ["161.26.0.10"],
                "interfaces": [{"name": "eth0", "ip": node.mgmt_ip, "netmask": netmask, "gateway": gateway}],
            },
        })
    }

    /// The status and body of an answer to a request from that address.
    pub fn answer(&self, from: IpAddr, url: &Url, body: &[u8]) -> (u16, Vec<u8>) {
        let found = |text: String| (200, text.into_bytes());
        let path = url.path();
        let node_at = |at: &str| {
            let node = self.nodes.iter().find(|node| at == node.server_id || at == node.mgmt_ip.to_string());
            node.filter(|node| url.query() == Some(&format!("t={TOKEN}")) && from == IpAddr::V4(node.mgmt_ip))
        };
        if let Some(node) = path.strip_prefix("/boot/ipxe/").and_then(node_at) {
            return found(self.script(node));
        }
        if let Some(node) = path.strip_prefix("/boot/server/").and_then(node_at) {
            return found(self.config(node).to_string());
        }
        if let Some(node) = path.strip_prefix("/boot/report/").and_then(node_at) {
            let report = serde_json::from_slice(body).unwrap();
            self.reports.lock().unwrap().push((node.server_id.clone(), report));
            return found(String::new());
        }
        match path {
            "/pxe/images/vmlinuz-foundation" => (200, self.kernel.clone()),
            "/pxe/images/initrd-foundation.img" => (200, self.initrd.clone()),
            "/pxe/images/SHA256SUMS" => {
                let line = |bytes: &[u8], name: &str| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
                found(line(&self.kernel, "vmlinuz-foundation") + &line(&self.initrd, "initrd-foundation.img"))
            }
            _ => (404, Vec::new()),
        }
    }

    /// The same, for a world in this process.
    pub fn fetch(&self, http: &crate::machine::Http) -> FetchResult {
        let url = Url::parse(&http.url).unwrap();
        let (status, body) = self.answer(http.from.into(), &url, http.body.as_deref().unwrap_or_default());
        FetchResult::Answered(Answer::new(status, body))
    }
}

/// A request as a client sends it; `target` is the path with its query.
pub fn request(method: &str, target: &str, authorization: Option<String>, body: Option<&Value>) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(authorization.map(|value| ("authorization".to_owned(), value)));
    Request {
        method: method.into(),
        path: path.into(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body: body.map_or_else(Vec::new, |body| body.to_string().into_bytes()),
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// A basic `Authorization`.
pub fn basic(user: &str, password: &str) -> Option<String> {
    use base64::Engine;
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))))
}

/// What `POST v2.0/clusters` needs for the tests' cluster.
pub fn create_body(vip: Ipv4Addr) -> Value {
    json!({
        "name": CLUSTER, "external_ip": vip, "redundancy_factor": 2, "cluster_functions": ["AOS"], "timezone": "UTC",
    })
}
