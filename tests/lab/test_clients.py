"""The call sequences of real clients, replayed with their libraries; docs/contract.md names the test of each."""

import json
import re
from typing import Any

import pytest

from tests.lab.callers import PLUGINS, Recorder, box, call, conflist, recording
from tests.lab.podman import Podman, podman
from tests.lab.product import PEER, PEER6, Product, network

OTHER_PEER = "10.200.0.1"
# A container id as nerdctl and containerd choose it.
CID = f"default-{'5e' * 32}"
# As go-cni passes them; the CNI conventions have hostPort.
PORTS = [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "0.0.0.0"}]


def other(**changes: Any) -> dict[str, Any]:
    """Return a second network, on VLAN 200."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.200.0.0/24", "rangeStart": "10.200.0.10"}]]}
    return network(name="other", vlan=200, ipam=ipam, **changes)


def succeeded(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a client, or fail with its error."""
    assert "Error" not in answer, answer["Error"]
    return answer


def addresses(interface: dict[str, Any]) -> list[str]:
    """Return the addresses of an interface of go-cni."""
    return [ip["IP"] for ip in interface["IPConfigs"]]


def test_nerdctl_runs_a_container_on_two_networks(product: Product) -> None:
    """DELs without a namespace, then both ADDs at once; after the container has ended, DELs without a namespace."""
    both = ["db", "other"]
    config = network(capabilities={"portMappings": True, "ips": True})
    with recording(product) as recorder, conflist(product, config, other()), box(product) as container:
        request = {"ID": CID, "NetNS": container.netns, "Networks": both, "Hostname": "web", "BinDir": Recorder.folder}
        answer = succeeded(call(product, "nerdctl", "create-runtime", **request, Ports=PORTS))
        first, second = answer["Interfaces"]["eth0"], answer["Interfaces"]["eth1"]
        assert (first["Sandbox"], second["Sandbox"]) == (container.netns, container.netns)
        assert addresses(first)[0].startswith("10.100.0.")
        assert addresses(second)[0].startswith("10.200.0.")
        assert first["Mac"] != second["Mac"]
        assert container.pings(PEER, PEER6, OTHER_PEER) == 6
        calls = recorder.calls()
        words = {"IgnoreUnknown=1", "NERDCTL_CNI_DHCP_HOSTNAME=web"}
        assert [(call.command, call.netns, call.ifname) for call in calls[:2]] == [("DEL", "", "eth0"), ("DEL", "", "eth1")]
        assert {(call.command, call.netns, call.ifname) for call in calls[2:]} == {
            ("ADD", container.netns, "eth0"),
            ("ADD", container.netns, "eth1"),
        }
        assert [(call.container, call.pairs) for call in calls] == [(CID, words)] * 4
        (with_ports,) = (call.config for call in calls if call.command == "ADD" and call.ifname == "eth0")
        assert with_ports["runtimeConfig"] == {"portMappings": PORTS}

        container.kill()
        succeeded(call(product, "nerdctl", "post-stop", **request, Ports=PORTS))
        assert [(call.command, call.netns, call.args) for call in recorder.calls()] == [("DEL", "", "")] * 2
        product.wait_free()


def test_nerdctl_kill_hup_leaves_a_living_container_its_network(product: Product) -> None:
    """``nerdctl kill -s HUP`` sends DEL for a running container: bond and addresses are not given to another."""
    wanted = {"IP": "10.100.0.77", "IP6": "fd00:100::77", "MAC": "02:00:00:aa:bb:cc", "Networks": ["db"], "Hostname": "web"}
    with conflist(product, network(capabilities={"ips": True})):
        with box(product) as container, box(product) as thief:
            request = {**wanted, "ID": CID, "NetNS": container.netns}
            interface = succeeded(call(product, "nerdctl", "create-runtime", **request))["Interfaces"]["eth0"]
            assert (addresses(interface), interface["Mac"]) == (["10.100.0.77", "fd00:100::77"], wanted["MAC"])
            succeeded(call(product, "nerdctl", "post-stop", **request))
            assert product.states().count("draining") == 1
            assert container.pings(PEER, PEER6) == 4
            second = {**request, "ID": f"{CID}f", "NetNS": thief.netns}
            for other_mac, words in (
                (wanted["MAC"], "is in use on VLAN 100 by container"),
                ("02:00:00:aa:bb:cd", "10.100.0.77"),
            ):
                refused = call(product, "nerdctl", "create-runtime", **{**second, "MAC": other_mac})
                assert 'failed to call cni.Setup: plugin type="sriov-bond" failed (add): ' in refused["Error"]
                assert words in refused["Error"]
            assert thief.links() == ["lo"]
            assert container.pings(PEER, PEER6) == 4
            container.kill()
            succeeded(call(product, "nerdctl", "post-stop", **request))
            product.wait_free()
        with box(product) as container:
            request["NetNS"] = container.netns
            interface = succeeded(call(product, "nerdctl", "create-runtime", **request))["Interfaces"]["eth0"]
            assert addresses(interface) == ["10.100.0.77", "fd00:100::77"]
            assert container.pings(PEER) == 2
        succeeded(call(product, "nerdctl", "post-stop", **request))
        product.wait_free()


