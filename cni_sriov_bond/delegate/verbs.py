"""The delegate's verbs."""

import posix as os  # os itself costs a call 4 million instructions

from cni_sriov_bond import result, store
from cni_sriov_bond.delegate import ranges, reservations
from cni_sriov_bond.delegate.request import parse, where
from cni_sriov_bond.delegate.reservations import Owner
from cni_sriov_bond.errors import (
    CHECK_DIFFERS,
    DECODING_FAILURE,
    INVALID_CONFIG,
    IO_FAILURE,
    NOT_AVAILABLE,
    CniError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.config import Call


_MOST_RESOLV_CONF = 65536


def add(call: "Call", value: "dict[str, Any]", version: str) -> "dict[str, Any]":
    """Reserve an address of each set and give the result in the form of 1.1.0.

    :raises CniError: after which nothing is reserved that was not before.
    """
    request = parse(value, version, call.args, strict=True)
    dns = _resolv_conf(request.resolv_conf) if request.resolv_conf else {}
    kept = _opened(request.data_dir, request.name)
    try:
        kept.make_ready()
        given = kept.give(Owner(call.container_id, call.ifname), request)
    finally:
        kept.close()
    ips = []
    for member, text in given:
        one = {"address": f"{text}/{member.prefix}"}
        if member.gateway:
            one["gateway"] = ranges.text(member.gateway)
        ips.append(one)
    return {"interfaces": [], "ips": ips, "routes": request.routes, "dns": dns}


def _opened(data_dir: str, name: str) -> reservations.Reservations:
    found = reservations.locked(data_dir, name, make=True)
    if found is None:
        raise CniError(IO_FAILURE, f"{data_dir}/{name} was removed while it was made")
    return found


def delete(call: "Call", value: "dict[str, Any]") -> None:
    """Free what the attachment has; nothing is wrong when that is nothing.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    kept = reservations.locked(*where(value), make=False)
    if kept is None:
        return
    try:
        kept.free(Owner(call.container_id, call.ifname))
    finally:
        kept.close()


def take_back(call: "Call", value: "dict[str, Any]", given: "dict[str, Any]") -> None:
    """Free what an ADD gave, and not what its attachment had before, of ranges that the config no longer has.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    kept = reservations.locked(*where(value), make=False)
    if kept is None:
        return
    try:
        kept.free(Owner(call.container_id, call.ifname), [one["address"].partition("/")[0] for one in given["ips"]])
    finally:
        kept.close()


def check(call: "Call", value: "dict[str, Any]", version: str) -> None:
    """See that the attachment has what it was given.

    :raises CniError: CHECK_DIFFERS when it has no address, or prevResult one of our sets that is not its own.
    """
    request = parse(value, version, call.args)
    who = Owner(call.container_id, call.ifname)
    kept = reservations.locked(request.data_dir, request.name, make=False)
    have: list[str] = []
    if kept:
        try:
            kept.make_ready()
            have = kept.of(who)
        finally:
            kept.close()
    if not have:
        raise CniError(CHECK_DIFFERS, f"{who} has no address of network {request.name!r}; ADD it again")
    owned = {ranges.ip(text) for text in have}
    for address in _shown(value, version):
        if address not in owned and request.holds(address):
            raise CniError(CHECK_DIFFERS, f"{ranges.text(address)} of prevResult is not reserved for {who}")


def _shown(value: "dict[str, Any]", version: str) -> "list[ranges.Ip]":
    """Give the addresses of prevResult."""
    before = value.get("prevResult") or {}
    try:
        return [ranges.network(one["address"])[0] for one in result.normal(before, version)["ips"]]
    except (ValueError, CniError) as wrong:
        raise CniError(DECODING_FAILURE, f"prevResult of network {value['name']!r} is no CNI result: {wrong}") from None


def status(value: "dict[str, Any]", version: str) -> None:
    """Say whether an ADD would get its addresses.

    :raises CniError: NOT_AVAILABLE when a set has none left, or reservations cannot be kept.
    """
    request = parse(value, version, "")
    try:
        kept = reservations.locked(request.data_dir, request.name, make=False)
        if kept is None:
            _can_make(f"{request.data_dir}/{request.name}")
            full = [str(one) for one in request.sets if not one.after(None)]
        else:
            try:
                kept.make_ready()
                full = [str(one) for one in request.sets if kept.full(one)]
            finally:
                kept.close()
    except CniError as failed:
        if failed.code != IO_FAILURE:
            raise
        raise CniError(NOT_AVAILABLE, failed.msg) from None
    if full:
        raise CniError(NOT_AVAILABLE, f"network {request.name!r} has no address left in {' and '.join(full)}")


def _can_make(path: str) -> None:
    """See that a directory can be made, without making it."""
    while path:
        path = path.rpartition("/")[0]
        try:
            os.stat(path or "/")
        except FileNotFoundError:
            continue
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot keep reservations in {path}: {failed.strerror}") from None
        if not os.access(path or "/", os.W_OK):
            raise CniError(IO_FAILURE, f"cannot keep reservations in {path}: it cannot be written to")
        return


def collect(value: "dict[str, Any]") -> None:
    """Free what belongs to no attachment that the runtime lists.

    Without a list nothing is freed: an address that is in use must not be given again. What either list has is kept, should
    there be two.

    :raises CniError: DECODING_FAILURE for a list that is none, and then nothing is freed.
    """
    lists = [_attachments(key, value[key]) for key in ("cni.dev/valid-attachments", "cni.dev/attachments") if key in value]
    if not lists:
        return
    kept = reservations.locked(*where(value), make=False)
    if kept is None:
        return
    try:
        kept.free_all_but(set().union(*lists))
    finally:
        kept.close()


def _attachments(key: str, listed: "Any") -> "set[tuple[str, str]]":
    if listed is None:  # Go writes a list without entries so
        return set()
    try:
        found = {(one["containerID"], one["ifname"]) for one in listed}
        wrong = not isinstance(listed, list) or not all(part and isinstance(part, str) for one in found for part in one)
    except (KeyError, TypeError):
        wrong = True
    if wrong:
        raise CniError(DECODING_FAILURE, f"{key} must be a list of objects with a containerID and an ifname")
    return found


def _resolv_conf(path: str) -> "dict[str, Any]":
    """Read a file like /etc/resolv.conf as host-local does (dns.go)."""
    found: dict[str, Any] = {}
    for line in _read(path).split("\n"):
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            found.setdefault("nameservers", []).append(words[1])
        elif words[0] == "domain":
            found["domain"] = words[1]
        elif words[0] in ("search", "options"):
            found.setdefault(words[0], []).extend(words[1:])
    return found


def _read(path: str) -> str:
    """Read a file of the operator's, not all of /dev/zero, and without waiting for a FIFO."""
    if not store.is_path(path):
        raise CniError(INVALID_CONFIG, f"ipam.resolvConf {path!r} is no path")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = b""
            while len(data) < _MOST_RESOLV_CONF and (part := os.read(fd, _MOST_RESOLV_CONF)):
                data += part
        finally:
            os.close(fd)
    except OSError as failed:
        raise CniError(INVALID_CONFIG, f"cannot read ipam.resolvConf {path}: {failed.strerror}") from None
    return data[:_MOST_RESOLV_CONF].decode("utf-8", "replace")
