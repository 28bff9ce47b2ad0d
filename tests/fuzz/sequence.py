"""Sequences of calls of our IPAM plugin, checked against a model: no address may have two owners."""

import json
import random
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

from tests.fuzz import addresses, samples
from tests.fuzz.addresses import Ip, Set
from tests.fuzz.case import IPAM, Case
from tests.fuzz.process import Outcome
from tests.fuzz.sandbox import Tree

CALLS = 24
Owner = tuple[str, str]
Run = Callable[[Case], Outcome]


class Model:
    """The addresses of each owner, according to the answers."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.sets = addresses.sets(config, config.get("vlan") or 0)
        self.leased: dict[Owner, list[Ip]] = {}
        self.wrong: list[str] = []

    def taken(self) -> set[Ip]:
        return {address for leased in self.leased.values() for address in leased}

    def free(self, range_set: Set) -> set[Ip]:
        return range_set.all() - self.taken()

    def add(self, owner: Owner, requested: str, code: int, document: dict[str, Any]) -> None:
        """Check the answer of an ADD, and record its addresses."""
        if code == 0:
            self._served(owner, requested, document)
        elif owner in self.leased:
            self._expect(code == 105, f"a second ADD of {owner} is {code}")
        elif requested:
            self._expect(code in (105, 11), f"an ADD of {requested} is {code}")
            self._expect(code == 11 or not self._could_have(requested), f"{requested} is free and refused: {document['msg']}")
        else:
            self._expect(code == 11, f"an ADD is {code}: {document['msg']}")
        if code == 11:
            self._expect(not all(self.free(range_set) for range_set in self.sets), f"no set is full: {document['msg']}")

    def _served(self, owner: Owner, requested: str, document: dict[str, Any]) -> None:
        ips = [ip_address(ip["address"].partition("/")[0]) for ip in document.get("ips", [])]
        self._expect(owner not in self.leased, f"a second ADD of {owner} is served: {ips}")
        self._expect(len(ips) == len(self.sets), f"{len(self.sets)} sets allocated {ips}")
        self._expect(not requested or requested in map(str, ips), f"{requested} was requested, and {ips} allocated")
        for range_set, address in zip(self.sets, ips, strict=False):
            self._expect(range_set.allows(address), f"{address} must never be allocated")
            self._expect(address not in self.taken(), f"{address} is allocated twice")
        self.leased.setdefault(owner, []).extend(ips)

    def _could_have(self, requested: str) -> bool:
        return any(ip_address(requested) in self.free(range_set) for range_set in self.sets)

    def delete(self, owner: Owner, code: int) -> None:
        """Check the answer of a DEL, and free its addresses."""
        self._expect(code == 0, f"a DEL of {owner} is {code}")
        self.leased.pop(owner, None)

    def collect(self, valid: list[Owner], code: int) -> None:
        """Check the answer of a GC, and free what is not listed."""
        self._expect(code == 0, f"a GC is {code}")
        self.leased = {owner: leased for owner, leased in self.leased.items() if owner in valid}

    def check(self, owner: Owner, code: int) -> None:
        """Check the answer of a CHECK."""
        self._expect((code == 0) == (owner in self.leased), f"a CHECK of {owner} is {code}")

    def status(self, code: int) -> None:
        """Check the answer of a STATUS."""
        full = not all(self.free(range_set) for range_set in self.sets)
        self._expect(code == (50 if full else 0), f"a STATUS is {code} and full is {full}")

    def check_files(self, tree: Tree) -> None:
        """Compare the reservations on disk with the model."""
        prefix = f"{samples.DATA}/seq/"
        files = {path.removeprefix(prefix): content for path, content in tree.items() if path.startswith(prefix)}
        on_disk = {name: content for name, content in files.items() if name[0] in "0123456789abcdef"}
        leased = {str(address): f"{owner[0]}\r\n{owner[1]}".encode() for owner, mine in self.leased.items() for address in mine}
        self._expect(on_disk == leased, f"on disk is {on_disk}, expected {leased}")

    def _expect(self, correct: bool, complaint: str) -> None:
        if not correct:
            self.wrong.append(complaint)


def config(dice: random.Random) -> dict[str, Any]:
    """Return a config of a few small ranges that do not overlap, on one VLAN or more."""
    nets = [f"10.{number}.0.{dice.randrange(0, 32) * 8}" for number in range(1, 5)]
    four = [_range(dice, f"{net}/{dice.choice((29, 29, 30, 31, 32))}") for net in nets]
    six = [
        _range(dice, f"fd00:{number}::{dice.randrange(16) * 16:x}/{dice.choice((125, 126, 127, 128))}") for number in range(2)
    ]
    ipam: dict[str, Any] = {"type": IPAM, "dataDir": samples.DATA}
    vlan = dice.choice((None, 100))
    kind = dice.randrange(3)
    if kind == 0:
        ipam |= four[0]
    elif kind == 1:
        ipam["ranges"] = [four[:2], six[: dice.randrange(1, 3)]][: dice.randrange(1, 3)]
    else:
        on = {} if vlan is None else {"vlan": vlan}
        ipam["subnets"] = [{**four[0], **on}, {**four[1], "vlan": 200}, {**six[0], **on}, {**four[2], **on}]
    value: dict[str, Any] = {"cniVersion": "1.1.0", "name": "seq", "type": "macvlan", "ipam": ipam}
    return value if vlan is None else {**value, "vlan": vlan}


def _range(dice: random.Random, subnet: str) -> dict[str, Any]:
    net = ip_network(subnet, strict=False)
    value: dict[str, Any] = {"subnet": str(net)}
    bounds = sorted(dice.choice(list(net)) for _ in range(2))
    if dice.random() < 0.3:
        value["rangeStart"] = str(bounds[0])
    if dice.random() < 0.3:
        value["rangeEnd"] = str(bounds[1])
    if dice.random() < 0.3:
        value["gateway"] = str(dice.choice(list(net)))
    if dice.random() < 0.3:
        value["exclude"] = [str(dice.choice(list(net))), f"{dice.choice(list(net))}/{net.max_prefixlen - 1}"]
    return value


def run(seed: int, number: int, call: Run, read_tree: Callable[[], Tree]) -> tuple[list[str], list[tuple[Case, int]]]:
    """Make one sequence of calls; return the complaints, and each call with its code."""
    dice = random.Random(f"sequence {seed} {number}")
    model, calls = Model(config(dice)), []
    owners = [(cid, ifname) for cid in ("a", "b", "c", "d", "e", "f") for ifname in ("eth0", "net1")]
    for _ in range(CALLS):
        verb = dice.choice(("ADD",) * 8 + ("DEL",) * 4 + ("CHECK", "GC", "STATUS"))
        owner = dice.choice(owners)
        requested = ""
        if verb == "ADD" and dice.random() < 0.25:
            requested = str(dice.choice(list(dice.choice(model.sets[0].ranges).net)))
        value = dict(model.config)
        valid = dice.sample(owners, 8)
        if verb == "GC":
            value[samples.VALID] = [{"containerID": cid, "ifname": ifname} for cid, ifname in valid]
        case = Case(IPAM, _environ(verb, owner, requested), json.dumps(value).encode())
        outcome = call(case)
        document = json.loads(outcome.out) if outcome.out else {}
        code = document.get("code", 0)
        calls.append((case, code))
        if code == 7:  # the generated range is invalid: it must be refused before anything is allocated
            if verb not in ("ADD", "CHECK", "STATUS") or model.leased:
                model.wrong.append(f"{verb} is 7: {document['msg']}")
            break
        _compare(model, verb, owner, requested, valid, code, document)
        model.check_files(read_tree())
        if model.wrong:
            break
    return model.wrong, calls


def _compare(
    model: Model, verb: str, owner: Owner, requested: str, valid: list[Owner], code: int, document: dict[str, Any]
) -> None:
    if verb == "ADD":
        model.add(owner, requested, code, document)
    elif verb == "DEL":
        model.delete(owner, code)
    elif verb == "CHECK":
        model.check(owner, code)
    elif verb == "GC":
        model.collect(valid, code)
    else:
        model.status(code)


def _environ(verb: str, owner: Owner, requested: str) -> list[bytes]:
    variables = {"CNI_COMMAND": verb, "CNI_CONTAINERID": owner[0], "CNI_IFNAME": owner[1], "CNI_NETNS": "/x", "CNI_PATH": "/x"}
    if requested:
        variables["CNI_ARGS"] = f"IP={requested}"
    return [f"{name}={value}".encode() for name, value in variables.items()]
