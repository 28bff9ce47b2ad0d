"""The host file, /etc/cni/sriov-bond.toml: which NICs belong to which pool."""

import os
from collections.abc import Iterable
from string import Formatter
from typing import NamedTuple

from cni_sriov_bond.ctl import documents, schemacheck
from cni_sriov_bond.ctl.documents import Mistake
from cni_sriov_bond.ctl.hostfile_schema import BOND_NAME, HOST, MAX, MAX_VFS, POOL, VF_NAME
from cni_sriov_bond.ctl.text import JsonObject, Path, path_text, shown
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError
from cni_sriov_bond.network.config import is_pool_name

_MAX_VFS = 255  # assumed for "max", to compare the names that VFs would have
_FIELDS = {"vf_name": (VF_NAME, {"nic", "vf"}), "bond_name": (BOND_NAME, {"n"})}


class PoolPlan(NamedTuple):
    """A pool as the host file defines it.

    ``nics`` are the NICs' numbers over the whole file, from 1: VFs are devices of the host, so their names must differ in
    all pools. ``vfs`` is the number of VFs of each NIC, None for as many as all of them offer. ``selected`` are the VFs of each
    NIC that are the pool's, from 0, and ``excluded`` those that are not; both are empty if all are.
    """

    name: str
    pfs: tuple[str, ...]
    nics: tuple[int, ...]
    vfs: int | None
    vf_name: str
    bond_name: str
    selected: tuple[range, ...] = ()
    excluded: tuple[range, ...] = ()

    @property
    def shares(self) -> bool:
        """Whether the NICs may have VFs that are not the pool's."""
        return bool(self.selected or self.excluded)

    @property
    def required(self) -> int | None:
        """How many VFs each NIC must have, or None for as many as all of them offer."""
        return max(part.stop for part in self.selected) if self.selected else self.vfs

    def indices(self, size: int) -> list[int]:
        """Return which VFs are the pool's, from 0, on NICs with ``size`` VFs."""
        wanted = [index for index in range(size) if not self.selected or any(index in part for part in self.selected)]
        return [index for index in wanted if not any(index in part for part in self.excluded)]


def read(path: str) -> list[PoolPlan]:
    """Read the host file.

    :raises CniError: IO_FAILURE when it cannot be read, INVALID_CONFIG listing every mistake in it.
    """
    if not os.path.lexists(path):
        raise CniError(
            IO_FAILURE, f'there is no {path}; write one, e.g.  pools.db = {{pfs = ["enp1s0", "enp2s0"], vfs = "max"}}'
        )
    try:
        document = documents.parse_toml(documents.read(path))
    except CniError as failed:
        raise CniError(failed.code, f"{path} {failed.msg}") from None
    problems = document.mistakes or mistakes(document.value)
    if problems:
        lines = [f"line {line}: {mistake}" for line, mistake in document.located(problems)]
        raise CniError(INVALID_CONFIG, f"{path}: {'; '.join(lines)}")
    return _plans(document.value)


def mistakes(value: JsonObject) -> list[Mistake]:
    """Return every mistake in a host file's document: against the schema, and against rules that a schema cannot express."""
    problems = schemacheck.mistakes(value, HOST)
    pools = value.get("pools")
    tables = {name: pool for name, pool in pools.items() if isinstance(pool, dict)} if isinstance(pools, dict) else {}
    for name, pool in tables.items():
        for key, (_, fields) in _FIELDS.items():
            if isinstance(pool.get(key), str):
                problems += _pattern_mistakes(("pools", name, key), pool[key], fields)
    problems += _repeated(tables)
    for name, pool in tables.items():
        problems += _selection_mistakes(("pools", name), pool)
    # Names can be compared only if every pool is valid by itself.
    return problems or _same_names(_plans(value))


def _plans(value: JsonObject) -> list[PoolPlan]:
    """Return the pools of a document that has no mistakes."""
    plans, number = [], 1
    for name, pool in value["pools"].items():
        nics = tuple(range(number, number + len(pool["pfs"])))
        number += len(nics)
        vfs = pool.get("vfs", MAX)
        vf_name, bond_name = (pool.get(key, default) for key, (default, _) in _FIELDS.items())
        selected = _ranges(vfs.split(",")) if isinstance(vfs, str) and vfs != MAX else ()
        size = vfs if isinstance(vfs, int) else None
        excluded = _ranges(pool.get("exclude", ()))
        plans.append(PoolPlan(name, tuple(pool["pfs"]), nics, size, vf_name, bond_name, selected, excluded))
    return plans


