"""Tables and progress bars on a terminal, lines of text elsewhere.

Names of interfaces, containers, networks and pools are foreign text: they are never parsed as markup, and characters that
a terminal would obey are replaced.
"""

import textwrap
import time
from collections.abc import Iterable
from typing import NamedTuple, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from cni_sriov_bond.ctl.links import Nic
from cni_sriov_bond.ctl.status import BROKEN, FREE, QUARANTINED, BondStatus, PoolStatus
from cni_sriov_bond.ctl.text import printable

_SLOW = 1.0
_WIDE = 160  # columns, where no terminal limits a line
_PADDING = 2  # columns beside the content of a cell
_ID_CHARACTERS = 25  # of a container id, which can be 64 hex digits after a namespace
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


def print_pools(pools: list[PoolStatus]) -> None:
    """Print the state of pools: of each its NICs, its bonds, and what is wrong."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDE
    if not pools:
        console.print("there is no pool; write /etc/cni/sriov-bond.toml and run `sriov-bondctl up`", soft_wrap=True)
    for pool in pools:
        free = sum(bond.state == FREE for bond in pool.bonds)
        title = Text.assemble((f"pool {printable(pool.name)}", "bold"), f": {free} of {len(pool.bonds)} bonds free")
        console.print(title, soft_wrap=True)
        for warning in _warnings(pool):
            _print_sentence(console, warning, "yellow")
        if pool.nics:
            console.print(_table(_NIC_COLUMNS, [_nic_cells(nic) for nic in pool.nics], console.width))
        console.print(_table(_BOND_COLUMNS, [_bond_cells(bond) for bond in pool.bonds], console.width))
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
    """Print a sentence, on a terminal wrapped between words; elsewhere it stays one line, which programs can search."""
    lines = [f"  {sentence}"]
    if console.is_terminal:
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


class _Column(NamedTuple):
    """A column of a table, which may be too wide for the terminal.

    Columns with a ``rank`` are then left out, the lowest first. If the others are still too wide, those with ``least`` are cut
    down to that width, the lowest first. A column with neither is always shown in full.
    """

    title: str
    rank: int = 0
    least: int = 0


_NIC_COLUMNS = (
    _Column("NIC"), _Column("NAME", least=8), _Column("ADDRESS"), _Column("LINK"), _Column("MBIT/S", 7), _Column("VFS", 6),
    _Column("DRIVER", 5), _Column("FIRMWARE", 3), _Column("MTU", 2), _Column("NUMA", 1), _Column("ERRORS", 4),
)  # fmt: skip
_BOND_COLUMNS = (
    _Column("BOND"), _Column("STATE"), _Column("PORTS", 3), _Column("VLAN", 4), _Column("ADDRESSES", least=15),
    _Column("CONTAINER", least=12),
    _Column("INTERFACE", 1), _Column("NETWORK", 2),
)  # fmt: skip


def _table(columns: tuple[_Column, ...], rows: list[list[Text]], width: int) -> Table:
    table = Table(box=None, pad_edge=True, header_style="bold")
    widths = _fit(columns, rows, width)
    for index, column_width in widths.items():
        table.add_column(columns[index].title, width=column_width, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(row[index] for index in widths))
    return table


def _fit(columns: tuple[_Column, ...], rows: list[list[Text]], width: int) -> dict[int, int]:
    """Return the columns to show, by index, with the width of each."""
    widths = {
        index: max([len(column.title), *(line.cell_len for row in rows for line in row[index].split())])
        for index, column in enumerate(columns)
    }

    def excess() -> int:
        return sum(column_width + _PADDING for column_width in widths.values()) - width

    for index in sorted(widths, key=lambda index: columns[index].rank):
        if columns[index].rank and excess() > 0:
            del widths[index]
    for index in sorted(widths, key=lambda index: columns[index].least):
        least = columns[index].least
        if least and excess() > 0:
            widths[index] = max(widths[index] - excess(), min(widths[index], least))
    return widths


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


def _bond_cells(bond: BondStatus) -> list[Text]:
    cells = [printable(bond.name), bond.state, " ".join(printable(port.name) for port in bond.ports)]
    lease = bond.lease
    if lease:
        cells += ["" if lease.vlan is None else str(lease.vlan), "\n".join(printable(ip) for ip in lease.ips)]
        cells += [_short(printable(lease.container_id)), printable(lease.ifname), printable(lease.network)]
    row = [Text(cell) for cell in cells] + [Text("")] * (len(_BOND_COLUMNS) - len(cells))
    row[1].stylize(_STYLES[bond.state])
    return row


def _short(container_id: str) -> str:
    return container_id if len(container_id) <= _ID_CHARACTERS else container_id[: _ID_CHARACTERS - 1] + "…"
