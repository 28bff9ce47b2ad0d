"""What a boot's ADDs and DELs, and `up` and `down`, leave on the host: nothing. The guest is a plain host (inside/init.sh)."""

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.product import HOST_FILE, NICS, POOL, Product, network
from tests.lab.waiting import NeverHappenedError, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Guest

RUNS = 60
# The drivers stay loaded. bonding depends on the module tls, which the kernel lists among its upper layer protocols.
OF_DRIVERS = r"modules: \+ (bonding|igbvf|tls)|sysctls: [+-] /proc/sys/net/ipv4/tcp_available_ulp:.*"
CONFIGS = (
    network(),
    network(mode="active-backup", vlan=200, ipam=None),
    network(mode="802.3ad", mac="02:00:5e:00:00:07", mtu=1400, ipam=None),
    network(ipam={"type": "sriov-bond-ipam", "ranges": [[{"subnet": "10.100.0.0/24", "rangeStart": "10.100.0.50"}]]}),
    network(mode="balance-tlb", trust="on", spoofchk="off", ipam=None),
    # One that fails after the VFs were moved, and is undone.
    network(
        ipam={
            "type": "host-local",
            "ranges": [[{"subnet": "10.100.0.0/24"}]],
            "routes": [{"dst": "10.0.0.0/8", "gw": "10.7.7.7"}],
        }
    ),
)
FAILING = len(CONFIGS) - 1
# Every run has a namespace of its own, and two are made at a time. Half of the containers are gone before their DEL.
STORM = """
export CNI_PATH=/opt/cni/bin CNI_IFNAME=eth0
runs() {{
    for ((run = $1; run < {runs}; run += 2)); do
        name=run$run; config=/run/unchanged/$((run % {configs})).json
        ip netns add $name
        export CNI_CONTAINERID=$name CNI_NETNS=/run/netns/$name
        if CNI_COMMAND=ADD /opt/cni/bin/sriov-bond < $config > /run/unchanged/answer$1; then echo ADD; fi
        ((run / 2 % 2)) || ip netns del $name
        CNI_COMMAND=DEL /opt/cni/bin/sriov-bond < $config && echo DEL
        ip netns del $name 2> /dev/null || true
    done
}}
runs 0 & runs 1 & wait
"""
# What a host has, a section each. Numbers that count (conntrack) are left out, and what udev and the kernel write by the clock.
SECTIONS = {
    "modules": "cut -d' ' -f1 /proc/modules | sort",
    "routes": "ip route show table all; ip -6 route show table all",
    "rules": "ip rule; ip -6 rule; if command -v nft > /dev/null; then nft list ruleset; fi",
    "neighbours": "ip neigh show nud permanent; bridge fdb show 2> /dev/null | sort",
    "sysctls": "grep -rs . /proc/sys/net /proc/sys/kernel/modprobe | grep -v conntrack_count | sort",
    "namespaces": "ls /run/netns",
    "processes": "ps -eo comm= | sort -u | grep -e sriov -e host-local -e modprobe || true",
    # Not the whole root: it is the machine's own, over 9p, where a listing takes minutes.
    "files": "find /run /var/lib/cni /opt/cni /etc/cni /etc/udev /etc/systemd/network /etc/modprobe.d /etc/modules-load.d "
    "/etc/sysctl.d /usr/local/sbin -path /run/udev -prune -o -path /run/unchanged -prune -o -path /run/programs -prune "
    "-o -type f -printf '%p %s %T@ %m\\n' -o -type l -printf '%p %l\\n' -o -printf '%p %m\\n' 2> /dev/null | sort; "
    "ls -A /root /etc",
}
VOLATILE = re.compile(r"/bonds/|/lock |/call-counters |/networks/|/networks |/cni/results|expires \d+sec")


