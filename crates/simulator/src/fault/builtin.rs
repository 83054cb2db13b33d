//! The faults with a name: `demo --fault NAME` and tests arm them. Each says what happens and where it was seen.

use super::{CloudFault, CvmFault, Fault, FaultEffect, HardwareFault, MachineFault, Matches};

/// A named fault.
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// Where the same was seen.
    pub seen: &'static str,
    at: Option<(&'static str, &'static str)>,
    skip: u32,
    times: Option<u32>,
    effect: fn() -> FaultEffect,
}

impl Builtin {
    const fn new(name: &'static str, what: &'static str, seen: &'static str, effect: fn() -> FaultEffect) -> Self {
        Builtin { name, what, seen, at: None, skip: 0, times: Some(1), effect }
    }

    const fn at(mut self, method: &'static str, path: &'static str) -> Self {
        self.at = Some((method, path));
        self
    }

    const fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    const fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// The fault, unarmed and uncounted.
    pub fn fault(&self) -> Fault {
        let matches = match self.at {
            None => Matches::default(),
            Some((method, path)) => {
                Matches { method: Some(method.into()), path: Some(path.into()), ..Matches::default() }
            }
        };
        Fault { name: self.name.into(), matches, skip: self.skip, times: self.times, effect: (self.effect)() }
    }
}

/// The built-in fault of that name.
pub fn builtin(name: &str) -> Option<Fault> {
    BUILTINS.iter().find(|each| each.name == name).map(Builtin::fault)
}

/// The names of all built-in faults.
pub fn builtin_names() -> Vec<&'static str> {
    BUILTINS.iter().map(|each| each.name).collect()
}

const SERVERS: &str = "/bare_metal_servers$";

fn status(status: u16, code: &str, message: &str, retry_after: Option<u64>) -> FaultEffect {
    FaultEffect::Cloud(CloudFault::Status { status, code: code.into(), message: message.into(), retry_after })
}

fn create_says(line: &str, partial: bool) -> FaultEffect {
    FaultEffect::Cvm(CvmFault::CreateSays { line: line.into(), partial })
}

const OVERLOAD: &str = "The system is currently unable to fulfill the request. Please retry. If the failure persists, \
                        contact support and provide the trace value from this error.";

use CloudFault as Cloud;
use CvmFault as Cvm;
use FaultEffect as Effect;
use MachineFault as Machine;

