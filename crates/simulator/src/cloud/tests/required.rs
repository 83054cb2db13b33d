//! The Python SDK's `from_dict` (ibm-vpc 0.36) refuses an answer that lacks a required property or has `null` in it.

use super::*;

#[track_caller]
fn has(json: &Value, required: &str) {
    for property in required.split_whitespace() {
        assert!(!json[property].is_null(), "{property} is missing in {json}");
    }
}

#[test]
fn servers_have_what_is_required() {
    let mut rig = Rig::new();
    let (id, _) = rig.server("node-1", "10.240.0.11");
    let (_, server) = rig.get(&format!("/bare_metal_servers/{id}"));
    has(
        &server,
        "bandwidth boot_target cpu created_at crn disks enable_secure_boot firmware health_reasons health_state href id \
         lifecycle_reasons lifecycle_state memory metadata_service name network_interfaces primary_network_interface \
         profile reservation_affinity resource_group resource_type status status_reasons trusted_platform_module vpc \
         zone network_attachments primary_network_attachment",
    );
    has(&server["boot_target"], "href id name resource_type");
    has(&server["cpu"], "architecture core_count socket_count threads_per_core");
    has(&server["trusted_platform_module"], "enabled mode supported_modes");
    has(&server["disks"][1], "created_at href id interface_type name resource_type size");
    has(
        &server["primary_network_attachment"],
        "href id name primary_ip resource_type subnet virtual_network_interface",
    );
    has(&server["primary_network_interface"], "href id name primary_ip resource_type subnet");
    has(&rig.get(&format!("/bare_metal_servers/{id}/initialization")).1, "image keys user_accounts");
    let both = "created_at href id name port_speed primary_ip resource_type subnet type interface_type allowed_vlans";
    let (_, list) = rig.get(&format!("/bare_metal_servers/{id}/network_attachments"));
    has(&list, "first limit total_count network_attachments");
    has(&list["network_attachments"][0], both);
    has(&list["network_attachments"][0], "lifecycle_state virtual_network_interface");
    let (_, list) = rig.get(&format!("/bare_metal_servers/{id}/network_interfaces"));
    has(&list["network_interfaces"][0], both);
    has(
        &list["network_interfaces"][0],
        "allow_ip_spoofing enable_infrastructure_nat floating_ips mac_address security_groups status",
    );
    rig.minutes(12);
    let (_, token) =
        rig.post(&format!("/bare_metal_servers/{id}/console_access_token"), json!({"console_type": "vnc"}));
    has(&token, "access_token console_type created_at expires_at force href");
}

#[test]
fn what_a_server_stands_on_has_what_is_required() {
    let mut rig = Rig::new();
    rig.vni("node-1-vni", "10.240.0.11");
    let reserved_ips = rig.reserved_ips();
    for (path, name, required) in [
        (
            "/virtual_network_interfaces",
            "virtual_network_interfaces",
            "allow_ip_spoofing auto_delete created_at crn enable_infrastructure_nat href id ips lifecycle_state name \
             primary_ip protocol_state_filtering_mode resource_group resource_type security_groups subnet vpc zone",
        ),
        (
            reserved_ips.as_str(),
            "reserved_ips",
            "address auto_delete created_at href id lifecycle_state name owner resource_type",
        ),
        (
            "/subnets",
            "subnets",
            "available_ipv4_address_count created_at crn href id ip_version ipv4_cidr_block name network_acl \
             resource_group resource_type routing_table status total_ipv4_address_count vpc zone",
        ),
        (
            "/vpcs",
            "vpcs",
            "classic_access created_at crn cse_source_ips default_network_acl default_routing_table \
             default_security_group dns health_reasons health_state href id name public_address_ranges resource_group \
             resource_type status",
        ),
        (
            "/images",
            "images",
            "allowed_use catalog_offering created_at crn encryption file href id name operating_system resource_group \
             resource_type status status_reasons user_data_format visibility zones",
        ),
        ("/keys", "keys", "created_at crn fingerprint href id length name public_key resource_group type"),
        ("/security_groups", "security_groups", "created_at crn href id name resource_group rules targets vpc"),
        (
            "/bare_metal_server/profiles",
            "profiles",
            "bandwidth console_types cpu_architecture cpu_core_count cpu_socket_count disks family href memory name \
             network_attachment_count network_interface_count os_architecture reservation_terms resource_type \
             supported_trusted_platform_module_modes virtual_network_interfaces_supported zones",
        ),
    ] {
        let (_, list) = rig.get(path);
        has(&list, &format!("first limit total_count {name}"));
        has(&list[name][0], required);
    }
    let (_, regions) = rig.get("/regions");
    has(&regions["regions"][0], "endpoint href name status");
    let (_, zones) = rig.get("/regions/us-south/zones");
    has(&zones["zones"][0], "href name region status");
}
