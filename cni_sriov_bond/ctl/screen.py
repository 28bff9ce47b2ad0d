"""What people see: tables and progress on a terminal, plain lines elsewhere."""

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

_SLOW = 1.0
_WIDE = 160  # where no terminal limits a line


class Progress:
    """Progress of stages that may take long: bars on a terminal, elsewhere a line for each stage that took over a second."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task: TaskID | None = None
        self._stage = ""
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self._tell()

    def report(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is; a new name begins a new stage."""
        if stage != self._stage:
            self._tell()
            self._stage, self._since = stage, time.monotonic()
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(f"{self._title}: {stage}", total=total)
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def _tell(self) -> None:
        took = time.monotonic() - self._since
        if self._stage and took > _SLOW and not self._console.is_terminal:
            self._console.print(f"{self._title}: {self._stage} took {took:.1f} s", highlight=False)


def print_pools(pools: list[dict[str, Any]]) -> None:
    """Print what ``status.collect`` gave, one table a pool."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    if not pools:
        console.print("no pool is provisioned; write /etc/cni/sriov-bond.toml and run `sriov-bondctl up`")
    for pool in pools:
        free = sum(bond["state"] == "free" for bond in pool["bonds"])
        console.print(f"[bold]pool {pool['name']}[/]: {free} of {len(pool['bonds'])} bonds free", soft_wrap=True)
        for nic in pool["nics"]:
            console.print(f"  NIC {nic['number']}  {nic['name']}  {nic['pci']}  {_condition(nic)}", soft_wrap=True)
        if not pool["this_boot"]:
            console.print("  [yellow]provisioned before the last boot; run `sriov-bondctl up`[/]", soft_wrap=True)
        if pool["pending_dels"]:
            count = pool["pending_dels"]
            whose = "a released bond" if count == 1 else f"{count} released bonds"
            what = f"the addresses of {whose} may still be reserved: an IPAM DEL is pending; run `sriov-bondctl gc`"
            console.print(f"  [yellow]{what}[/]", soft_wrap=True)
        console.print(_table(pool))


def _condition(nic: dict[str, Any]) -> str:
    if not nic["present"]:
        return "[red]missing[/]"
    if not nic["up"]:
        return "[red]down[/]"
    return "up" if nic["carrier"] else "[red]no carrier: its cable or switch is dead[/]"


_STYLES = {"free": "green", "ready": "cyan", "adding": "yellow", "releasing": "yellow", "draining": "yellow", "broken": "red",
           "quarantined": "red"}  # fmt: skip


def _short(container_id: str) -> str:
    """Give a container id as people read it: runtimes' are 64 hex digits behind a namespace."""
    return container_id if len(container_id) <= 25 else container_id[:24] + "…"


def _table(pool: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=True, header_style="bold")
    for column in ("BOND", "STATE", "PORTS", "VLAN", "ADDRESSES", "CONTAINER", "INTERFACE", "NETWORK"):
        table.add_column(column, overflow="fold", no_wrap=column in ("BOND", "STATE", "PORTS", "VLAN"))
    for bond in pool["bonds"]:
        lease = bond.get("lease")
        ports = " ".join(port["name"] for port in bond["ports"])
        state = f"[{_STYLES[bond['state']]}]{bond['state']}[/]"
        row = [bond["name"], state, ports]
        if lease:
            vlan = "" if lease["vlan"] is None else str(lease["vlan"])
            row += [vlan, "\n".join(lease["ips"]), _short(lease["container_id"]), lease["ifname"], lease["network"]]
        elif "problem" in bond:
            row += ["", bond["problem"]]
        table.add_row(*row)
    return table
