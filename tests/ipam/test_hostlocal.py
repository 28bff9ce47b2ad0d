"""Our IPAM plugin beside the real host-local: same calls, same addresses, same refusals, same files."""

import random
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.ipam import calls

IPS = ["10.1.0.0/28", "10.2.0.16/29", "10.3.0.0/24", "192.168.7.0/30", "172.16.0.0/12", "fd00:1::/64", "fd00:2::/125", "::/120"]


def a_range(dice: random.Random, subnet: str) -> dict[str, Any]:
    """Return a range that host-local accepts and that does not end at the network's or the broadcast address."""
    net = ip_network(subnet)
    most = min(net.num_addresses - 2, 60)
    member: dict[str, Any] = {"subnet": subnet}
    low, high = sorted(dice.choices(range(1, most + 1), k=2))
    if dice.random() < 0.5:
        member["rangeStart"] = str(net[low])
    if dice.random() < 0.6:
        member["rangeEnd"] = str(net[high])
    if dice.random() < 0.5:
        member["gateway"] = str(net[dice.randrange(1, most + 1)])
    return member


def a_config(dice: random.Random, data_dir: Path) -> dict[str, Any]:
    """Return a config of one to three range sets, in one of the forms that host-local has for them."""
    subnets = dice.sample(IPS, dice.randrange(1, 5))
    sets: list[list[dict[str, Any]]] = []
    for subnet in subnets:
        member = a_range(dice, subnet)
        same = [members for members in sets if (":" in members[0]["subnet"]) == (":" in subnet)]
        if same and dice.random() < 0.5:
            dice.choice(same).append(member)
        else:
            sets.append([member])
    value = calls.network(data_dir, version=dice.choice(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]))
    if len(sets[0]) == 1 and dice.random() < 0.5:
        value["ipam"] |= sets.pop(0)[0]
    if sets or "subnet" not in value["ipam"]:
        value["ipam"]["ranges"] = sets
    if dice.random() < 0.3:
        value["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8", "gw": "10.1.0.1"}]
    return value


def an_address(dice: random.Random, value: dict[str, Any]) -> str:
    """Return an address to request: of a range, of its subnet, or of neither."""
    flat = [member for members in value["ipam"].get("ranges", []) for member in members]
    flat += [value["ipam"]] if "subnet" in value["ipam"] else []
    net: IPv4Network | IPv6Network = ip_network(dice.choice(flat)["subnet"])
    return dice.choice([str(net[dice.randrange(1, min(net.num_addresses - 2, 20) + 1)])] * 5 + ["203.0.113.9", "fd99::9"])


def sequence(dice: random.Random, value: dict[str, Any], number: int) -> list[tuple[str, dict[str, Any], str, str, str]]:
    """Return calls of a dozen attachments: ADD, DEL and CHECK, with and without a requested address."""
    steps: list[tuple[str, dict[str, Any], str, str, str]] = []
    up: set[tuple[str, str]] = set()
    for _ in range(number):
        cid, ifname = f"c{dice.randrange(9)}", dice.choice(["eth0", "eth0", "net1"])
        config, args = value, dice.choice(["", "", "IgnoreUnknown=1;K8S_POD_NAME=p", "IgnoreUnknown=true"])
        verb = dice.choice(["ADD", "ADD", "ADD", "DEL", "CHECK" if value["cniVersion"] > "0.4" else "DEL"])
        if verb == "ADD" and (cid, ifname) not in up and dice.random() < 0.3:
            address = an_address(dice, value)
            channel = dice.randrange(4)
            if channel == 0:
                args = f"IP={address}"
            elif channel == 1:
                config = {**value, "args": {"cni": {"ips": [address]}}}
            else:
                config = {**value, "runtimeConfig": {"ips": [address + ("/64" if ":" in address else "/24") * (channel - 2)]}}
        up = up | {(cid, ifname)} if verb == "ADD" else up - {(cid, ifname)}
        steps.append((verb, config, cid, ifname, args))
    return steps


def essence(answer: calls.Answer) -> tuple[bool, Any, Any, Any]:
    """Return the part of an answer that both must have in common: everything except message and code of errors."""
    document = answer.document
    version = document.get("cniVersion") if answer.code == 0 else None
    return answer.code == 0, document.get("ips"), document.get("routes"), version


