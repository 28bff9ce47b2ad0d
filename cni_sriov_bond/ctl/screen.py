"""Tables and progress bars on a terminal, lines of text elsewhere.

Names of interfaces, containers, networks and pools are foreign text: they are never parsed as markup, and characters that
a terminal would obey are replaced.
"""

import shutil
import textwrap
import time
from collections.abc import Iterable
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from cni_sriov_bond.ctl.links import Nic
from cni_sriov_bond.ctl.status import BROKEN, FREE, QUARANTINED, BondStatus, PoolStatus
from cni_sriov_bond.ctl.tables import Column, fits, short_id, table
from cni_sriov_bond.ctl.text import printable

_SLOW = 1.0
_WIDE = 160  # columns, where no terminal limits a line
_NONE = "-"  # a fact that is not known


class MarkedLine(Protocol):
    """A line of output; ``style`` is that of its first ``marked`` characters."""

    @property
    def text(self) -> str:
        """The line."""

    @property
    def style(self) -> str:
        """A style of rich, or ""."""

    @property
    def marked(self) -> int:
        """How many characters have the style."""


class Progress:
    """Progress of stages that may take long: bars on a terminal, elsewhere a line for each stage that took over a second.

    :param title: what the stages are of, such as a pool's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task: TaskID | None = None
        self._stage = ""
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self._log_stage()

    def report(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is; a new name begins a new stage."""
        if stage != self._stage:
            self._log_stage()
            self._stage, self._since = stage, time.monotonic()
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(printable(f"{self._title}: {stage}"), total=total)
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def _log_stage(self) -> None:
        took = time.monotonic() - self._since
        if self._stage and took > _SLOW and not self._console.is_terminal:
            line = printable(f"{self._title}: {self._stage} took {took:.1f} s")
            self._console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def output() -> Console:
    """Return the console of standard output. Its width is COLUMNS or the terminal's; elsewhere a line may be wider."""
    width = shutil.get_terminal_size((_WIDE, 24)).columns
    return Console(width=width, highlight=False, emoji=False, markup=False)


def print_pools(pools: list[PoolStatus]) -> None:
    """Print the state of pools: of each its NICs, its bonds, and what is wrong."""
    console = output()
    if not pools:
        console.print("there is no pool; write /etc/cni/sriov-bond.toml and run `sriov-bondctl up`", soft_wrap=True)
    for pool in pools:
        free = sum(bond.state == FREE for bond in pool.bonds)
        title = Text.assemble((f"pool {printable(pool.name)}", "bold"), f": {free} of {len(pool.bonds)} bonds free")
        console.print(title, soft_wrap=True)
        for warning in _warnings(pool):
            _print_sentence(console, warning, "yellow")
        if pool.nics:
            console.print(table(_NIC_COLUMNS, [_nic_cells(nic) for nic in pool.nics], console.width))
        numbers = {nic.address: nic.number for nic in pool.nics}
        rows = [_bond_cells(bond, numbers, all_addresses=True) for bond in pool.bonds]
        if not fits(_BOND_COLUMNS, rows, console.width):
            rows = [_bond_cells(bond, numbers, all_addresses=False) for bond in pool.bonds]
        console.print(table(_BOND_COLUMNS, rows, console.width))
        for bond in pool.bonds:
            _print_about(console, bond.name, bond.problem, "red")
            _print_about(console, bond.name, bond.waiting, "yellow")


def columns() -> int | None:
    """Return the columns of the terminal, or None where standard output is none."""
    console = Console()
    return console.width if console.is_terminal else None


def print_lines(lines: Iterable[MarkedLine]) -> None:
    """Print lines whose first characters are marked with a style, which only a terminal shows; they are wrapped already."""
    console = Console(highlight=False, emoji=False, markup=False)
    for line in lines:
        text = Text(line.text)
        if line.style:
            text.stylize(line.style, 0, line.marked)
        console.print(text, soft_wrap=True)


def _print_about(console: Console, bond: str, text: str, style: str) -> None:
    if text:
        _print_sentence(console, f"{printable(bond)}: {printable(text)}", style)


