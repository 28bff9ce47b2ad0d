"""``sriov-bondctl top`` for people: NICs and bonds as two tables, live on a terminal."""

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cni_sriov_bond.ctl.rates import SORTS, BondRow, NicRow, Rates, Top
from cni_sriov_bond.ctl.tables import Column, amount, short_id, table
from cni_sriov_bond.ctl.text import printable

_NIC_COLUMNS = (
    Column("NIC"), Column("NAME", least=8), Column("LINK"), Column("IN BIT/S", right=True), Column("OUT BIT/S", right=True),
    Column("IN PKT/S", 4, right=True), Column("OUT PKT/S", 4, right=True), Column("PF IN BIT/S", 2, right=True),
    Column("PF OUT BIT/S", 2, right=True), Column("PF ERRORS", 3, right=True), Column("POOL", 1),
)  # fmt: skip
_BOND_COLUMNS = (
    Column("BOND"), Column("CONTAINER", least=10), Column("ACTIVE"), Column("LINK", 11), Column("FAILOVERS", 10, right=True),
    Column("IN BIT/S", right=True), Column("OUT BIT/S", right=True), Column("IN PKT/S", 3, right=True),
    Column("OUT PKT/S", 3, right=True), Column("ERRORS", 4, right=True), Column("NETWORK", 2), Column("POOL", 1),
)  # fmt: skip
_HEAD = 5  # lines that are neither a NIC nor a bond: title, two heads of tables, and one for what does not fit


def render(top: Top, width: int, height: int = 0, help_line: str = "") -> RenderableType:
    """Return the screen.

    :param width: of the terminal, in columns.
    :param height: in lines; bonds that do not fit are counted. With 0 all are shown.
    """
    leased = f"{len(top.bonds)} of {top.size} bonds leased"
    facts = f" {time.strftime('%H:%M:%S')}, {leased}, over {top.interval:.1f} s{help_line}"
    title = Text.assemble(("top", "bold"), facts)
    title.truncate(width, overflow="ellipsis")
    parts: list[RenderableType] = [title]
    parts += [Text(printable(problem), "red", no_wrap=True, overflow="ellipsis") for problem in top.problems]
    if top.nics:
        parts.append(table(_NIC_COLUMNS, [_nic_cells(row) for row in top.nics], width))
    room = height - _HEAD - len(top.nics) - len(top.problems) if height else len(top.bonds)
    shown = top.bonds[: max(1, room)]
    parts.append(table(_BOND_COLUMNS, [_bond_cells(row) for row in shown], width))
    if len(shown) < len(top.bonds):
        parts.append(Text(f"and {len(top.bonds) - len(shown)} more bonds", "dim"))
    return Group(*parts)


def watch(console: Console, read: Callable[[str], Top], seconds: float, sort: str) -> None:
    """Show the screen until ``q``, Ctrl-C or the end of the terminal; ``s`` changes the order.

    :param read: returns the state since the last call, in an order.
    :param seconds: between two readings.
    """
    with contextlib.suppress(KeyboardInterrupt), _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            top = read(sort)
            help_line = f", by {sort} (s), q ends"
            live.update(render(top, console.width, console.height, help_line), refresh=True)
            pressed = key(seconds)
            if pressed in ("q", _GONE):
                return
            if pressed == "s":
                sort = SORTS[(SORTS.index(sort) + 1) % len(SORTS)]


_GONE = "gone"  # in place of a key: the terminal was closed


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Return a function that waits some seconds for a key, and returns it, "" or ``_GONE``.

    Where input is no terminal it only waits.
    """
    if not sys.stdin or not sys.stdin.isatty():
        yield _wait
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([fd], [], [], seconds)
        if not ready:
            return ""
        try:
            return sys.stdin.read(1) or _GONE
        except OSError:  # EIO of a terminal that was closed, for a process that ignores SIGHUP
            return _GONE

    try:
        yield key
    finally:
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(fd, termios.TCSANOW, before)


def _nic_cells(row: NicRow) -> list[Text]:
    nic, own = row.nic, row.own
    if not nic.present:
        link = Text("missing", "red")
    else:
        link = Text("up") if nic.carrier else Text("no carrier" if nic.up else "down", "red")
    counters = nic.counters
    errors = str(counters.rx_errors + counters.tx_errors) if counters else "-"
    values = [*_traffic(row.rates), *(_traffic(own)[:2]), errors, printable(nic.pool)]
    return [Text(f"NIC {nic.number}"), Text(printable(nic.name)), link, *map(Text, values)]


def _bond_cells(row: BondRow) -> list[Text]:
    bond = row.bond
    name, container = Text(printable(bond.name)), Text(short_id(printable(bond.attachment.container_id)))
    network, pool = Text(printable(bond.attachment.network)), Text(printable(bond.pool))
    if bond.link is None:
        return [name, container, Text("-"), Text(bond.state, "yellow"), *[Text("-")] * 6, network, pool]
    numbers = "+".join(str(port.nic.number) for port in bond.active if port.nic)
    failed = any(port.link != "up" for port in bond.ports)
    active = Text(f"NIC {numbers}", "yellow" if failed else "") if numbers else Text("no port", "red")
    link = Text("up") if bond.link.carrier else Text("no carrier", "red")
    values = [str(bond.failovers), *_traffic(row.rates), str(row.errors)]
    return [name, container, active, link, *map(Text, values), network, pool]


def _traffic(rates: Rates | None) -> list[str]:
    if rates is None:
        return ["-"] * 4
    return [amount(value) for value in (rates.rx_bits, rates.tx_bits, rates.rx_packets, rates.tx_packets)]