def moved(value: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    return {**value, "ipam": {**value["ipam"], "dataDir": str(data_dir)}}


@pytest.mark.parametrize("seed", range(24))
def test_same_calls_same_answers_same_files(clients: Path, tmp_path: Path, seed: int) -> None:
    """For each generated network and sequence of calls: the same addresses in the same order, and the same files at the end."""
    dice = random.Random(seed)
    value = a_config(dice, tmp_path / "theirs")
    for step, (verb, config, *attachment) in enumerate(sequence(dice, value, 25)):
        theirs = calls.host_local(clients / "host-local", verb, config, *attachment)
        ours = calls.call(verb, moved(config, tmp_path / "ours"), *attachment)
        assert essence(ours) == essence(theirs), (step, verb, attachment, config, ours, theirs)
    for name in ("theirs", "ours"):
        assert (tmp_path / name / "net1").is_dir() or name == "ours"
    if (tmp_path / "ours/net1").exists():
        reservations = [
            {path.name: path.read_text() for path in (tmp_path / name / "net1").iterdir() if path.name != "lock"}
            for name in ("theirs", "ours")
        ]
        assert reservations[0] == reservations[1]


@pytest.mark.parametrize("seed", range(100, 106))
def test_either_may_follow_the_other(clients: Path, tmp_path: Path, seed: int) -> None:
    """Both on one directory, in random turns: each knows what the other reserved, as if one had made all calls."""
    dice = random.Random(seed)
    value = a_config(dice, tmp_path / "alone")
    for step, (verb, config, *attachment) in enumerate(sequence(dice, value, 25)):
        alone = calls.host_local(clients / "host-local", verb, config, *attachment)
        shared = moved(config, tmp_path / "shared")
        if dice.random() < 0.5:
            either = calls.host_local(clients / "host-local", verb, shared, *attachment)
        else:
            either = calls.call(verb, shared, *attachment)
        assert essence(either) == essence(alone), (step, verb, attachment, config, either, alone)


def test_reservations_of_host_local_are_used(clients: Path, tmp_path: Path) -> None:
    """Changing the type is enough: reservations stay, the order continues, and a DEL frees what host-local reserved."""
    value = calls.network(tmp_path, ranges=[[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]])
    for number in range(5):
        assert calls.host_local(clients / "host-local", "ADD", value, f"c{number}").code == 0
    assert calls.process("ADD", value, "new").ips == ["10.1.0.7/24", "fd00::7/64"]
    assert calls.process("ADD", value, "c3").code == 105
    assert calls.process("CHECK", {**value, "prevResult": {}}, "c3").code == 0
    assert calls.process("DEL", value, "c3").code == 0
    assert "10.1.0.5" not in calls.reserved(tmp_path) and "fd00::5" not in calls.reserved(tmp_path)
    assert len(calls.reserved(tmp_path)) == 10


def test_reservations_of_an_old_host_local_are_freed(tmp_path: Path) -> None:
    """Before 0.7 a reservation had no interface; it belongs to the container, whichever interface the DEL names."""
    (tmp_path / "net1").mkdir()
    (tmp_path / "net1/10.1.0.2").write_text("c1")
    (tmp_path / "net1/10.1.0.3").write_text("c2")
    value = calls.network(tmp_path, subnet="10.1.0.0/24")
    assert calls.call("ADD", value, "c1").code == 105
    assert calls.call("DEL", value, "c1").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.3": "c2"}


BAD: dict[str, dict[str, Any]] = {
    "no ranges": {},
    "empty ranges": {"ranges": []},
    "an empty set": {"ranges": [[]]},
    "a subnet without a prefix": {"subnet": "10.1.0.0"},
    "a prefix that is too long": {"subnet": "10.1.0.0/33"},
    "host bits": {"subnet": "10.1.0.1/24"},
    "leading zeros": {"subnet": "10.01.0.0/24"},
    "a mapped subnet": {"subnet": "::ffff:10.1.0.0/120"},
    "a start outside": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.1.5"},
    "an end outside": {"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.5"},
    "a start above the end": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"},
    "a start of the other family": {"subnet": "10.1.0.0/24", "rangeStart": "fd00::1"},
    "a gateway that is no address": {"subnet": "10.1.0.0/24", "gateway": "gw"},
    "two families in a set": {"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]},
    "an overlap in a set": {"ranges": [[{"subnet": "10.1.0.0/16"}, {"subnet": "10.1.2.0/24"}]]},
    "an overlap of sets": {"ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}]]},
    "a set that is no list": {"ranges": [{"subnet": "10.1.0.0/24"}]},
    "a number for a text": {"subnet": 10},
    "a route to no network": {"subnet": "10.1.0.0/24", "routes": [{"dst": "nowhere"}]},
    "a resolvConf that is missing": {"subnet": "10.1.0.0/24", "resolvConf": "/nowhere/resolv.conf"},
    "a dataDir that is a number": {"subnet": "10.1.0.0/24", "dataDir": 5},
}


@pytest.mark.parametrize("what", BAD)
def test_what_host_local_refuses_is_refused(clients: Path, tmp_path: Path, what: str) -> None:
    """Both refuse an invalid config; we with the code for it (C13), and before anything is created."""
    value = calls.network(tmp_path / "data", **BAD[what])
    assert calls.host_local(clients / "host-local", "ADD", value).code == 999 or what == "a dataDir that is a number"
    (tmp_path / "ours").mkdir()
    ours = calls.call("ADD", calls.network(tmp_path / "ours", **BAD[what]))
    assert ours.code == 7, ours
    assert list((tmp_path / "ours").iterdir()) == []


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_versions_have_one_address_of_a_family(clients: Path, tmp_path: Path, version: str) -> None:
    """Both refuse two sets of one family, and return one address of each family in the old form."""
    two: dict[str, Any] = {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}
    assert calls.host_local(clients / "host-local", "ADD", calls.network(tmp_path / "a", version=version, **two)).code == 999
    assert calls.call("ADD", calls.network(tmp_path / "b", version=version, **two)).code == 7
    both: dict[str, Any] = {
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    theirs = calls.host_local(clients / "host-local", "ADD", calls.network(tmp_path / "c", version=version, **both)).document
    ours = calls.call("ADD", calls.network(tmp_path / "d", version=version, **both)).document
    assert {**theirs, "dns": {}} == {**ours, "dns": {}}


@pytest.mark.parametrize(
    "args", ["IP", "IP=10.1.0.9=1", "IP=nonsense", "FOO=1", "IgnoreUnknown=maybe", "IP=10.1.0.9,10.1.0.10"]
)
def test_bad_arguments_are_refused_by_both_at_add_alone(clients: Path, tmp_path: Path, args: str) -> None:
    value = calls.network(tmp_path, subnet="10.1.0.0/24")
    assert calls.host_local(clients / "host-local", "ADD", value, args=args).code == 999
    assert calls.call("ADD", value, args=args).code in (4, 7)
    assert calls.call("DEL", value, args=args).code == 0


def test_resolv_conf_is_read_as_host_local_reads_it(clients: Path, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# c\n; d\nnameserver 192.0.2.3\n nameserver\t192.0.2.4 x\ndomain a.b\nsearch c d\nsearch e\noptions f:1\nbad\n"
    )
    answers = [
        calls.host_local(
            clients / "host-local", "ADD", calls.network(tmp_path / "a", subnet="10.1.0.0/24", resolvConf=str(path))
        ),
        calls.call("ADD", calls.network(tmp_path / "b", subnet="10.1.0.0/24", resolvConf=str(path))),
    ]
    assert answers[0].document["dns"] == answers[1].document["dns"]
    assert answers[1].document["dns"]["nameservers"] == ["192.0.2.3", "192.0.2.4"]


def test_ranges_of_the_runtime_come_first(clients: Path, tmp_path: Path) -> None:
    """The capability ipRanges, also as go-cni capitalises it. null counts as absent, and the case of keys is ignored."""
    value = calls.network(tmp_path / "a", SUBNET="10.1.0.0/24", rangestart=None, Gateway="", routes=None)
    value["runtimeConfig"] = {"ipRanges": [[{"Subnet": "10.9.0.0/24", "RangeStart": "10.9.0.7"}]]}
    theirs = calls.host_local(clients / "host-local", "ADD", value)
    ours = calls.call("ADD", moved(value, tmp_path / "b"))
    assert ours.ips == theirs.ips == ["10.9.0.7/24", "10.1.0.2/24"]


def test_where_we_differ_from_host_local(clients: Path, tmp_path: Path) -> None:
    """docs/ipam.md names these: never the network's or the broadcast address."""
    ends: dict[str, Any] = {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.7"}
    theirs = [calls.host_local(clients / "host-local", "ADD", calls.network(tmp_path / "a", **ends), f"c{n}") for n in range(8)]
    ours = [calls.call("ADD", calls.network(tmp_path / "b", **ends), f"c{n}") for n in range(8)]
    assert {answer.ips[0] for answer in theirs if answer.ips} - {answer.ips[0] for answer in ours if answer.ips} == {
        "10.1.0.0/29",
        "10.1.0.7/29",
    }
    assert [answer.ips for answer in ours] == [[f"10.1.0.{number}/29"] for number in (2, 3, 4, 5, 6)] + [[]] * 3


@pytest.mark.parametrize("subnet", ["10.1.0.4/31", "10.1.0.9/32", "fd00::4/127", "fd00::9/128"])
def test_small_subnets_are_allocated(clients: Path, tmp_path: Path, subnet: str) -> None:
    """Host-local refuses them. Ours allocates their addresses, and there is none that it could give by mistake."""
    value = calls.network(tmp_path, subnet=subnet)
    assert calls.host_local(clients / "host-local", "ADD", value).code == 999
    size = 2 if subnet.endswith(("/31", "/127")) else 1
    answers = [calls.call("ADD", value, f"c{number}") for number in range(size + 1)]
    assert [len(answer.ips) for answer in answers] == [1] * size + [0]
    assert answers[0].ips == [subnet]


@pytest.mark.parametrize(
    "changed", [{}, {"subnet": "bad"}, {"ranges": 5}, {"ranges": []}], ids=["none", "bad subnet", "number", "empty"]
)
def test_a_del_with_a_wrong_config_frees(clients: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    """Host-local fails and keeps the reservation. Ours needs only the network's name and the attachment."""
    value, later = calls.network(tmp_path, subnet="10.1.0.0/24"), calls.network(tmp_path, **changed)
    assert calls.call("ADD", value).ips == ["10.1.0.2/24"]
    assert calls.host_local(clients / "host-local", "DEL", later).code == 999
    assert list(calls.reserved(tmp_path)) == ["10.1.0.2"]
    assert calls.call("DEL", later).code == 0
    assert calls.reserved(tmp_path) == {}