def _print_sentence(console: Console, sentence: str, style: str) -> None:
    """Print a sentence, wrapped between words to a known width; elsewhere it stays one line, which programs can search."""
    lines = [f"  {sentence}"]
    if console.is_terminal or console.width != _WIDE:
        lines = textwrap.wrap(
            sentence,
            console.width,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    console.print(Text("\n".join(lines), style), soft_wrap=True)


def _warnings(pool: PoolStatus) -> list[str]:
    warnings = []
    if not pool.this_boot:
        warnings.append("provisioned before the last boot; run `sriov-bondctl up`")
    if pool.pending:
        bonds = "a released bond" if pool.pending == 1 else f"{pool.pending} released bonds"
        dels = "an IPAM DEL is pending" if pool.pending == 1 else "IPAM DELs are pending"
        warnings.append(f"the addresses of {bonds} may still be reserved: {dels}; run `sriov-bondctl gc`")
    return warnings


_NIC_COLUMNS = (
    Column("NIC"), Column("NAME", least=8), Column("ADDRESS"), Column("LINK"), Column("MBIT/S", 7), Column("VFS", 6),
    Column("DRIVER", 5), Column("FIRMWARE", 3), Column("MTU", 2), Column("NUMA", 1), Column("ERRORS", 4),
)  # fmt: skip
_BOND_COLUMNS = (
    Column("BOND"), Column("STATE"), Column("ACTIVE"), Column("PORTS", 3), Column("VLAN", 4), Column("ADDRESSES", least=15),
    Column("CONTAINER", least=10),
    Column("INTERFACE", 1), Column("NETWORK", 2),
)  # fmt: skip


def _nic_cells(nic: Nic) -> list[Text]:
    errors = nic.counters and nic.counters.rx_errors + nic.counters.tx_errors
    vfs = None if nic.vfs is None else f"{nic.vfs}/{_NONE if nic.total_vfs is None else nic.total_vfs}"
    facts = (nic.speed, vfs, nic.driver, nic.firmware, nic.mtu, nic.numa_node, errors)
    first = [Text(f"NIC {nic.number}"), Text(printable(nic.name)), Text(nic.address), _condition(nic)]
    return first + [Text(_NONE if fact is None else printable(str(fact))) for fact in facts]


def _condition(nic: Nic) -> Text:
    if not nic.present:
        return Text("missing", "red")
    if not nic.up:
        return Text("down", "red")
    return Text("up") if nic.carrier else Text("no carrier", "red")


_STYLES = {FREE: "green", "ready": "cyan", "adding": "yellow", "releasing": "yellow", "draining": "yellow", BROKEN: "red",
           QUARANTINED: "red"}  # fmt: skip


def _bond_cells(bond: BondStatus, numbers: dict[str, int], *, all_addresses: bool) -> list[Text]:
    """Return the cells of a bond.

    :param numbers: the number of each NIC of the pool, by PCI address.
    :param all_addresses: else the first alone, and how many more there are; `show` has them all.
    """
    cells = [bond.state, "", " ".join(printable(port.name) for port in bond.ports)]
    lease = bond.lease
    if lease:
        cells += ["" if lease.vlan is None else str(lease.vlan), _addresses(lease.ips, all_addresses)]
        cells += [short_id(printable(lease.container_id)), printable(lease.ifname), printable(lease.network)]
    row = [Text(printable(bond.name)), *map(Text, cells)]
    row += [Text("")] * (len(_BOND_COLUMNS) - len(row))
    row[1].stylize(_STYLES[bond.state])
    row[2] = _active(bond, numbers)
    return row


def _addresses(ips: list[str], all_of_them: bool) -> str:
    shown = ips if all_of_them else ips[:1]
    more = f" +{len(ips) - len(shown)}" if len(shown) < len(ips) else ""
    return printable(" ".join(shown)) + more


def _active(bond: BondStatus, numbers: dict[str, int]) -> Text:
    """Return the NICs of the ports that the bond sends through, in colour where a port has failed."""
    if any(port.active is None for port in bond.ports):
        return Text("")  # no container has it, or it cannot be read
    nics = [str(numbers.get(port.pf_address, "?")) for port in bond.ports if port.active]
    if not nics:
        return Text("no port", "red")
    failed = any(port.link != "up" for port in bond.ports)
    return Text(f"NIC {'+'.join(nics)}", "yellow" if failed else "")
