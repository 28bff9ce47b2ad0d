"""Who reaches whom: containers of one host, the host's own address on a PF, a macvlan on it, and the outside, in each mode.

Two containers of one pool and VLAN ping each other, the host, the macvlan and the outside, by IPv4 and IPv6, before a cable
is pulled, while it is out, and after it is back. Where a bond has one active port, once with both active on NIC 1 and once on
two NICs.
"""

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.machine import INSIDE
from tests.lab.product import PEER, PEER6, Product, network
from tests.lab.waiting import NeverHappenedError, wait_until

if TYPE_CHECKING:
    from tests.lab.lab import Lab

HOST, HOST6 = "10.100.0.3", "fd00:100::ff03"
MACVLAN, MACVLAN6 = "10.100.0.4", "fd00:100::ff04"
# The device of the host's address: the VLAN of the containers on the PF of NIC 1.
HOST_DEVICE = "host.100"
# The namespace of a container with a macvlan on that device.
MACVLAN_NETNS = "m3"
# What is reached through NIC 1 alone.
ON_NIC_1 = ("the host on NIC 1", "a macvlan on NIC 1")
FIRST, SECOND = "m1", "m2"
COUNT = 3
# How long the neighbours may take after a change; the cells tell whether they are reached, the gaps how soon.
SECONDS = 20
GAP_COUNT, GAP_INTERVAL = 80, 0.1


@dataclass(frozen=True)
class Row:
    """One setting of the bond.

    :param one_active: whether one port is active, so that two bonds may be active on different NICs.
    """

    name: str
    options: dict[str, Any]
    one_active: bool = False


ROWS = (
    Row("active-backup", {"mode": "active-backup"}, one_active=True),
    Row("balance-xor", {"mode": "balance-xor"}),
    Row(
        "active-backup, fail_over_mac none, all_slaves_active",
        {"mode": "active-backup", "fail_over_mac": "none", "all_slaves_active": "on"},
        one_active=True,
    ),
    Row("active-backup, fail_over_mac none", {"mode": "active-backup", "fail_over_mac": "none"}, one_active=True),
    Row(
        "active-backup, fail_over_mac follow, trust",
        {"mode": "active-backup", "fail_over_mac": "follow", "trust": "on"},
        one_active=True,
    ),
    Row("balance-rr", {"mode": "balance-rr"}),
    Row("broadcast", {"mode": "broadcast"}),
    Row("802.3ad", {"mode": "802.3ad"}),
    Row("balance-tlb, trust", {"mode": "balance-tlb", "trust": "on"}),
    Row("balance-alb, trust", {"mode": "balance-alb", "trust": "on"}),
)
IN_BRIEF = ROWS[:2]


@dataclass
class Cell:
    """What one ping showed: who pinged whom, when, and how many of ``COUNT`` were answered, some of them twice."""

    row: str
    moment: str
    path: str
    family: int
    answers: int
    twice: int

    @property
    def works(self) -> bool:
        """Whether every ping was answered."""
        return self.answers == COUNT


