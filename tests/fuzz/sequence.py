"""The IPAM delegate against a model of it: many owners come and go, and nobody may have what is not his to have."""

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
    """Who has which addresses, by what the calls said."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.sets = addresses.sets(config, config.get("vlan") or 0)
        self.held: dict[Owner, list[Ip]] = {}
        self.wrong: list[str] = []

    def taken(self) -> set[Ip]:
        return {address for held in self.held.values() for address in held}

    def free(self, one: Set) -> set[Ip]:
        return one.all() - self.taken()

    def add(self, who: Owner, asked: str, code: int, document: dict[str, Any]) -> None:
        """Hold an ADD's answer against what is held."""
        if code == 0:
            self._given(who, asked, document)
        elif who in self.held:
            self._expect(code == 105, f"a second ADD of {who} is {code}")
        elif asked:
            self._expect(code in (105, 11), f"an ADD of {asked} is {code}")
            self._expect(code == 11 or not self._could_have(asked), f"{asked} is free and refused: {document['msg']}")
        else:
            self._expect(code == 11, f"an ADD is {code}: {document['msg']}")
        if code == 11:
            self._expect(not all(self.free(one) for one in self.sets), f"no set is full: {document['msg']}")

    def _given(self, who: Owner, asked: str, document: dict[str, Any]) -> None:
        found = [ip_address(one["address"].partition("/")[0]) for one in document.get("ips", [])]
        self._expect(who not in self.held, f"a second ADD of {who} is served: {found}")
        self._expect(len(found) == len(self.sets), f"{len(self.sets)} sets gave {found}")
        self._expect(not asked or asked in map(str, found), f"asked for {asked} and got {found}")
        for one, address in zip(self.sets, found, strict=False):
            self._expect(one.gives(address), f"{address} is never to be given")
            self._expect(address not in self.taken(), f"{address} is given twice")
        self.held.setdefault(who, []).extend(found)

    def _could_have(self, asked: str) -> bool:
        return any(ip_address(asked) in self.free(one) for one in self.sets)

    def delete(self, who: Owner, code: int) -> None:
        """Hold a DEL's answer against what is held."""
        self._expect(code == 0, f"a DEL of {who} is {code}")
        self.held.pop(who, None)

    def collect(self, kept: list[Owner], code: int) -> None:
        """Hold a GC's answer against what is held."""
        self._expect(code == 0, f"a GC is {code}")
        self.held = {who: held for who, held in self.held.items() if who in kept}

    def check(self, who: Owner, code: int) -> None:
        """Hold a CHECK's answer against what is held."""
        self._expect((code == 0) == (who in self.held), f"a CHECK of {who} is {code}")

    def status(self, code: int) -> None:
        """Hold a STATUS's answer against what is held."""
        full = not all(self.free(one) for one in self.sets)
        self._expect(code == (50 if full else 0), f"a STATUS is {code} and full is {full}")

    def look(self, tree: Tree) -> None:
        """Hold the files against what is held."""
        prefix = f"{samples.DATA}/seq/"
        files = {path.removeprefix(prefix): content for path, content in tree.items() if path.startswith(prefix)}
        there = {name: content for name, content in files.items() if name[0] in "0123456789abcdef"}
        held = {str(address): f"{who[0]}\r\n{who[1]}".encode() for who, mine in self.held.items() for address in mine}
        self._expect(there == held, f"the files say {there}, and held is {held}")

    def _expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(otherwise)


def config(dice: random.Random) -> dict[str, Any]:
    """Give a config of a few small ranges that do not overlap, on one VLAN or more."""
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
    found: dict[str, Any] = {"subnet": str(net)}
    inside = sorted(dice.choice(list(net)) for _ in range(2))
    if dice.random() < 0.3:
        found["rangeStart"] = str(inside[0])
    if dice.random() < 0.3:
        found["rangeEnd"] = str(inside[1])
    if dice.random() < 0.3:
        found["gateway"] = str(dice.choice(list(net)))
    if dice.random() < 0.3:
        found["exclude"] = [str(dice.choice(list(net))), f"{dice.choice(list(net))}/{net.max_prefixlen - 1}"]
    return found


def run(seed: int, number: int, call: Run, look: Callable[[], Tree]) -> tuple[list[str], list[tuple[Case, int]]]:
    """Make one sequence of calls; give what is wrong, and each call with its code."""
    dice = random.Random(f"sequence {seed} {number}")
    model, made = Model(config(dice)), []
    owners = [(cid, ifname) for cid in ("a", "b", "c", "d", "e", "f") for ifname in ("eth0", "net1")]
    for _ in range(CALLS):
        verb = dice.choice(("ADD",) * 8 + ("DEL",) * 4 + ("CHECK", "GC", "STATUS"))
        who = dice.choice(owners)
        asked = str(dice.choice(list(dice.choice(model.sets[0].ranges).net))) if verb == "ADD" and dice.random() < 0.25 else ""
        value = dict(model.config)
        kept = dice.sample(owners, 8)
        if verb == "GC":
            value[samples.VALID] = [{"containerID": cid, "ifname": ifname} for cid, ifname in kept]
        case = Case(IPAM, _environ(verb, who, asked), json.dumps(value).encode())
        outcome = call(case)
        document = json.loads(outcome.out) if outcome.out else {}
        code = document.get("code", 0)
        made.append((case, code))
        if code == 7:  # the dice made a range that is none: that is told, and nothing is given
            model.wrong += [] if verb in ("ADD", "CHECK", "STATUS") and not model.held else [f"{verb} is 7: {document['msg']}"]
            break
        _judge(model, verb, who, asked, kept, code, document)
        model.look(look())
        if model.wrong:
            break
    return model.wrong, made


def _judge(model: Model, verb: str, who: Owner, asked: str, kept: list[Owner], code: int, document: dict[str, Any]) -> None:
    if verb == "ADD":
        model.add(who, asked, code, document)
    elif verb == "DEL":
        model.delete(who, code)
    elif verb == "CHECK":
        model.check(who, code)
    elif verb == "GC":
        model.collect(kept, code)
    else:
        model.status(code)


def _environ(verb: str, who: Owner, asked: str) -> list[bytes]:
    variables = {"CNI_COMMAND": verb, "CNI_CONTAINERID": who[0], "CNI_IFNAME": who[1], "CNI_NETNS": "/x", "CNI_PATH": "/x"}
    if asked:
        variables["CNI_ARGS"] = f"IP={asked}"
    return [f"{name}={value}".encode() for name, value in variables.items()]