def test_nerdctl_takes_back_both_networks_when_one_fails(product: Product) -> None:
    """The address is in CNI_ARGS for every network, and the second network does not have it."""
    with conflist(product, network(), other()), box(product) as container:
        request = {"ID": CID, "NetNS": container.netns, "Networks": ["db", "other"], "IP": "10.100.0.55", "Hostname": "web"}
        answer = call(product, "nerdctl", "create-runtime", **request)
        assert answer["Error"].startswith('failed to call cni.Setup: plugin type="sriov-bond" failed (add): ')
        assert container.links() == ["lo"]
        assert product.all_free()


def test_a_runtime_in_another_network_namespace_is_refused(product: Product) -> None:
    """A rootless nerdctl's hook is in a namespace without our NICs: ADD and STATUS report it, and nothing is changed."""
    config = json.dumps({**network(ipam=None), "cniVersion": "1.1.0"})
    with product.netns("box") as (path,):
        environ = f"CNI_CONTAINERID=box CNI_NETNS={path} CNI_IFNAME=eth0 CNI_PATH={PLUGINS}"
        # The first one still sees the host's sysfs, and so its NICs; the second has its own.
        for prefix in ("unshare --net", "ip netns exec world"):
            for verb in ("ADD", "STATUS"):
                answer = product.guest.run(f"{prefix} env CNI_COMMAND={verb} {environ} {PLUGINS}/sriov-bond", stdin=config)
                assert answer.status != 0
                words = "the NIC at .* has no network device" if verb == "STATUS" else "does the runtime run in the host's"
                assert re.search(words, answer.json()["msg"]), answer
            assert product.all_free()
        assert product.guest.sh("ip -n box -br link | wc -l").stdout == "1\n"


def test_containerd_runs_a_pod(product: Product) -> None:
    """With its loopback network and all it passes about a pod; ready by STATUS; a second stop has no namespace."""
    known = ("io.kubernetes.cri.pod-annotations", "portMappings", "bandwidth", "dns", "cgroupPath")
    newest = network(cniVersion="1.1.0", capabilities=dict.fromkeys(known, True))
    with recording(product) as recorder, conflist(product, newest), product.netns("pod") as (path,):
        product.guest.sh("ip -n pod link set lo down")
        request: dict[str, Any] = {"ID": "ab" * 32, "NetNS": path, "Hostname": "db-0", "BinDir": Recorder.folder}
        request |= {"Ports": PORTS, "Annotations": {"example.com/team": "db"}}
        succeeded(call(product, "containerd", "status", **request))
        interfaces = succeeded(call(product, "containerd", "run-pod", **request))["Interfaces"]
        assert len(addresses(interfaces["eth0"])) == 2
        assert (interfaces["eth0"]["Sandbox"], addresses(interfaces["lo"])[0]) == (path, "127.0.0.1")
        assert product.pings("pod", PEER) == 3
        succeeded(call(product, "containerd", "stop-pod", **request))
        succeeded(call(product, "containerd", "stop-pod", **{**request, "NetNS": ""}))
        calls = recorder.calls()
        assert [(call.command, call.netns) for call in calls] == [("STATUS", ""), ("ADD", path), ("DEL", path), ("DEL", "")]
        assert {word.partition("=")[0] for word in calls[1].pairs} == {
            *("IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"),
        }
        runtime_config = calls[1].config["runtimeConfig"]
        assert set(runtime_config) == set(known)
        assert (runtime_config["portMappings"], runtime_config["dns"]["Servers"]) == (PORTS, ["10.96.0.10"])
        assert runtime_config["io.kubernetes.cri.pod-annotations"] == request["Annotations"]


