"""What people see of foreign text: as it is, never as markup, and nothing that a terminal obeys."""

import os
import pty
import re
import subprocess
import sys

import pytest

from cni_sriov_bond.ctl import screen
from cni_sriov_bond.ctl.links import Nic
from cni_sriov_bond.ctl.status import BondStatus, LeaseStatus, PoolStatus, PortStatus
from tests.support import REPOSITORY

LEASE = LeaseStatus("net1", "c1", "eth0", "/run/netns/c1", ["10.0.0.2/24"], 100, ["02:00:00:00:00:01"], 1, this_boot=True)
PORT = PortStatus("ffff:01:10.0", "VF11", "ffff:01:00.0", 0, "VF11")


def shown(capsys: pytest.CaptureFixture[str], *bonds: BondStatus, name: str = "db", nics: list[Nic] | None = None) -> str:
    screen.print_pools([PoolStatus(name, this_boot=True, nics=nics or [], bonds=list(bonds), pending=0)])
    return capsys.readouterr().out


@pytest.mark.parametrize("text", ["[bold]", "[/x", "[/]", "[red]a[/red]", ":smile:", "a[b"])
def test_foreign_text_is_no_markup(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Everywhere that a name, an id or a reason is shown."""
    assert f"pool {text}: 0 of 0 bonds free" in shown(capsys, name=text)
    missing = shown(capsys, nics=[Nic("ffff:01:00.0", text, 1)]).splitlines()[2]
    assert missing.split()[:5] == ["NIC", "1", text, "ffff:01:00.0", "missing"]
    facts = Nic("ffff:01:00.0", "a", 1, present=True, up=True, carrier=True, driver=text, firmware=text)
    assert shown(capsys, nics=[facts]).splitlines()[2].split().count(text) == 2
    free = BondStatus("b1", "02:00:00:00:00:01", "free", [PORT])
    for change in (
        {"name": text},
        {"ports": [PORT._replace(name=text)]},
        {"state": "quarantined", "problem": text},
        {"state": "ready", "lease": LEASE._replace(container_id=text)},
        {"state": "ready", "lease": LEASE._replace(network=text)},
        {"state": "ready", "lease": LEASE._replace(ifname=text)},
        {"state": "ready", "lease": LEASE._replace(ips=[text])},
    ):
        assert text in shown(capsys, free._replace(**change)).split(), change


def test_what_a_terminal_obeys_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """A container that calls its interface so cannot clear the operator's screen."""
    lease = LEASE._replace(ifname="\x1b[2Ja", network="n\r\n", container_id="\udcff")
    out = shown(capsys, BondStatus("b1", "", "ready", [PORT], lease=lease), name="\x07p")
    assert not {"\x1b", "\r", "\x07", "\udcff"} & set(out)
    assert "\N{REPLACEMENT CHARACTER}[2Ja" in out


def test_a_problem_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "VF23 is not in the host, though the bond is not leased: " + "x" * 300
    assert f"b1: {reason}\n" in shown(capsys, BondStatus("b1", "", "broken", [PORT], reason))


def terminal(code: str, columns: int = 80) -> str:
    """Run some code with a terminal as its output and return what it wrote there."""
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    environ.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, env=environ, cwd=REPOSITORY)
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the process has ended
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    assert process.wait(60) == 0, b"".join(parts)
    return b"".join(parts).decode()


def test_a_bond_has_one_line_of_80_columns() -> None:
    """Columns are left out, the id is cut, and what is left is not wrapped."""
    code = (
        "from cni_sriov_bond.ctl import screen\n"
        "from cni_sriov_bond.ctl.links import *\nfrom cni_sriov_bond.ctl.status import *\n"
        "lease = LeaseStatus('a-network', 'k8s.io-' + 'f' * 64, 'eth0', '', ['10.0.0.2/24'], 100, [], 1, True)\n"
        "ports = [PortStatus('', f'VF{n}1', f'ffff:0{n}:00.0', 0, '', True, 'up') for n in (1, 2)]\n"
        "nic = Nic('ffff:01:00.0', 'enp1s0', 1, True, True, True, 'up', 100000, 'full', 9000, '', 'mlx5_core', '6.1',\n"
        "          '16.35.2000 (MT_0000000012)', 63, 127, 0, Counters(*range(8)))\n"
        "bonds = [BondStatus(f'cbond{n}', '', 'ready', ports, lease=lease) for n in (1, 2)]\n"
        "screen.print_pools([PoolStatus('db', True, [nic, nic._replace(address='ffff:02:00.0', number=2)], bonds, 0)])\n"
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal(code)).splitlines()
    assert len(lines) == 7, lines
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split() == ["NIC", "NAME", "ADDRESS", "LINK", "MBIT/S", "VFS", "DRIVER", "ERRORS"]
    assert lines[4].split() == ["BOND", "STATE", "ACTIVE", "VLAN", "ADDRESSES", "CONTAINER"]
    assert lines[6].split() == ["cbond2", "ready", "NIC", "1+2", "100", "10.0.0.2/24", "k8s.io-" + "f" * 17 + "…"]


