use super::*;
use crate::testing::{BootServer, create_body};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use metalform_model::{PlanFormat, Profiles, read_plan};
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};
use tokio::net::TcpStream;
use url::Url;

mod ssh;

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "sockets need the real time, and the service's clock is not here")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp(since.as_micros() as i64)
    }
}

async fn started(settings: SimulatorSettings) -> RunningSimulator {
    start(settings, Arc::new(WallClock), CancellationToken::new()).await.unwrap()
}

/// Serves the tests' nodes on a free port.
async fn boot_server(subnet: Ipv4Net) -> Arc<BootServer> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = BootServer::new(&listener.local_addr().unwrap().to_string(), subnet, 3);
    (server.kernel, server.initrd) = (vec![1; 300_000], vec![2; 500_000]);
    let server = Arc::new(server);
    let serving = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let server = serving.clone();
            tokio::spawn(async move {
                let service = service_fn(|request: hyper::Request<Incoming>| {
                    let server = server.clone();
                    async move {
                        let url = Url::parse(&format!("http://{}{}", server.host, request.uri())).unwrap();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let (status, body) = server.answer(peer.ip(), &url, &body);
                        let body = Full::new(bytes::Bytes::from(body));
                        Ok::<_, Infallible>(hyper::Response::builder().status(status).body(body).unwrap())
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    server
}

/// Waits for a value, at most half a minute.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it never came to it")
}

struct Client {
    http: reqwest::Client,
    bearer: String,
}

impl Client {
    async fn log_in(simulator: &RunningSimulator) -> Client {
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=any";
        let token = http
            .post(format!("{}/identity/token", simulator.iam_url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let token: Value = token.send().await.unwrap().json().await.unwrap();
        Client { http, bearer: token["access_token"].as_str().unwrap().to_owned() }
    }

    async fn vpc(&self, simulator: &RunningSimulator, path: &str, body: Option<Value>) -> (u16, Value) {
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{joint}version=2026-10-06&generation=2", simulator.vpc_url);
        let request = if let Some(body) = body { self.http.post(url).json(&body) } else { self.http.get(url) };
        let response = request.bearer_auth(&self.bearer).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn order_all(&self, simulator: &RunningSimulator, boot: &BootServer) {
        let ids = simulator.with_world(|world, _| world.plan_ids());
        let images = "/images?user_data_format=ipxe&visibility=public&status=available";
        let image = self.vpc(simulator, images, None).await.1["images"][0]["id"].clone();
        for node in &boot.nodes {
            let vni = json!({
                "name": node.server_id, "subnet": {"id": ids.subnet}, "primary_ip": {"address": node.mgmt_ip},
            });
            let vni = self.vpc(simulator, "/virtual_network_interfaces", Some(vni)).await.1["id"].clone();
            let server = json!({
                "name": node.server_id, "profile": {"name": "bx2d-metal-96x384"}, "zone": {"name": ids.zone},
                "vpc": {"id": ids.vpc},
                "initialization": {
                    "image": {"id": image}, "keys": [{"id": ids.key}], "user_data": boot.script_url(node),
                },
                "primary_network_attachment": {"name": "eth0", "virtual_network_interface": {"id": vni}},
            });
            assert_eq!(self.vpc(simulator, "/bare_metal_servers", Some(server)).await.0, 201);
        }
    }

    /// `None` while nobody answers.
    async fn prism(&self, ip: Ipv4Addr, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let url = format!("https://{ip}:9440/PrismGateway/services/rest/{path}");
        let request = if let Some(body) = body { self.http.post(url).json(body) } else { self.http.get(url) };
        let response = request.basic_auth("admin", Some("admin")).send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.unwrap_or_default()))
    }

    /// The certificate shown on a new connection.
    async fn certificate(&self, ip: Ipv4Addr) -> Vec<u8> {
        let builder = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true).no_proxy();
        let response = builder.build().unwrap().get(format!("https://{ip}:9440/")).send().await.unwrap();
        let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        info.peer_certificate().unwrap().to_vec()
    }

    async fn control(&self, simulator: &RunningSimulator, path: &str) -> Value {
        self.http.get(format!("{}{path}", simulator.control_url)).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_wire_three_servers_boot_install_and_form_a_cluster() {
    let simulator = started(SimulatorSettings::new(3, 6000.0)).await;
    let boot = boot_server(simulator.subnet).await;
    let client = Client::log_in(&simulator).await;
    let cvm = boot.nodes[0].cvm_ip;
    assert!(client.prism(cvm, "v1/cluster", None).await.is_none(), "refused before there is a CVM");
    client.order_all(&simulator, &boot).await;
    for node in &boot.nodes {
        until(async || client.prism(node.cvm_ip, "v1/cluster", None).await.filter(|(status, _)| *status == 200)).await;
    }
    let first_key = client.certificate(cvm).await;
    assert!(client.certificate(cvm).await == first_key);
    assert!(client.certificate(boot.nodes[1].cvm_ip).await != first_key, "each CVM has its own key");
    let created = client.prism(cvm, "v2.0/clusters", Some(&create_body(boot.vip))).await.unwrap();
    assert_eq!((created.0, &created.1["num_nodes"]), (200, &json!(3)));
    let is_up = |(_, cluster): &(u16, Value)| cluster["cluster_status"] == "UP";
    until(async || client.prism(boot.vip, "v2.0/cluster", None).await.filter(is_up)).await;

    let mut keys = Vec::new();
    for node in &boot.nodes {
        keys.push(client.certificate(node.cvm_ip).await);
    }
    assert!(keys[0] != first_key, "the create made a new key");
    assert!(keys.contains(&client.certificate(boot.vip).await), "a member answers for the VIP");

    let installed = || boot.reports.lock().unwrap().iter().filter(|(_, r)| r["phase"] == "installed").count();
    until(async || (installed() == 3).then_some(())).await;
    let machines = client.control(&simulator, "/machines").await;
    assert_eq!(machines[0]["script_fetches"], 1);
    let ledger = client.control(&simulator, "/ledger").await;
    let kinds = |kind: &str| ledger.as_array().unwrap().iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((kinds("bare_metal_server"), kinds("virtual_network_interface")), (3, 3));
    let requests = client.control(&simulator, "/requests").await;
    let creates = requests.as_array().unwrap().iter().filter(|entry| {
        entry["face"] == "prism" && entry["method"] == "POST" && entry["body"] == create_body(boot.vip)
    });
    assert_eq!(creates.count(), 1);
    assert!(!requests.to_string().contains("boot-secret"));

    let (images, subnet) = (simulator.images_dir.clone(), simulator.subnet);
    assert!(images.join("vmlinuz-foundation").exists());
    simulator.stop().await;
    assert!(!images.exists());
    for ip in [cvm, boot.vip] {
        assert!(TcpStream::connect((ip, 9440)).await.is_err(), "{ip} is still bound");
    }
    assert_eq!(Block::claim(Some(subnet), 22).unwrap().subnet, subnet);
}

#[tokio::test]
async fn faults_are_armed_over_the_wire_and_a_lost_reply_is_a_closed_connection() {
    let simulator = started(SimulatorSettings::new(4, 6000.0)).await;
    let client = Client::log_in(&simulator).await;
    let add = |body: Value| client.http.post(format!("{}/faults", simulator.control_url)).json(&body).send();
    assert_eq!(add(json!({"name": "vni_reply_lost"})).await.unwrap().status(), 201);
    assert_eq!(add(json!({"name": "no_such_fault"})).await.unwrap().status(), 400);
    assert_eq!(add(json!({"name": "x", "effect": {"cvm": "levitates"}})).await.unwrap().status(), 400);
    assert_eq!(client.control(&simulator, "/faults").await[0]["fault"]["name"], "vni_reply_lost");

    let ids = simulator.with_world(|world, _| world.plan_ids());
    let url = format!("{}/virtual_network_interfaces?version=2026-10-06&generation=2", simulator.vpc_url);
    let body = json!({"name": "n", "subnet": {"id": ids.subnet}});
    assert!(client.http.post(url).bearer_auth(&client.bearer).json(&body).send().await.is_err());
    let ledger = client.control(&simulator, "/ledger").await;
    let made = ledger.as_array().unwrap().iter().find(|entry| entry["name"] == "n").unwrap();
    assert_eq!((&made["kind"], &made["deleted_at"]), (&json!("virtual_network_interface"), &Value::Null));
    assert_eq!(client.control(&simulator, "/faults").await[0]["struck"], 1);
    let log = client.control(&simulator, "/requests").await;
    assert_eq!(log.as_array().unwrap().last().unwrap()["status"], Value::Null);
    for (method, path, status) in [("POST", "/ledger", 405), ("GET", "/nothing", 404)] {
        let method = method.parse().unwrap();
        let request = client.http.request(method, format!("{}{path}", simulator.control_url));
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn plans_and_configuration_fit_the_world() {
    let simulator = started(SimulatorSettings::new(6, 60.0)).await;
    let read =
        |text: &str| read_plan(text, PlanFormat::Toml, &Profiles::builtin()).map(|checked| checked.plan.nodes.len());
    assert_eq!(read(&simulator.plan_toml), Ok(3));
    let second = PlanShape {
        cluster: "second".into(),
        server_prefix: "second".into(),
        nodes: 5,
        offset: PlanShape::addresses(3),
    };
    let second = simulator.plan(&second);
    assert_eq!(read(&second), Ok(5));
    assert_eq!(read(&simulator.plan(&PlanShape { nodes: 1, ..PlanShape::default() })), Ok(1));
    let addresses = |text: &str| -> Vec<Ipv4Addr> {
        let quoted = text.split('"').filter_map(|word| word.parse().ok());
        quoted.filter(|ip| simulator.subnet.contains(ip)).collect()
    };
    let (first, second) = (addresses(&simulator.plan_toml), addresses(&second));
    assert_eq!((first.len(), second.len()), (10, 16));
    assert!(first.iter().all(|ip| !second.contains(ip)));
    let config: toml::Table = simulator.config_toml(Some(Path::new("/var/lib/x"))).parse().unwrap();
    assert_eq!(config["ibm_cloud"]["vpc_url"].as_str(), Some(simulator.vpc_url.as_str()));
    assert_eq!(config["data_dir"].as_str(), Some("/var/lib/x"));
    assert_eq!(config.get("nutanix"), None, "every port is the usual one");
    assert!(!std::fs::read_to_string(simulator.api_key_file()).unwrap().trim().is_empty());
}

#[tokio::test]
async fn what_can_not_be_started_is_refused() {
    let settings = SimulatorSettings { listen: "192.0.2.1:80".parse().unwrap(), ..SimulatorSettings::new(8, 60.0) };
    let refused = start(settings, Arc::new(WallClock), CancellationToken::new()).await.err().unwrap();
    assert!(matches!(refused, SimulatorError::Listen { .. }));
}

#[tokio::test]
async fn a_foundation_of_published_clients_answers_in_plain_http_without_credentials() {
    let mut settings = SimulatorSettings::new(9, 6000.0);
    settings.world.cvms.foundation_api = Some(crate::cvm::FoundationApi::ImageNodes);
    let simulator = started(settings).await;
    let boot = boot_server(simulator.subnet).await;
    let client = Client::log_in(&simulator).await;
    client.order_all(&simulator, &boot).await;
    let url = |method: &str| format!("http://{}:8000/foundation/{method}", boot.nodes[0].cvm_ip);
    let text = async |method: &str| client.http.get(url(method)).send().await.ok()?.text().await.ok();
    for node in &boot.nodes {
        until(async || client.prism(node.cvm_ip, "v1/cluster", None).await).await;
    }
    assert_eq!(text("version").await.as_deref(), Some("foundation-5.6-simulated\n"));
    let nodes: Vec<Value> = boot
        .nodes
        .iter()
        .map(|node| {
            json!({
                "node_position": "A", "hypervisor_hostname": node.server_id, "hypervisor": "kvm", "ipmi_ip": "",
                "hypervisor_ip": node.ahv_ip, "cvm_ip": node.cvm_ip, "image_now": false,
            })
        })
        .collect();
    let (netmask, gateway) = (simulator.subnet.netmask(), crate::testing::nth(simulator.subnet, 1));
    let body = json!({
        "cvm_gateway": gateway, "cvm_netmask": netmask, "hypervisor_gateway": gateway, "hypervisor_netmask": netmask,
        "nos_package": null, "blocks": [{"nodes": nodes}],
        "clusters": [{
            "cluster_name": crate::testing::CLUSTER, "cluster_external_ip": boot.vip, "redundancy_factor": 2,
            "cluster_members": boot.nodes.iter().map(|node| node.cvm_ip).collect::<Vec<_>>(),
            "cluster_init_now": true,
        }],
    });
    let begun: Value = client.http.post(url("image_nodes")).json(&body).send().await.unwrap().json().await.unwrap();
    let progress = format!("progress?session_id={}", begun["session_id"].as_str().unwrap());
    until(async || {
        let told: Value = serde_json::from_str(&text(&progress).await?).unwrap();
        (told["imaging_stopped"] == true && told["aggregate_percent_complete"] == 100.0).then_some(())
    })
    .await;
    let (_, cluster) = client.prism(boot.nodes[2].cvm_ip, "v2.0/cluster", None).await.unwrap();
    assert_eq!((&cluster["cluster_status"], &cluster["num_nodes"]), (&json!("UP"), &json!(3)));
}
