"""IBM's own Python SDK against `metalform simulate`, as an operator of bare metal servers would use it.

The simulator must not be measured only by clients that were written beside it: a shared mistake would stay unseen. So every
answer here goes through the SDK's own models, which miss no required property (`from_dict` raises) and name no property
that the SDK doesn't know (`unknown_properties`).

Takes the first line that `metalform simulate` printed as its only argument. Ends with 0, or with the traceback of the first
expectation that wasn't met.
"""

import json
import sys
import time
import tomllib
import urllib.request

import ibm_vpc.vpc_v1 as vpc
from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import IAMAuthenticator

# No wait is longer, in seconds. The simulated world runs much faster than that.
DEADLINE = 60


def main():
    world = json.loads(sys.argv[1])
    cloud = tomllib.loads(world["plan"])["cloud"]
    service = vpc.VpcV1(authenticator=IAMAuthenticator("any-key", url=world["iam_url"]))
    service.set_service_url(world["vpc_url"])

    look_around(service, cloud)
    image = find_ipxe_image(service)
    address, interface = make_network(service, cloud)
    server = make_server(service, cloud, image, interface)
    reboot_into_another_script(service, cloud, image, server)
    meet_refusals(service, cloud, image, interface, server)
    remove_all(service, cloud, server, interface, address)
    read_ledger(world, {server["id"], interface["id"], address["id"]})


def look_around(service, cloud):
    step("what is there")
    profiles = vpc.BareMetalServerProfilesPager(client=service, limit=5).get_all()
    expect(cloud["profile"] in [profile["name"] for profile in profiles], "the plan's profile is listed")
    for profile in profiles:
        check(vpc.BareMetalServerProfile, profile)
    got = service.get_bare_metal_server_profile(name=cloud["profile"]).get_result()
    expect_equal(got, one(profiles, "name", cloud["profile"]), "a profile is the same in the list and alone")

    subnet = check(vpc.Subnet, service.get_subnet(id=cloud["subnet"]).get_result())
    expect_equal(subnet["zone"]["name"], cloud["zone"], "the subnet's zone")
    expect_equal(subnet["vpc"]["id"], cloud["vpc"], "the subnet's VPC")
    check(vpc.VPC, service.get_vpc(id=cloud["vpc"]).get_result())
    for key in service.list_keys().get_result()["keys"]:
        check(vpc.Key, key)
    for group in service.list_security_groups(vpc_id=cloud["vpc"]).get_result()["security_groups"]:
        check(vpc.SecurityGroup, group)
    check(vpc.SubnetCollection, service.list_subnets().get_result())
    check(vpc.VPCCollection, service.list_vpcs().get_result())


def find_ipxe_image(service):
    step("images")
    first = check(vpc.ImageCollection, service.list_images().get_result())
    expect_equal(len(first["images"]), 50, "a page holds 50 unless asked otherwise")
    expect(first["total_count"] > 1100, "there are more images than anyone expects")

    pager = vpc.ImagesPager(client=service, limit=100)
    pages = []
    while pager.has_next():
        pages.append(pager.get_next())
    names = [image["name"] for page in pages for image in page]
    expect_equal(len(names), first["total_count"], "the pages hold as many as the total says")
    expect_equal(len(set(names)), len(names), "no image is on two pages")
    expect_equal({len(page) for page in pages[:-1]}, {100}, "every page but the last is full")

    found = service.list_images(user_data_format=["ipxe"], status=["available"], visibility="public").get_result()
    expect_equal(len(found["images"]), 1, "one image boots iPXE")
    image = check(vpc.Image, found["images"][0])
    expect_equal(image["user_data_format"], "ipxe", "its user data format")
    expect(image["name"] in names, "the filtered image is in the whole list")
    expect(image["name"] not in [i["name"] for i in first["images"]], "an unfiltered first page misses it")
    return image


def make_network(service, cloud):
    step("a reserved address and a virtual network interface")
    made = service.create_subnet_reserved_ip(subnet_id=cloud["subnet"], name="sdk-node-1")
    expect_equal(made.get_status_code(), 201, "an address is reserved")
    address = check(vpc.ReservedIP, made.get_result())
    expect_equal(address["owner"], "user", "it is ours")
    listed = vpc.SubnetReservedIpsPager(client=service, subnet_id=cloud["subnet"], limit=10).get_all()
    for each in listed:
        check(vpc.ReservedIP, each)
    expect_equal({each["owner"] for each in listed}, {"user", "provider"}, "IBM's own addresses are listed too")

    made = service.create_virtual_network_interface(name="sdk-node-1", primary_ip={"id": address["id"]})
    expect_equal(made.get_status_code(), 201, "an interface is made")
    interface = wait_for(
        "the interface is stable",
        lambda: service.get_virtual_network_interface(id=made.get_result()["id"]).get_result(),
        lambda now: now["lifecycle_state"] == "stable",
    )
    check(vpc.VirtualNetworkInterface, interface)
    expect_equal(interface["primary_ip"]["address"], address["address"], "it has the reserved address")
    expect_equal(interface["auto_delete"], False, "made on its own, it outlives a server")
    expect("mac_address" in interface and "target" not in interface, "it has a MAC address and no target")
    return address, interface