def test_containerd_refuses_a_pod_without_addresses_and_it_is_taken_back(product: Product) -> None:
    """Its node is not ready while our pool does not exist."""
    with product.netns("pod") as (path,):
        request = {"ID": "ab" * 32, "NetNS": path, "Hostname": "db-0"}
        with conflist(product, network(ipam=None)):
            answer = call(product, "containerd", "run-pod", **request)
            assert "failed to find network info for sandbox" in answer["Error"]
            assert "Ignored" not in answer
            assert product.all_free()
        with conflist(product, network(cniVersion="1.1.0", pool="web")):
            assert "pool 'web' is not provisioned" in call(product, "containerd", "status", **request)["Error"]


def test_crio_adds_and_at_once_checks(product: Product) -> None:
    """VERSION when it loads, STATUS until ready, ADD and CHECK, and a DEL from libcni's cache with a stale netns path."""
    config = network(cniVersion="1.1.0", capabilities={"mac": True})
    with recording(product) as recorder, conflist(product, config):
        request = {"ID": "cd" * 32, "Networks": ["db"], "IfName": "eth0", "Hostname": "db-0", "BinDir": Recorder.folder}
        assert succeeded(call(product, "crio", "load", **request))["Result"] == ["mac"]
        for _ in range(3):
            succeeded(call(product, "crio", "status", **request))
        with product.netns("pod") as (path,):
            request.update(NetNS=path, IP="10.100.0.66", MAC="02:00:00:aa:bb:cc")
            result = succeeded(call(product, "crio", "run-pod", **request))["Result"]
            assert (result["interfaces"][0]["mac"], result["ips"][0]["address"]) == (request["MAC"], "10.100.0.66/24")
            assert product.pings("pod", PEER) == 3
        product.guest.write("/run/netns/stale", "")
        stale = {**request, "NetNS": "/run/netns/stale", "IP": "", "MAC": ""}
        succeeded(call(product, "crio", "stop-pod", **stale))
        succeeded(call(product, "crio", "stop-pod", **stale))
        product.guest.sh("rm /run/netns/stale")
        calls = recorder.calls()
        assert [call.command for call in calls] == ["VERSION", *["STATUS"] * 3, "ADD", "CHECK", "DEL", "DEL"]
        add, check, first, second = calls[4:]
        assert check.config["prevResult"]["interfaces"][0]["sandbox"] == path
        assert (first.netns, first.pairs) == ("/run/netns/stale", add.pairs), "from libcni's cache of the ADD"
        assert "MAC=02:00:00:aa:bb:cc" not in second.pairs
        product.wait_free()


def test_crio_collects_what_is_not_its_own(product: Product) -> None:
    """A listed pod keeps its bond. CRI-O sends null for an empty list, and all bonds are freed."""
    newest = network(cniVersion="1.1.0")
    with recording(product) as recorder, conflist(product, newest), product.netns("pod1", "pod2") as paths:
        request = {"Networks": ["db"], "IfName": "eth0", "Hostname": "db-0", "BinDir": Recorder.folder}
        for number, path in enumerate(paths):
            succeeded(call(product, "crio", "run-pod", **request, ID=f"{number}" * 64, NetNS=path))
        # Of another client; it is not in libcni's cache.
        product.call("ADD", other(cniVersion="1.1.0"), "elsewhere", paths[0], "eth1").succeeded()
        recorder.calls()
        succeeded(call(product, "crio", "gc", **request, Valid=[{"containerID": "1" * 64, "ifname": "eth0"}]))
        assert product.states().count("ready") == 2
        assert product.pings("pod2", PEER) == 3
        succeeded(call(product, "crio", "gc", **request))
        assert product.states().count("ready") == 1, "another network's is not touched"
        calls = recorder.calls()
        assert [call.command for call in calls] == ["DEL", "GC", "DEL", "GC"]
        assert calls[3].config["cni.dev/valid-attachments"] is None
        assert "cni.dev/attachments" in calls[3].config
        product.call("DEL", other(cniVersion="1.1.0"), "elsewhere", paths[0], "eth1").succeeded()