@dataclass
class Report:
    """All cells, and two measurements of each row.

    - ``gaps``: how long each neighbour could not reach a container after a failover, in seconds.
    - ``copies``: how often ten broadcasts of a container arrived at the other container, and back at their sender.
    """

    cells: list[Cell] = field(default_factory=list)
    gaps: dict[str, dict[str, float]] = field(default_factory=dict)
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)

    def failing(self) -> set[tuple[str, str, str]]:
        """Return row, moment and path of each cell that does not work."""
        return {(cell.row, cell.moment, cell.path) for cell in self.cells if not cell.works}

    def table(self) -> str:
        """Return the cells as a table for the docs: "yes", "no", or what differs between IPv4 and IPv6."""
        moments = list(dict.fromkeys(cell.moment for cell in self.cells))
        lines = [f"| mode | from container to | {' | '.join(moments)} |", f"| --- | --- |{' --- |' * len(moments)}"]
        for row, path in dict.fromkeys((cell.row, cell.path) for cell in self.cells):
            words = [self._word([c for c in self.cells if (c.row, c.path, c.moment) == (row, path, m)]) for m in moments]
            lines.append(f"| {row} | {path} | {' | '.join(words)} |")
        lines += ["", "| mode | seconds without answers: other container | outside | 10 broadcasts: other container | sender |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for row, gaps in self.gaps.items():
            measured = [f"{gaps[who]:.1f}" for who in ("other container", "outside")]
            lines.append(f"| {row} | {' | '.join([*measured, *self.copies[row]])} |")
        return "\n".join(lines)

    @staticmethod
    def _word(cells: list[Cell]) -> str:
        if not cells:
            return ""
        works = {cell.family: cell.works for cell in cells}
        word = "yes" if all(works.values()) else "no" if not any(works.values()) else f"IPv{4 if works[4] else 6} only"
        return f"{word}, some twice" if any(cell.twice for cell in cells) else word


def measure(lab: "Lab", product: Product, rows: tuple[Row, ...]) -> Report:
    """Fill the matrix."""
    report = Report()
    product.guest.sh(
        f"ip link add link enp1s0 name {HOST_DEVICE} type vlan id 100\n"
        f"ip addr add {HOST}/24 dev {HOST_DEVICE}\nip -6 addr add {HOST6}/64 dev {HOST_DEVICE} nodad\n"
        f"ip link set {HOST_DEVICE} up\n"
        f"ip netns add {MACVLAN_NETNS}\n"
        f"ip link add link {HOST_DEVICE} name eth0 netns {MACVLAN_NETNS} type macvlan mode bridge\n"
        f"ip -n {MACVLAN_NETNS} addr add {MACVLAN}/24 dev eth0\n"
        f"ip -n {MACVLAN_NETNS} -6 addr add {MACVLAN6}/64 dev eth0 nodad\n"
        f"ip -n {MACVLAN_NETNS} link set eth0 up"
    )
    try:
        for row in rows:
            print(f"matrix: {row.name}", flush=True)
            _fill(lab, product, row, report)
    except BaseException:
        print(report.table())
        raise
    finally:
        product.guest.sh(f"ip netns del {MACVLAN_NETNS}; ip link del {HOST_DEVICE}")
    return report


def _fill(lab: "Lab", product: Product, row: Row, report: Report) -> None:
    with product.attached(network(**row.options), FIRST, SECOND) as answers:
        addresses = [[ip["address"].partition("/")[0] for ip in answer.document["ips"]] for answer in answers]
        ports = {name: _ports(product, name) for name in (FIRST, SECOND)}
        _look(product, row, "before", addresses, ports, report)
        other, sender = product.guest.sh(f"python3 -I {INSIDE}/copies.py {FIRST} {SECOND}").stdout.split()
        report.copies[row.name] = other, sender
        if row.one_active:
            _activate(product, {FIRST: ports[FIRST][0], SECOND: ports[SECOND][0]})
        report.gaps[row.name] = _gaps(lab, product, addresses[0][0])
        try:
            _look(product, row, "cable A out", addresses, None, report)
        finally:
            lab.cable("A", plugged=True)
        for name in ports:
            _wait_for_ports(product, name)
        _look(product, row, "cable A back", addresses, ports, report)


def _look(
    product: Product,
    row: Row,
    moment: str,
    addresses: list[list[str]],
    ports: dict[str, list[str]] | None,
    report: Report,
) -> None:
    """Ping all paths.

    :param ports: of each container; None while only NIC 2 works.
    """
    placements: list[tuple[str, dict[str, str]]] = [("", {})]
    if row.one_active and ports is not None:
        one, two = ports[FIRST], ports[SECOND]
        placements = [(", both active on NIC 1", {FIRST: one[0], SECOND: two[0]})]
        placements.append((", active on NIC 1 and 2", {FIRST: one[0], SECOND: two[1]}))
    for placement, active in placements:
        _activate(product, active)
        targets: list[tuple[str, str, str, str]] = []
        for number, source in enumerate((FIRST, SECOND)):
            theirs = addresses[1 - number]
            for family, place in ((4, 0), (6, 1)):
                targets.append((source, f"container{placement}", str(family), theirs[place]))
                targets.append((source, f"{ON_NIC_1[0]}{placement}", str(family), (HOST, HOST6)[place]))
                targets.append((source, f"{ON_NIC_1[1]}{placement}", str(family), (MACVLAN, MACVLAN6)[place]))
                targets.append((source, f"outside{placement}", str(family), (PEER, PEER6)[place]))
        report.cells += _reached(product, row.name, moment, targets)


def _reached(product: Product, row: str, moment: str, targets: list[tuple[str, str, str, str]]) -> list[Cell]:
    """Ping until everything is reached, or a deadline; return the last cells, the worse of both directions in each."""
    cells: list[Cell] = []

    def all_reached() -> bool:
        nonlocal cells
        cells = _ping(product, row, moment, targets)
        # What is reached only through the cable that is out is not waited for.
        return all(cell.works or (moment == "cable A out" and cell.path in ON_NIC_1) for cell in cells)

    try:
        wait_until(all_reached, "all paths", SECONDS)
    except NeverHappenedError:
        pass  # the cells tell
    return cells


def _ping(product: Product, row: str, moment: str, targets: list[tuple[str, str, str, str]]) -> list[Cell]:
    lines = ["rm -rf /run/matrix; mkdir /run/matrix"]
    for number, (source, _, family, address) in enumerate(targets):
        ping = f"ip netns exec {source} ping -{family} -n -c {COUNT} -i 0.3 -W 2 {address}"
        lines.append(f"{ping} > /run/matrix/{number} 2>&1 &")
    product.guest.sh("\n".join([*lines, "wait"]), timeout=60)
    outputs = {path.rpartition("/")[2]: data.decode() for path, data in product.guest.tree("/run/matrix").items()}
    cells: dict[tuple[str, str], Cell] = {}
    for number, (_, path, family, _) in enumerate(targets):
        output = outputs[str(number)]
        received = re.search(r"(\d+) received", output)
        answers = int(received[1]) if received else 0
        cell = cells.setdefault((path, family), Cell(row, moment, path, int(family), answers, 0))
        cell.answers = min(cell.answers, answers)
        cell.twice += output.count("DUP!")
    return list(cells.values())


def _ports(product: Product, name: str) -> list[str]:
    """Return the names of a bond's ports, that on NIC 1 first."""
    links = product.guest.sh(f"ip -n {name} -d -j link show master eth0").json()
    return [link["ifname"] for link in sorted(links, key=lambda link: link["parentdev"])]


def _activate(product: Product, active: dict[str, str]) -> None:
    """Make a port of each container's bond the active one, where the mode has one."""
    for name, port in active.items():
        product.guest.sh(f"ip -n {name} link set eth0 type bond active_slave {port}")


def _wait_for_ports(product: Product, name: str) -> None:
    def both() -> bool:
        links = product.guest.sh(f"ip -n {name} -d -j link show master eth0").json()
        return [link["linkinfo"]["info_slave_data"]["mii_status"] for link in links] == ["UP", "UP"]

    wait_until(both, f"both ports of {name}", 40)


def _gaps(lab: "Lab", product: Product, address: str) -> dict[str, float]:
    """Pull cable A while three neighbours ping a container; return how long each was without answers, in seconds."""
    ping = f"ping -n -D -i {GAP_INTERVAL} -c {GAP_COUNT} -W 1 {address}"
    sources = {"other container": f"ip netns exec {SECOND} {ping}", "outside": f"ip netns exec world {ping}"}
    pings = {who: product.guest.spawn(command, timeout=90) for who, command in sources.items()}
    for process in pings.values():
        try:
            wait_until(lambda process=process: process.stdout.count("icmp_seq") >= 10, "the first pings", 10)  # type: ignore[misc]
        except NeverHappenedError:
            pass  # in this mode it is not reached; the table shows that
    lab.cable("A", plugged=False)
    return {who: _longest_gap(process.wait().stdout) for who, process in pings.items()}


def _longest_gap(output: str) -> float:
    """Return the longest time without answers of ``ping -D``, which are stamped in seconds since 1970; also at its end."""
    stamps = [float(stamp) for stamp in re.findall(r"^\[([0-9.]+)\] .*icmp_seq", output, re.MULTILINE)]
    if stamps:
        stamps.append(max(stamps[-1], stamps[0] + (GAP_COUNT - 1) * GAP_INTERVAL))
    return max((after - before for before, after in itertools.pairwise(stamps)), default=GAP_COUNT * GAP_INTERVAL)