def prototype(cloud, image, interface, name):
    """The body by which a server is made, in the SDK's own classes."""
    return vpc.BareMetalServerPrototypeBareMetalServerByNetworkAttachment(
        name=name,
        profile=vpc.BareMetalServerProfileIdentityByName(name=cloud["profile"]),
        zone=vpc.ZoneIdentityByName(name=cloud["zone"]),
        vpc=vpc.VPCIdentityById(id=cloud["vpc"]),
        initialization=vpc.BareMetalServerInitializationPrototype(
            image=vpc.ImageIdentityById(id=image["id"]),
            keys=[vpc.KeyIdentityById(id=key) for key in cloud["ssh_keys"]],
            user_data="http://10.240.0.5:8080/boot/ipxe/sdk-node-1?t=none",
        ),
        primary_network_attachment=vpc.BareMetalServerPrimaryNetworkAttachmentPrototypeBareMetalServerPrimaryNetworkAttachmentByPCIPrototype(
            name="eth0",
            virtual_network_interface=(
                vpc.BareMetalServerNetworkAttachmentPrototypeVirtualNetworkInterfaceVirtualNetworkInterfaceIdentityVirtualNetworkInterfaceIdentityById(
                    id=interface["id"]
                )
            ),
        ),
    )


def make_server(service, cloud, image, interface):
    step("a bare metal server")
    made = service.create_bare_metal_server(prototype(cloud, image, interface, "sdk-node-1"))
    expect_equal(made.get_status_code(), 201, "a server is made")
    server = check(vpc.BareMetalServer, made.get_result())
    expect_equal(server["status"], "pending", "it is pending at first")
    expect("user_data" not in json.dumps(server), "user data is never echoed")
    server = wait_for_status(service, server, "running")
    check(vpc.BareMetalServer, server)

    attachment = server["primary_network_attachment"]
    expect_equal(attachment["virtual_network_interface"]["id"], interface["id"], "it hangs on our interface")
    expect_equal(server["primary_network_interface"]["id"], attachment["id"], "the old style mirrors the attachment")
    target = service.get_virtual_network_interface(id=interface["id"]).get_result()["target"]
    expect_equal(target["id"], attachment["id"], "the interface names its target")
    attachments = service.list_bare_metal_server_network_attachments(bare_metal_server_id=server["id"]).get_result()
    check(vpc.BareMetalServerNetworkAttachmentCollection, attachments)

    named = service.list_bare_metal_servers(name="sdk-node-1").get_result()
    check(vpc.BareMetalServerCollection, named)
    expect_equal([each["id"] for each in named["bare_metal_servers"]], [server["id"]], "it is found by its name")
    started_with = service.get_bare_metal_server_initialization(id=server["id"]).get_result()
    check(vpc.BareMetalServerInitialization, started_with)
    expect_equal(started_with["image"]["id"], image["id"], "it says which image it was made from")
    expect_equal(started_with["user_accounts"], [], "the iPXE image has no account")
    return server


def reboot_into_another_script(service, cloud, image, server):
    step("stop and reinitialize")
    stopped = service.stop_bare_metal_server(id=server["id"], type="hard")
    expect_equal(stopped.get_status_code(), 204, "a server is stopped")
    wait_for_status(service, server, "stopped")
    again = service.replace_bare_metal_server_initialization(
        id=server["id"],
        image=vpc.ImageIdentityById(id=image["id"]),
        keys=[vpc.KeyIdentityById(id=key) for key in cloud["ssh_keys"]],
        user_data="#!ipxe\nshell",
    )
    expect_equal(again.get_status_code(), 200, "a stopped server is reinitialized")
    check(vpc.BareMetalServerInitialization, again.get_result())
    now = service.get_bare_metal_server(id=server["id"]).get_result()
    expect(now["status"] in ("reinitializing", "starting", "running"), "it goes on by itself")
    wait_for_status(service, server, "running")


def meet_refusals(service, cloud, image, interface, server):
    step("refusals")
    refused(
        400,
        "not unique",
        lambda: service.create_subnet_reserved_ip(subnet_id=cloud["subnet"], name="sdk-node-1"),
    )
    refused(
        400,
        "already exists",
        lambda: service.create_virtual_network_interface(name="sdk-node-1", subnet={"id": cloud["subnet"]}),
    )
    refused(
        400,
        "not unique",
        lambda: service.create_bare_metal_server(prototype(cloud, image, interface, "sdk-node-1")),
    )
    refused(
        409,
        "in use",
        lambda: service.create_bare_metal_server(prototype(cloud, image, interface, "sdk-node-2")),
    )
    refused(409, "in use", lambda: service.delete_virtual_network_interfaces(id=interface["id"]))
    refused(409, "STOPPED", lambda: service.start_bare_metal_server(id=server["id"]))
    refused(404, "could not be found", lambda: service.get_bare_metal_server(id="0717-none"))
    refused(404, "could not be found", lambda: service.delete_virtual_network_interfaces(id="0717-none"))
    refused(404, "could not be found", lambda: service.get_image(id="r006-none"))
    unknown = prototype(cloud, image, interface, "sdk-node-2").to_dict() | {"user_data": "http://10.240.0.5/"}
    refused(400, "user_data", lambda: service.create_bare_metal_server(unknown))
    stranger = vpc.VpcV1(authenticator=vpc_token("not-a-token"))
    stranger.set_service_url(service.service_url)
    refused(401, "token", lambda: stranger.list_vpcs())