def test_multus_adds_a_second_interface(product: Product) -> None:
    """A device of a device plugin selects the bond that has it as a port; CHECK ignores what Multus removes."""
    wanted = product.status()["bonds"][3]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.100.0.2"}]
    ipam = {**network()["ipam"], "routes": routes}
    known = ("mac", "ips", "deviceID", "CNIDeviceInfoFile")
    device = wanted["ports"][1]["pci"]
    capabilities = {
        "mac": "02:00:00:aa:bb:cc",
        "ips": ["10.100.0.88/24", "fd00:100::88/64"],
        "deviceID": device,
        "CNIDeviceInfoFile": "/var/run/k8s.cni.cncf.io/devinfo/cni/default-db-0-net1-device.json",
    }
    request: dict[str, Any] = {
        "ID": "ef" * 32,
        "IfName": "net1",
        "Networks": ["db"],
        "Hostname": "db-0",
        "DeviceID": device,
        "Capabilities": capabilities,
        "CacheDir": "/var/lib/cni/multus",
        "BinDir": Recorder.folder,
    }
    config = network(ipam=ipam, capabilities=dict.fromkeys(known, True))
    with recording(product) as recorder, conflist(product, config), product.netns("pod") as (path,):
        request["NetNS"] = path
        result = succeeded(call(product, "multus", "add", **request))["Result"]
        (interface,) = result["interfaces"]
        assert (interface["name"], interface["sandbox"], interface["mac"]) == ("net1", path, capabilities["mac"])
        assert [ip["address"] for ip in result["ips"]] == capabilities["ips"]
        (leased,) = (bond["name"] for bond in product.status()["bonds"] if bond["state"] == "ready")
        assert leased == wanted["name"]
        (add,) = recorder.calls()
        assert (add.config["deviceID"], add.config["pciBusID"]) == (device, device)
        assert set(add.config["runtimeConfig"]) == set(known)
        assert "IgnoreUnknown=true" in add.pairs
        succeeded(call(product, "multus", "check", **request))
        product.guest.sh("ip -n pod route del default dev net1")
        assert "the container has no route to 0.0.0.0/0" in call(product, "multus", "check", **request)["Error"]
        left = succeeded(call(product, "multus", "drop-default-route", **request))["Result"]
        assert [route["dst"] for route in left["routes"]] == ["10.9.0.0/16"]
        succeeded(call(product, "multus", "check", **request))
        assert product.pings("pod", PEER) == 3
        succeeded(call(product, "multus", "del", **request))
        assert product.guest.sh("ip -n pod -br link | wc -l").stdout == "1\n"


def test_multus_old_way_to_ask_for_addresses(product: Product) -> None:
    """MAC and IP in CNI_ARGS. Multus joins two families by a comma, which no delegate here accepts; the error says so."""
    request = {"ID": "ef" * 32, "IfName": "net1", "Networks": ["db"], "Hostname": "db-0"}
    request |= {"MAC": "02:00:00:aa:bb:cc", "IP": "10.100.0.66,fd00:100::66"}
    with product.netns("pod") as (path,):
        for kind in ("host-local", "sriov-bond-ipam"):
            with conflist(product, network(ipam={**network()["ipam"], "type": kind})):
                assert request["IP"] in call(product, "multus", "add", **request, NetNS=path)["Error"]
                assert product.all_free()
        with conflist(product, network()):
            request["IP"] = "10.100.0.66"
            result = succeeded(call(product, "multus", "add", **request, NetNS=path))["Result"]
            assert (result["interfaces"][0]["mac"], result["ips"][0]["address"]) == (request["MAC"], "10.100.0.66/24")
            succeeded(call(product, "multus", "del", **request, NetNS=path))


@pytest.fixture
def pod_man(product: Product) -> Podman:
    return podman(product)


def test_podman_runs_a_container(product: Product, pod_man: Podman) -> None:
    """Real podman with CNI networks: it reads our result, and its container reaches the peer."""
    with conflist(product, network(), other()):
        pod_man.start("box", "--network", "db", "--ip", "10.100.0.77", "--mac-address", "02:00:00:aa:bb:cc")
        pod_man.run("network", "connect", "other", "box")
        shown = pod_man.inspect("box")["NetworkSettings"]["Networks"]
        first = shown["db"]
        assert (first["IPAddress"], first["IPPrefixLen"], first["MacAddress"]) == ("10.100.0.77", 24, "02:00:00:aa:bb:cc")
        assert first["Gateway"] == PEER
        assert shown["other"]["IPAddress"].startswith("10.200.0.")
        answer = pod_man.inside("box", f"ip link; for peer in {PEER} {PEER6} {OTHER_PEER}; do ping -c 2 $peer; done")
        assert answer.count("2 packets transmitted, 2 packets received") == 3
        assert (answer.count("master eth0"), answer.count("master eth1")) == (2, 2)
        pod_man.run("rm", "--force", "--time", "0", "box")
        product.wait_free()