WIDE_POOL = """
from cni_sriov_bond.ctl import screen
from cni_sriov_bond.ctl.links import *
from cni_sriov_bond.ctl.status import *
ips = ['10.100.0.10/24', 'fd00:100:aaaa:bbbb:cccc:dddd:eeee:1010/64']
lease = LeaseStatus('a-network-with-a-long-name', 'k8s.io-' + 'f' * 64, 'eth0', '', ips, 100, [], 1, True)
ports = [PortStatus('', name, '', 0, '') for name in ('VF11', 'VF21')]
nics = [Nic(f'ffff:0{n}:00.0', f'enp{n}s0f0np0', n, True, True, False, driver='mlx5_core') for n in (1, 2)]
problem = 'VF13 (the VF at ffff:01:10.3) is not in the host: bind this VF to its network driver and run it again'
bonds = [BondStatus('cbond1', '', 'ready', ports, lease=lease), BondStatus('cbond2', '', 'quarantined', ports, problem)]
screen.print_pools([PoolStatus('db', True, nics, bonds, 1)])
"""


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_pool_fits_the_terminal(columns: int) -> None:
    """A quarantined bond and a long IPv6 address: bond, state and NIC are never cut, and sentences break between words."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal(WIDE_POOL, columns)).splitlines()
    assert [line for line in lines if len(line) > columns] == []
    assert [line.split()[:3] for line in lines if line.startswith(" NIC ")][1:] == [
        ["NIC", "1", "enp1s0f0np0"],
        ["NIC", "2", "enp2s0f0np0"],
    ]
    assert [line.split()[:2] for line in lines if line.startswith(" cbond")] == [["cbond1", "ready"], ["cbond2", "quarantined"]]
    assert ("fd00:100:aaaa:bbbb:cccc:dddd:eeee:1010/64" in " ".join(lines)) == (columns == 200)
    assert ("10.100.0.10/24 +1" in " ".join(lines)) == (columns < 200)
    sentences = " ".join(" ".join(lines).split())
    assert "cbond2: VF13 (the VF at ffff:01:10.3) is not in the host: bind this VF to its network driver and" in sentences


@pytest.mark.parametrize("columns", ["", "60"])
def test_elsewhere_there_is_no_colour_and_the_width_is_that_of_columns(columns: str) -> None:
    """In a frame or under `watch`; without COLUMNS a sentence is one line, which programs can search."""
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    environ |= {"COLUMNS": columns} if columns else {}
    command = [sys.executable, "-c", WIDE_POOL]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=REPOSITORY, check=True, timeout=60)
    assert "\x1b" not in done.stdout
    longest = max(len(line.rstrip()) for line in done.stdout.splitlines())
    assert (longest <= 60) == bool(columns)


def test_progress_on_a_terminal_is_no_markup() -> None:
    code = (
        "from cni_sriov_bond.ctl.screen import Progress\n"
        "with Progress('[bold]db') as progress:\n    progress.report('[/x] \\x1b[5mnaming', 1, 2)\n"
    )
    out = terminal(code)
    assert "[bold]db: [/x] \N{REPLACEMENT CHARACTER}[5mnaming" in out
    assert "\x1b[5m" not in out


def test_a_stage_that_took_long_is_a_line_elsewhere() -> None:
    """A journal has no bars."""
    code = (
        "import time\nfrom cni_sriov_bond.ctl.screen import Progress\n"
        "with Progress('[bold]db') as progress:\n    progress.report('[/x]', 1, 2)\n    time.sleep(1.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True, timeout=60)
    assert done.stderr.startswith("[bold]db: [/x] took 1.")