def remove_all(service, cloud, server, interface, address):
    step("removal, in the order the cloud asks for")
    refused_while_running = service.get_bare_metal_server(id=server["id"]).get_result()["status"]
    expect_equal(refused_while_running, "running", "refusals changed nothing")
    refused(409, "", lambda: service.delete_bare_metal_server(id=server["id"]))
    service.stop_bare_metal_server(id=server["id"], type="hard")
    wait_for_status(service, server, "stopped")
    expect_equal(service.delete_bare_metal_server(id=server["id"]).get_status_code(), 202, "a delete is accepted")
    wait_until_gone("the server", lambda: service.get_bare_metal_server(id=server["id"]))

    left = service.get_virtual_network_interface(id=interface["id"]).get_result()
    expect("target" not in left, "the interface is left, attached to nothing")
    refused(
        409,
        "in use",
        lambda: service.delete_subnet_reserved_ip(subnet_id=cloud["subnet"], id=address["id"]),
    )
    gone = service.delete_virtual_network_interfaces(id=interface["id"])
    expect_equal(gone.get_status_code(), 202, "the interface's delete is accepted")
    wait_until_gone("the interface", lambda: service.get_virtual_network_interface(id=interface["id"]))
    gone = service.delete_subnet_reserved_ip(subnet_id=cloud["subnet"], id=address["id"])
    expect_equal(gone.get_status_code(), 204, "the address is deleted")
    refused(
        404,
        "could not be found",
        lambda: service.get_subnet_reserved_ip(subnet_id=cloud["subnet"], id=address["id"]),
    )


def read_ledger(world, ids):
    step("the ledger")
    with urllib.request.urlopen(f"{world['control_url']}/ledger", timeout=10) as answer:
        ledger = json.load(answer)
    expect_equal({entry["id"] for entry in ledger}, ids, "the ledger holds what was made, and nothing else")
    leaked = [entry for entry in ledger if entry["deleted_at"] is None]
    expect_equal(leaked, [], "everything that was made is deleted")


def vpc_token(token):
    """An authenticator that sends a token of our own."""
    from ibm_cloud_sdk_core.authenticators import BearerTokenAuthenticator

    return BearerTokenAuthenticator(token)


def check(model, answer):
    """The answer, after the SDK's own model has read it and said it again without missing or unknown properties."""
    said = model.from_dict(answer).to_dict()
    unknown = unknown_properties(answer, said, model.__name__)
    expect_equal(unknown, [], "the SDK knows every property of the answer")
    return answer


def unknown_properties(answer, said, place):
    if isinstance(answer, dict) and isinstance(said, dict):
        unknown = [f"{place}.{name}" for name in answer if name not in said]
        for name in answer.keys() & said.keys():
            unknown += unknown_properties(answer[name], said[name], f"{place}.{name}")
        return unknown
    if isinstance(answer, list) and isinstance(said, list):
        pairs = enumerate(zip(answer, said))
        return [each for n, (one, two) in pairs for each in unknown_properties(one, two, f"{place}[{n}]")]
    return []


def refused(status, words, call):
    try:
        answer = call()
    except ApiException as error:
        expect_equal(error.status_code, status, f"status of the refusal {error}")
        expect(words in error.message, f"{words!r} is in the refusal {error.message!r}")
        trace = error.http_response.json()["trace"]
        expect_equal(trace, error.http_response.headers.get("X-Request-Id"), "the refusal's trace is its request id")
    else:
        raise AssertionError(f"not refused: {answer.get_result()}")


def wait_for_status(service, server, status):
    return wait_for(
        f"the server is {status}",
        lambda: service.get_bare_metal_server(id=server["id"]).get_result(),
        lambda now: now["status"] == status,
    )


def wait_until_gone(what, call):
    def look():
        try:
            return call().get_result()
        except ApiException as error:
            expect_equal(error.status_code, 404, f"how {what} is gone: {error}")
            return None

    wait_for(f"{what} is gone", look, lambda now: now is None)


def wait_for(what, look, is_there):
    until = time.monotonic() + DEADLINE
    while True:
        now = look()
        if is_there(now):
            return now
        expect(time.monotonic() < until, f"within {DEADLINE} s: {what}; it is {json.dumps(now)}")
        time.sleep(0.05)


def one(things, key, value):
    found = [thing for thing in things if thing[key] == value]
    expect_equal(len(found), 1, f"one with {key} {value}")
    return found[0]


def expect(true, what):
    if not true:
        raise AssertionError(what)


def expect_equal(left, right, what):
    expect(left == right, f"{what}: {left!r} is not {right!r}")


def step(name):
    print(f"-- {name}", flush=True)


if __name__ == "__main__":
    main()