def _ranges(entries: Iterable[int | str]) -> tuple[range, ...]:
    """Return the ranges of VFs that valid entries name, such as 3 or "8-11"."""
    ranges = []
    for entry in entries:
        first, _, last = str(entry).partition("-")
        ranges.append(range(int(first), int(last or first) + 1))
    return tuple(ranges)


def _selection_mistakes(pool: Path, table: JsonObject) -> list[Mistake]:
    """Return what is wrong with the VFs that a pool selects, as far as the schema cannot tell."""
    vfs, exclude = table.get("vfs", MAX), table.get("exclude", [])
    if not _follows_schema({"vfs": vfs, "exclude": exclude}):
        return []
    problems = []
    texts = vfs.split(",") if isinstance(vfs, str) and vfs != MAX else []
    for key, entries in (("vfs", texts), ("exclude", exclude)):
        for entry, part in zip(entries, _ranges(entries), strict=True):
            if not part:
                problems.append(Mistake((*pool, key), f"must have the lower VF of a range first, not {shown(entry)}"))
            elif part.stop > MAX_VFS:
                problems.append(Mistake((*pool, key), f"must have VFs from 0 to {MAX_VFS - 1}, not {shown(entry)}"))
    if not problems and (texts or isinstance(vfs, int)):
        plan = PoolPlan("", (), (), vfs if isinstance(vfs, int) else None, "", "", _ranges(texts), _ranges(exclude))
        if not plan.indices(plan.required or 0):
            problems.append(Mistake((*pool, "exclude"), f"must leave a VF of vfs {shown(vfs)}"))
    return problems


def _follows_schema(keys: JsonObject) -> bool:
    properties = {key: POOL["properties"][key] for key in keys}
    return not schemacheck.mistakes(keys, {"type": "object", "properties": properties})


def _repeated(pools: JsonObject) -> list[Mistake]:
    """Return the NICs that are named more than once in the file."""
    problems = []
    first: dict[str, Path] = {}
    for name, pool in pools.items():
        pfs = pool.get("pfs")
        for index, pf in enumerate(pfs if isinstance(pfs, list) else ()):
            path: Path = ("pools", name, "pfs", index)
            if isinstance(pf, str) and first.setdefault(pf, path) != path:
                problems.append(Mistake(path, f"must be another NIC: {path_text(first[pf])} is {shown(pf)} already"))
    return problems


def _same_names(plans: list[PoolPlan]) -> list[Mistake]:
    """Return a mistake if two VFs would have one name: "VF111" is VF 11 of NIC 1, and with eleven NICs also VF 1 of NIC 11."""
    seen: dict[str, str] = {}
    for plan in plans:
        for nic in plan.nics:
            for index in plan.indices(plan.required or _MAX_VFS):
                name, this = plan.vf_name.format(nic=nic, vf=index + 1), f"VF {index + 1} of NIC {nic}"
                if seen.setdefault(name, this) != this:
                    problem = (
                        f"must give each VF a name of its own, but {shown(plan.vf_name)} names both {seen[name]} and {this} "
                        f"{name}; put a letter between {{nic}} and {{vf}}"
                    )
                    return [Mistake(("pools", plan.name, "vf_name"), problem)]
    return []


def _pattern_mistakes(path: Path, pattern: str, fields: set[str]) -> list[Mistake]:
    """Check a name pattern: without each of its fields two names could be equal."""
    wanted = " and ".join(f"{{{field}}}" for field in sorted(fields))
    try:
        used = {field for _, field, _, _ in Formatter().parse(pattern) if field is not None}
        longest = pattern.format(**dict.fromkeys(fields, 255))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return [Mistake(path, f"must be a pattern with {wanted}, not {shown(pattern)}")]
    if used != fields:
        return [Mistake(path, f"must have {wanted}, not {shown(pattern)}")]
    if len(longest.encode("utf-8", "replace")) > 15 or not is_pool_name(longest.replace(".", "/")):
        return [Mistake(path, f"must give names of at most 15 letters, digits, '_' and '-', not {shown(pattern)}")]
    return []