def snapshot(guest: "Guest") -> dict[str, Any]:
    """Return the state of the host: the sections above, and links with addresses, by PCI address or name."""
    # Some of it cannot be read (sysctls that are only written), or goes while it is listed.
    script = "\n".join(f"echo '=== {name}'\n{{ {command}; }} || true" for name, command in SECTIONS.items())
    parts = re.split(r"^=== (\w+)\n", guest.sh(f"udevadm settle\n{script}", timeout=120).stdout, flags=re.MULTILINE)[1:]
    state: dict[str, Any] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        state[name] = [line for line in text.splitlines() if not VOLATILE.search(line)]
    assert all(state[name] for name in ("modules", "routes", "sysctls", "files", "namespaces"))
    for link in guest.run(["ip", "-d", "-j", "addr"], check=True).json():
        for address in link["addr_info"]:
            address.pop("valid_life_time"), address.pop("preferred_life_time")
        # The permanent MAC of a VF is the one that its driver read at its last reset.
        for key in ("ifindex", "promiscuity", "link_index", "permaddr"):
            link.pop(key, None)
        state[f"link {link.get('parentdev') or link['ifname']}"] = link
    for link in guest.run(["ip", "-d", "-j", "link"], check=True).json():
        if link.get("vfinfo_list"):
            state[f"VFs of {link['parentdev']}"] = link["vfinfo_list"]
    return state


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what differs, a line each."""
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if isinstance(was, list) and isinstance(now, list) and all(isinstance(line, str) for line in was + now):
            found += [f"{name}: - {line}" for line in was if line not in now] + [
                f"{name}: + {line}" for line in now if line not in was
            ]
        else:
            found.append(f"{name}: {json.dumps(was)} became {json.dumps(now)}")
    return found


def unchanged(guest: "Guest", before: dict[str, Any]) -> list[str]:
    """Return what differs from an earlier state, after a time in which the kernel may finish."""
    last: list[str] = []

    def equal() -> bool:
        last[:] = differences(before, snapshot(guest))
        return not last

    try:
        wait_until(equal, "the host to be as before", 15)
    except NeverHappenedError:
        pass
    return last


@pytest.fixture
def plain(installed: Product) -> "Iterator[Product]":
    """Return the product on a host on which nothing of it ran in this boot, as far as a running host can be made so."""
    guest = installed.guest
    installed.ctl("down")
    guest.sh("".join(f"ip link set {nic} down\n" for nic in NICS) + "modprobe -rq bonding igbvf || true")
    assert guest.run("test -e /sys/module/bonding").status == 1, "the driver is to be loaded by the product"
    snapshot(guest)  # its own programs load modules too
    yield installed
    installed.ctl("down")
    guest.sh("rm -rf /run/unchanged")


def test_the_adds_and_dels_of_a_boot_leave_the_host_as_it_was(plain: Product) -> None:
    """Sixty of both, in five modes, with two IPAM plugins, and with ADDs that fail."""
    guest = plain.guest
    guest.write(HOST_FILE, POOL.format(vfs=4))
    bare = snapshot(guest)
    plain.ctl("up")
    assert guest.run("ip link show bond0").status != 0, "bonding was loaded with the device that it makes by default"
    for index, config in enumerate(CONFIGS):
        guest.write(f"/run/unchanged/{index}.json", json.dumps(config))
    # The first ADD creates lock files and directories, which stay.
    guest.sh(STORM.format(runs=2, configs=len(CONFIGS)), timeout=120)
    before = snapshot(guest)
    done = guest.sh(STORM.format(runs=RUNS, configs=len(CONFIGS)), timeout=600).stdout.split()
    failing = len([run for run in range(RUNS) if run % len(CONFIGS) == FAILING])
    assert (done.count("ADD"), done.count("DEL")) == (RUNS - failing, RUNS)
    plain.wait_free()
    assert unchanged(guest, before) == []
    plain.ctl("down")
    assert [line for line in unchanged(guest, bare) if not re.fullmatch(OF_DRIVERS, line)] == []


@pytest.mark.parametrize("modprobe", ["/sbin/modprobe", "/none"], ids=["modprobe", "without modprobe"])
def test_an_add_that_has_to_load_the_driver_leaves_no_bond(plain: Product, modprobe: str) -> None:
    """Somebody unloaded it after `up`. Without modprobe, as for a runtime in a container, the kernel loads it by itself.

    The plugin's view of modprobe is taken away by an empty file over it in a mount namespace; the kernel has the host's.
    """
    guest = plain.guest
    plain.provision(1)
    guest.sh("modprobe -r bonding")
    guest.write("/run/unchanged/none", "")
    guest.write("/run/unchanged/0.json", json.dumps(network(ipam=None)))
    hide = "" if modprobe != "/none" else "mount --bind /run/unchanged/none $(readlink -f /sbin/modprobe); "
    with plain.netns("c1") as (path,):
        for verb in ("ADD", "DEL"):
            guest.sh(
                f"unshare --mount sh -ec '{hide}CNI_COMMAND={verb} CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin "
                f"CNI_NETNS={path} /opt/cni/bin/sriov-bond < /run/unchanged/0.json'"
            )
            assert guest.run("test -e /sys/module/bonding").status == 0
            assert guest.run("ip link show bond0").status != 0
