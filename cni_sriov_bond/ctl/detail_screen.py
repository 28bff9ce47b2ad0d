"""``sriov-bondctl show`` for people: a bond as labelled lines, and its ports as a table."""

import textwrap
import time

from rich.console import Console
from rich.text import Text

from cni_sriov_bond.ctl.detail import Detail, PortDetail
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.tables import Column, amount, duration, table
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.kernel import bond_options

_LABEL = 12  # columns of a label, with two before it
_LINK_STATES = ("auto", "enable", "disable")
_COLUMNS = (
    Column("PORT"), Column("NIC"), Column("ACTIVE"), Column("LINK"), Column("NIC LINK"), Column("FAILURES", 5, right=True),
    Column("IN", 4, right=True), Column("OUT", 4, right=True), Column("ERRORS", 6, right=True),
    Column("DROPPED", 2, right=True), Column("MAC", 3), Column("SETTINGS", 1),
)  # fmt: skip


def print_detail(console: Console, detail: Detail) -> None:
    """Print a bond."""
    title = Text.assemble((f"bond {printable(detail.pool)}/{printable(detail.status.name)}", "bold"), f": {_state(detail)}")
    console.print(title, soft_wrap=True)
    for label, values in _facts(detail):
        _print_fact(console, label, values)
    rows = [_cells(port, leased=detail.live is not None) for port in detail.ports]
    console.print(table(_COLUMNS, rows, console.width))


def _state(detail: Detail) -> str:
    return detail.status.state if detail.age is None else f"{detail.status.state}, leased for {duration(detail.age)}"


def _print_fact(console: Console, label: str, values: list[str]) -> None:
    """Print a label and its values, each on lines of its own; a word that is longer than a line is cut, never broken."""
    room = max(20, console.width - _LABEL - 2)
    first = f"  {label:<{_LABEL}}"
    for value in values:
        for line in textwrap.wrap(printable(value), room, break_long_words=False, break_on_hyphens=False):
            shown = line if len(line) <= room else line[: room - 1] + "…"
            console.print(Text.assemble((first, "dim"), shown), soft_wrap=True)
            first = " " * (_LABEL + 2)


def _facts(detail: Detail) -> list[tuple[str, list[str]]]:
    """Return each label with its values; one without a value is left out."""
    shown, record, link, lease = detail.status, detail.record, detail.link, detail.status.lease
    facts: list[tuple[str, list[str]]] = [("problem", [shown.problem]), ("waiting", [shown.waiting])]
    if lease and record:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease.created))
        facts += [
            ("container", [lease.container_id]),
            ("interface", [lease.ifname]),
            ("namespace", [lease.netns]),
            ("network", [lease.network]),
            ("VLAN", ["as the VF had it" if lease.vlan is None else "untagged" if lease.vlan == 0 else str(lease.vlan)]),
            ("leased", [f"{at}, by {detail.caller}" if detail.caller else at]),
            ("addresses", link.addresses if link else lease.ips),
        ]
    facts.append(("not read", [detail.live.absence if detail.live else ""]))
    if link:
        facts += [
            ("MAC", [link.mac]),
            ("MTU", [str(link.mtu)]),
            ("mode", [_mode(detail)]),
            ("monitor", [_monitor(detail)]),
            ("link", [_carrier(detail)]),
            ("active", [_active(detail)]),
            ("failovers", [str(detail.live.failovers if detail.live else 0)]),
            ("in", [_traffic(link.counters, "rx")]),
            ("out", [_traffic(link.counters, "tx")]),
        ]
    else:
        facts.append(("MAC", [shown.mac]))
    return [(label, [value for value in values if value]) for label, values in facts if any(values)]


def _mode(detail: Detail) -> str:
    options = detail.link.options if detail.link else {}
    named = [f"{name} {bond_options.words(name, options.get(name))}" for name in ("fail_over_mac", "xmit_hash_policy")]
    of_mode = {"active-backup": named[:1], "balance-xor": named[1:], "802.3ad": named[1:]}
    return ", ".join([bond_options.mode_of(options), *of_mode.get(bond_options.mode_of(options), [])])


def _monitor(detail: Detail) -> str:
    monitor = detail.monitor
    if monitor is None:
        return ""
    if monitor.kind == "arp":
        return f"the path to {' and '.join(monitor.targets)}, every {monitor.interval} ms"
    silent = f"; {' and '.join(monitor.silent)} did not answer, `sriov-bondctl gc` asks again" if monitor.silent else ""
    return f"carrier, every {monitor.interval} ms{silent}" if monitor.interval else f"none{silent}"


def _carrier(detail: Detail) -> str:
    link = detail.link
    if link is None:
        return ""
    state = "down" if not link.up else "up" if link.carrier else "no carrier"
    times = "once" if link.carrier_changes == 1 else f"{link.carrier_changes} times"
    return f"{state}; carrier changed {times}"


def _active(detail: Detail) -> str:
    active = detail.live.active if detail.live else []
    names = [f"{port.name} on {f'NIC {port.nic.number} ({port.nic.name})' if port.nic else 'a NIC'}" for port in active]
    return ", ".join(names) or "no port"


def _traffic(counters: Counters, way: str) -> str:
    values = counters._asdict()
    octets, packets = amount(values[f"{way}_bytes"], "B"), amount(values[f"{way}_packets"])
    return f"{octets}, {packets} packets, {values[f'{way}_errors']} errors, {values[f'{way}_dropped']} dropped"


def _cells(detail: PortDetail, *, leased: bool) -> list[Text]:
    port, counters, nic = detail.port, detail.port.counters, detail.port.nic
    cells = [
        Text(printable(port.name)),
        Text(f"{nic.number} {printable(nic.name)}" if nic else "-"),
        Text(("yes" if port.active else "no") if port.present else "-"),
        _link(detail, leased=leased),
        _nic_link(detail),
        Text(str(port.failures) if port.present else "-"),
    ]
    values = ["-"] * 4
    if counters:
        values = [
            amount(counters.rx_bytes, "B"),
            amount(counters.tx_bytes, "B"),
            str(counters.rx_errors + counters.tx_errors),
            str(counters.rx_dropped + counters.tx_dropped),
        ]
    return cells + [Text(value) for value in (*values, port.mac or "-", _settings(detail))]


def _link(detail: PortDetail, *, leased: bool) -> Text:
    port = detail.port
    if port.present:
        good = port.carrier and port.link == "up"
        return Text("no carrier" if not port.carrier else port.link, "" if good else "red")
    if detail.device:
        return Text("in the host", "red" if leased else "")
    return Text("missing", "red")


def _nic_link(detail: PortDetail) -> Text:
    nic = detail.port.nic
    if nic is None or not nic.present:
        return Text("missing", "red")
    return Text("up") if nic.carrier else Text("no carrier" if nic.up else "down", "red")


def _settings(detail: PortDetail) -> str:
    """Return how the PF has the VF set: what its driver reports, in the words of ``ip link``."""
    settings = detail.settings
    if settings is None:
        return "-"
    parts = [f"VLAN {settings.vlan}"] if settings.vlan else []
    for name in ("spoofchk", "trust"):
        if settings.get(name) is not None:
            parts.append(f"{name} {'on' if settings.get(name) else 'off'}")
    if settings.link_state:
        parts.append(f"link {_LINK_STATES[settings.link_state]}")
    if settings.max_tx_rate:
        parts.append(f"at most {settings.max_tx_rate} Mbit/s")
    return ", ".join(parts) or "-"