/// All of them: first the cloud's, then the machines', then the CVMs'.
#[rustfmt::skip]
pub const BUILTINS: &[Builtin] = &[
    Builtin::new("rate_limited", "the VPC API answers three creates with 429 and Retry-After",
        "IBM/vpc-go-sdk issue 53: overload answers; the SDK honours Retry-After (ibm-cloud-sdk-core base_service.py)",
        || status(429, "too_many_requests", OVERLOAD, Some(1))).at("POST", "/v1/").times(3),
    Builtin::new("cloud_error", "a server create fails with 500 and without an effect",
        "IBM/vpc-go-sdk issue 53; ibm-cloud-sdk-core retries 500",
        || status(500, "internal_error", OVERLOAD, None)).at("POST", SERVERS),
    Builtin::new("cloud_unavailable", "five calls of the VPC API in a row answer 503",
        "IBM/vpc-go-sdk issue 53: \"The system is currently unable to fulfill the request\"",
        || status(503, "service_unavailable", OVERLOAD, None)).at("GET", "/v1/").times(5),
    Builtin::new("create_conflict", "a server create answers 409 once",
        "terraform-provider-ibm resource_ibm_is_bare_metal_server.go waits 15 s after a 409 on create and tries once more",
        || status(409, "conflict", "Another operation on this resource is in progress.", None)).at("POST", SERVERS),
    Builtin::new("token_rejected", "the VPC API refuses one valid token",
        "the Python SDK has no retry on 401: a client must drop its token by itself (ibm-cloud-sdk-core)",
        || status(401, "not_authenticated", "The token is expired or not valid.", None)).at("GET", "/v1/"),
    Builtin::new("forbidden", "a server create is refused: no permission",
        "VPC API error table: 403 not_authorized",
        || status(403, "not_authorized", "The request is not authorized.", None)).at("POST", SERVERS).always(),
    Builtin::new("api_key_refused", "IAM refuses the API key, from now on",
        "IAM answers BXNIM0415E for a key it can't find",
        || Effect::Cloud(Cloud::ApiKeyRefused)).always(),
    Builtin::new("server_reply_lost", "the server is created, the reply is lost",
        "the VPC API has no idempotency key; terraform-provider-ibm#589: the client times out while the cloud goes on",
        || Effect::Cloud(Cloud::ReplyLost)).at("POST", SERVERS),
    Builtin::new("vni_reply_lost", "the virtual network interface is created, the reply is lost",
        "as server_reply_lost",
        || Effect::Cloud(Cloud::ReplyLost)).at("POST", "/virtual_network_interfaces$"),
    Builtin::new("address_reply_lost", "the address is reserved, the reply is lost",
        "as server_reply_lost",
        || Effect::Cloud(Cloud::ReplyLost)).at("POST", "/reserved_ips$"),
    Builtin::new("delete_reply_lost", "a server is being deleted, the reply is lost",
        "terraform-provider-ibm#589: a second destroy fails on \"deleting\"",
        || Effect::Cloud(Cloud::ReplyLost)).at("DELETE", "/bare_metal_servers/"),
    Builtin::new("reinitialize_reply_lost", "a reinitialization has begun, the reply is lost",
        "as server_reply_lost; calling start afterwards answers 409",
        || Effect::Cloud(Cloud::ReplyLost)).at("PUT", "/initialization$"),
    Builtin::new("server_request_lost", "a server create is lost before it has an effect",
        "as server_reply_lost: the client can't tell the two apart",
        || Effect::Cloud(Cloud::RequestLost)).at("POST", SERVERS),
    Builtin::new("slow_cloud", "the answer to a server create comes 5 s late",
        "a create takes about 2.5 s in the log of nutanix-vpc-orchestrator",
        || Effect::Cloud(Cloud::Slow { seconds: 5.0 })).at("POST", SERVERS),
    Builtin::new("quota_exceeded", "server creates exceed the quota, from the second one on",
        "fedora-copr issue 2829: \"will put user over quota\"; 25 servers per account by IBM's quotas page",
        || Effect::Cloud(Cloud::Quota)).skip(1).always(),
    Builtin::new("server_fails", "a server becomes failed: cannot_start_capacity",
        "status_reasons of the VPC API; capacity failures are why Terraform's create waits for failed too",
        || Effect::Cloud(Cloud::ServerFails { reason: "cannot_start_capacity".into() })),
    Builtin::new("reinitialize_fails", "a reinitialization ends in failed: cannot_reinitialize",
        "status_reasons of the VPC API",
        || Effect::Cloud(Cloud::ReinitializeFails)),
    Builtin::new("server_never_boots", "a server is running, but its machine never powers on",
        "running means powered on, not booted (VPC API); metal3 BMO#1187: the hardware ignored the order",
        || Effect::Cloud(Cloud::NeverBoots)),
    Builtin::new("server_stays_pending", "a server stays pending",
        "provisioning takes \"10 minutes or less when resources are available\" (IBM docs)",
        || Effect::Cloud(Cloud::StaysPending)),
    Builtin::new("soft_stop_never_ends", "a soft stop is accepted and never ends",
        "IBM docs: try a hard stop when the OS ignores the soft one; ocs-ci waits 5 min, then stops hard",
        || Effect::Cloud(Cloud::SoftStopNeverEnds)).always(),
    Builtin::new("delete_lingers", "a deleted server lingers for an hour",
        "terraform-provider-ibm#48: destroyed bare metal lingers for hours",
        || Effect::Cloud(Cloud::DeleteLingers { seconds: 3600.0 })),
    Builtin::new("list_lag", "a server just created is missing from three list calls",
        "not published for VPC; common to distributed cloud APIs, and fatal to look-ups by name after a lost reply",
        || Effect::Cloud(Cloud::ListLag { calls: 3 })).at("POST", SERVERS),

    Builtin::new("machine_never_boots", "a machine is powered on and says nothing",
        "metal3 BMO#1187",
        || Effect::Machine(Machine::NeverBoots)),
    Builtin::new("dhcp_fails", "the first two dhcp commands of every boot fail",
        "IBM docs known-issues: \"iPXE network boot known timing issue\"",
        || Effect::Machine(Machine::DhcpFails { times: 2 })).always(),
    Builtin::new("url_mangled", "the console mangles & in the script URL into @",
        "nutanix-vpc-orchestrator c85a740",
        || Effect::Machine(Machine::UrlMangled)).always(),
    Builtin::new("machine_boots_twice", "a machine resets in the middle of the installation",
        "tinkerbell/tink#116, sidero#1321: install again and again",
        || Effect::Machine(Machine::BootsTwice)),
    Builtin::new("download_breaks", "a boot image download breaks off in the middle",
        "nutanix-vpc-orchestrator 452ebb7: a worker's time limit killed downloads; ipxe/ipxe#1545",
        || Effect::Machine(Machine::DownloadBreaks)),
    Builtin::new("wrong_digest", "a downloaded boot image is not what was sent",
        "nutanix-vpc-orchestrator setup.sh checks MD5 sums of the images for this reason",
        || Effect::Machine(Machine::WrongDigest)),
    Builtin::new("kernel_changed", "somebody on the wire gives the machines another kernel, which works",
        "plain HTTP protects nothing: ipxe.org/crypto; a proxy or a machine that answers at the boot plane's address",
        || Effect::Machine(Machine::KernelChanged)).always(),
    Builtin::new("script_changed", "somebody on the wire takes the digests out of the boot script",
        "as kernel_changed",
        || Effect::Machine(Machine::ScriptChanged)).always(),
    Builtin::new("attempt_forged", "somebody on the wire tells scripts in user data that their boot attempt is open",
        "as kernel_changed",
        || Effect::Machine(Machine::AttemptForged)).always(),
    Builtin::new("installer_hangs", "the installer stops without a word",
        "nutanix-vpc-orchestrator 745bb5a: dracut can hang; NVIDIA infra-controller#1846: 17 h in one state",
        || Effect::Machine(Machine::InstallerHangs)),
    Builtin::new("install_fails", "the installer reports that it failed",
        "nutanix-vpc-orchestrator 4ab2080, 73e9b90: wrong disk names each broke installs",
        || Effect::Machine(Machine::InstallFails)),
    Builtin::new("reports_lost", "reports of an installer never arrive",
        "nutanix-vpc-orchestrator 8596b08: the installer's BusyBox couldn't post them",
        || Effect::Machine(Machine::ReportsLost)),
    Builtin::new("somebody_in_the_middle", "over TLS a machine is answered with a certificate that its script doesn't pin",
        "mitmproxy and every proxy that looks into TLS with an authority of its own",
        || Effect::Machine(Machine::InTheMiddle)),
    Builtin::new("other_version", "a machine installs another version of the software than the others",
        "not published; image sets are chosen per node in every installer, so they can differ",
        || Effect::Machine(Machine::OtherVersion)),
    Builtin::new("disk_missing", "two data drives of an emulated machine aren't there",
        "nutanix-vpc-orchestrator docs/troubleshooting.md: confirm that the storage drives exist",
        || Effect::Machine(Machine::Hardware(HardwareFault::DiskMissing))).always(),
    Builtin::new("disk_too_small", "two data drives of an emulated machine have half their size",
        "nutanix-vpc-orchestrator docs: a boot disk of 480 GB nominal shows as 447 GiB, so sizes are compared with care",
        || Effect::Machine(Machine::Hardware(HardwareFault::DiskTooSmall))).always(),
    Builtin::new("disk_has_partitions", "the first data drive of an emulated machine holds a partition table",
        "nutanix-vpc-orchestrator ran wipefs on every NVMe drive without a look",
        || Effect::Machine(Machine::Hardware(HardwareFault::DiskHasPartitions))).always(),
    Builtin::new("disk_in_use", "the first data drive of an emulated machine is in use by its initrd",
        "nutanix-vpc-orchestrator docs: check that drives are not mounted or in use",
        || Effect::Machine(Machine::Hardware(HardwareFault::DiskInUse))).always(),
    Builtin::new("nic_unknown", "the installer's kernel has no driver for the network card of an emulated machine",
        "nutanix-vpc-orchestrator setup.sh: the stock initrd has no Pensando ionic driver, so no network at all",
        || Effect::Machine(Machine::Hardware(HardwareFault::NicUnknown))).always(),
    Builtin::new("little_memory", "an emulated machine has a quarter of its memory",
        "not published; a failed memory module is what every memory check is for",
        || Effect::Machine(Machine::Hardware(HardwareFault::LittleMemory))).always(),

    Builtin::new("cvm_never_ready", "a CVM's services never come up",
        "equinix-labs module README: \"run apply again up to 3 times\"",
        || Effect::Cvm(Cvm::NeverReady)),
    Builtin::new("cvm_dead", "a CVM that was ready answers no more",
        "`cluster create` with a node down at create: \"Could not discover all nodes specified\"",
        || Effect::Cvm(Cvm::Dead)),
    Builtin::new("cvm_html_errors", "a CVM's port 9440 answers 503 with HTML for a while",
        "Prism while its services start: refused, then 5xx with HTML, then 200",
        || Effect::Cvm(Cvm::HtmlErrors)),
    Builtin::new("formation_fails_once", "the first create fails, the next one works",
        "messages of `cluster create` that ask for a retry, such as \"Could not discover all nodes specified\"",
        || Effect::Cvm(Cvm::FormationFails)),
    Builtin::new("formation_hangs", "a create is accepted and never ends",
        "\"Zeus is not ready yet\" loops without a limit in `cluster create`",
        || Effect::Cvm(Cvm::FormationHangs)),
    Builtin::new("create_reply_lost", "a cluster create begins, and its connection closes without an answer",
        "a real create took 358 s against a web server's limit of 300 s (nutanix-vpc-orchestrator)",
        || Effect::Cvm(Cvm::CreateReplyLost)),
    Builtin::new("vip_late", "the VIP answers ten minutes later than the CVMs",
        "transcripts of cluster create: services are up on the CVMs before the virtual IP answers",
        || Effect::Cvm(Cvm::VipLate { seconds: 600.0 })),
    Builtin::new("node_already_configured", "a node says it belongs to a cluster already",
        "data drives survive a reinitialization (VPC API); \"SVM x is already configured\"",
        || Effect::Cvm(Cvm::AlreadyConfigured)),
    Builtin::new("service_down", "a service of the formed cluster stays down",
        "a status text with \"CVM: ... Up\" while every service is down was taken for success (nutanix-vpc-orchestrator)",
        || Effect::Cvm(Cvm::ServiceDown)),
    Builtin::new("blocked_pair", "packets between two CVMs are dropped, both ways, as long as the fault is armed",
        "all CVM-to-CVM ports have to be open (vendor's port lists); security groups and ACLs of a VPC drop silently",
        || Effect::Cvm(Cvm::BlockedPair)).always(),
    Builtin::new("clock_skew", "the clock of a CVM is five minutes fast, as long as the fault is armed",
        "clocks must agree before a create, and an isolated VPC may have no time server",
        || Effect::Cvm(Cvm::ClockSkew { seconds: 300.0 })).always(),
    Builtin::new("vip_taken", "something else has the address of the cluster, as long as the fault is armed",
        "the virtual IP must be free (vendor's requirements); a printer or a load balancer may have it",
        || Effect::Cvm(Cvm::VipTaken)).always(),
    Builtin::new("duplicate_address", "two CVM addresses lead to one machine, as long as the fault is armed",
        "an address given twice: whoever answers ARP first gets the connections",
        || Effect::Cvm(Cvm::DuplicateAddress)).always(),
    Builtin::new("node_undiscovered", "a create does not discover a node until genesis was restarted on it",
        "\"Could not discover all nodes specified\"; \"run apply again up to 3 times\" (equinix-labs module README)",
        || Effect::Cvm(Cvm::Undiscovered)),
    Builtin::new("iptables_fails", "a create fails in the middle: iptables",
        "\"Failed to configure iptables\", a message of `cluster create`; unconfirmed on current releases",
        || create_says("Failed to configure iptables on SVM {ip}", true)),
    Builtin::new("zeus_mapping_fails", "a create fails in the middle: Zeus mapping",
        "\"Failed to configure Zeus mapping\", as iptables_fails",
        || create_says("Failed to configure Zeus mapping on SVM node {ip}", true)),
    Builtin::new("initialization_fails", "a create fails in the middle: initialization",
        "\"Cluster initialization on x failed\", as iptables_fails",
        || create_says("Cluster initialization on {ip} failed", true)),
    Builtin::new("one_ssd", "a create says that there are too few boot SSDs, always",
        "transcript of December 2025: one node, redundancy factor 2, one SSD",
        || create_says("Cannot create one node backup cluster as not enough boot ssds found on SVM {ip}, expected: 2, found: 1",
            false)).always(),
    Builtin::new("operation_failed", "a create fails without a reason",
        "\"Operation failed\", the generic end of `cluster`",
        || create_says("Operation failed", false)),
    Builtin::new("zeus_never_ready", "a create says for ever that Zeus is not ready",
        "\"Zeus is not ready yet, trying again in 5 seconds\" loops without a limit (transcript; older material)",
        || Effect::Cvm(Cvm::ZeusNeverReady)),
    Builtin::new("cvm_reboots_in_create", "the CVM that creates the cluster restarts 60 s later",
        "the create is a process on that CVM",
        || Effect::Cvm(Cvm::RebootsInCreate { seconds: 60.0 })),
    Builtin::new("ssh_cut", "a create begins, and its SSH connection is cut",
        "a real create took 358 s against an SSH limit of 300 s (nutanix-vpc-orchestrator)",
        || Effect::Cvm(Cvm::SshCut)),
    Builtin::new("destroy_leaves_node", "a destroy leaves a node configured",
        "vendor's workshop documentation: .node_unconfigure for nodes that stay configured",
        || Effect::Cvm(Cvm::DestroyLeavesNode)),
    Builtin::new("service_flaps", "a service of the formed cluster comes and goes for ten minutes",
        "last_error in the rows of `cluster status`",
        || Effect::Cvm(Cvm::ServiceFlaps { seconds: 600.0 })),
];
