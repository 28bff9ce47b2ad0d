"""The host file, /etc/cni/sriov-bond.toml: which NICs make which pool."""

import tomllib
from string import Formatter
from typing import Any, NamedTuple

from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError
from cni_sriov_bond.network.config import is_pool_name

DEFAULT_PATH = "/etc/cni/sriov-bond.toml"
MAX = "max"
_MOST_VFS = 255
_MOST_NUMBER = 65535  # PCI SR-IOV: TotalVFs has 16 bits
_MOST = 1 << 20  # bytes; /dev/zero has more than the machine
_KEYS = {"pfs", "vfs", "vf_name", "bond_name"}


class PoolPlan(NamedTuple):
    """A pool as the host file asks for it.

    ``nics`` are the NICs' numbers over the whole file, from 1: they are a part of the VFs' names, which are one space.
    ``vfs`` is per NIC, None for as many as the NICs have.
    """

    name: str
    pfs: tuple[str, ...]
    nics: tuple[int, ...]
    vfs: int | None
    vf_name: str
    bond_name: str


def read(path: str) -> list[PoolPlan]:
    """Read the host file.

    :raises CniError: IO_FAILURE when it cannot be read, INVALID_CONFIG listing everything that is wrong in it.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise CniError(INVALID_CONFIG, f"{path} is larger than 1 MiB, and so no host file")
        document = tomllib.loads(text.decode())
    except FileNotFoundError:
        raise CniError(
            IO_FAILURE, f'there is no {path}; write one, e.g.  pools.db = {{pfs = ["enp1s0", "enp2s0"], vfs = "max"}}'
        ) from None
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read {path}: {failed.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise CniError(INVALID_CONFIG, f"{path} is no TOML: {wrong}") from None
    return _plans(path, document)


def _plans(path: str, document: dict[str, Any]) -> list[PoolPlan]:
    pools = document.get("pools")
    found = [f"unknown key {key!r}; pools are tables [pools.NAME]" for key in document if key != "pools"]
    if not isinstance(pools, dict) or not pools:
        found.append("it has no [pools.NAME] table")
        pools = {}
    plans, number = [], 1
    for name, table in pools.items():
        issues = _issues(name, table)
        found += [f"pools.{name}: {issue}" for issue in issues]
        if not issues:
            nics = tuple(range(number, number + len(table["pfs"])))
            number += len(nics)
            vfs = table.get("vfs", MAX)
            plans.append(
                PoolPlan(
                    name,
                    tuple(table["pfs"]),
                    nics,
                    None if vfs == MAX else vfs,
                    table.get("vf_name", "VF{nic}{vf}"),
                    table.get("bond_name", "cbond{n}"),
                )
            )
    used = [pf for plan in plans for pf in plan.pfs]
    found += [f"the NIC {pf} is in two pools or twice in one" for pf in sorted({pf for pf in used if used.count(pf) > 1})]
    found += _doubles(plans)
    if found:
        raise CniError(INVALID_CONFIG, f"{path}: {'; '.join(found)}")
    return plans


def _doubles(plans: list[PoolPlan]) -> list[str]:
    """Say which two VFs would have one name: "VF111" is VF 11 of NIC 1, and with eleven NICs also VF 1 of NIC 11."""
    seen: dict[str, str] = {}
    for plan in plans:
        for nic in plan.nics:
            for number in range(1, (plan.vfs or _MOST_VFS) + 1):
                name, this = plan.vf_name.format(nic=nic, vf=number), f"VF {number} of NIC {nic}"
                if seen.setdefault(name, this) != this:
                    return [f"pools.{plan.name}: vf_name {plan.vf_name!r} calls both {seen[name]} and {this} {name}; put a "
                            "letter between {nic} and {vf}"]  # fmt: skip
    return []


def _issues(name: str, table: Any) -> list[str]:
    if not isinstance(table, dict):
        return ["it must be a table"]
    found = [f"unknown key {key!r}; known are {', '.join(sorted(_KEYS))}" for key in table if key not in _KEYS]
    if not is_pool_name(name):
        found.append("its name must be of letters, digits, '_', '.' and '-'")
    pfs = table.get("pfs")
    if not isinstance(pfs, list) or not all(isinstance(pf, str) and pf and "/" not in pf for pf in pfs):
        found.append('pfs must be a list of NICs, e.g. ["enp1s0", "enp2s0"]')
    elif len(pfs) < 2:
        found.append(f"pfs must name two NICs, one on each switch, not {len(pfs)}")
    vfs = table.get("vfs", MAX)
    if vfs != MAX and (not isinstance(vfs, int) or isinstance(vfs, bool) or not 1 <= vfs <= _MOST_NUMBER):
        found.append(f'vfs must be a number from 1 to {_MOST_NUMBER} or "max", not {vfs!r}')
    for key, default, fields in (("vf_name", "VF{nic}{vf}", {"nic", "vf"}), ("bond_name", "cbond{n}", {"n"})):
        found += _pattern_issues(key, table.get(key, default), fields)
    return found


def _pattern_issues(key: str, pattern: Any, fields: set[str]) -> list[str]:
    """Check a name pattern: every field of it is what keeps two names apart."""
    wanted = " and ".join(f"{{{field}}}" for field in sorted(fields))
    try:
        used = {field for _, field, _, _ in Formatter().parse(pattern) if field is not None}
        longest = pattern.format(**dict.fromkeys(fields, 255))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return [f"{key} must be a pattern with {wanted}, not {pattern!r}"]
    if used != fields:
        return [f"{key} must have {wanted}, not {pattern!r}"]
    if len(longest.encode()) > 15 or not is_pool_name(longest.replace(".", "/")):
        return [f"{key} {pattern!r} does not give device names: at most 15 letters, digits, '_' and '-'"]
    return []
