"""The delegate's verbs."""

import posix as os  # os itself costs a call 4 million instructions

from cni_sriov_bond import files
from cni_sriov_bond.cni import result
from cni_sriov_bond.cni.address import Cidr, network, to_number, to_text
from cni_sriov_bond.cni.call import valid_attachments
from cni_sriov_bond.errors import CHECK_DIFFERS, DECODING_FAILURE, INVALID_CONFIG, IO_FAILURE, NOT_AVAILABLE, CniError
from cni_sriov_bond.ipam import reservations
from cni_sriov_bond.ipam.request import directory, parse
from cni_sriov_bond.ipam.reservations import Owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.address import Ip
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.cni.result import Dns, Result


_MOST_RESOLV_CONF = 65536


def add(call: "Call") -> "Result":
    """Reserve an address of each set and return the result.

    :raises CniError: after which nothing is reserved that was not before.
    """
    request = parse(call, strict=True)
    dns = _resolv_conf(request.resolv_conf) if request.resolv_conf else {}
    reserved = _opened(request.data_dir, request.name)
    try:
        reserved.make_ready()
        given = reserved.give(Owner(call.container_id, call.ifname), request)
    finally:
        reserved.close()
    ips = []
    for member, text in given:
        gateway = to_text(member.gateway) if member.gateway else ""
        ips.append(result.IpConfig(Cidr(f"{text}/{member.prefix}"), gateway))
    return result.Result([], ips, request.routes, dns)


def _opened(data_dir: str, name: str) -> reservations.Reservations:
    found = reservations.locked(data_dir, name, make=True)
    if found is None:
        raise CniError(IO_FAILURE, f"{data_dir}/{name} was removed while it was made")
    return found


def delete(call: "Call") -> None:
    """Free what the attachment has; nothing is wrong when that is nothing.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    _free(call, None)


def take_back(call: "Call", given: "Result") -> None:
    """Free what an ADD gave, and not what its attachment had before, of ranges that the config no longer has.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    _free(call, [ip.address.text.partition("/")[0] for ip in given.ips])


def _free(call: "Call", only: list[str] | None) -> None:
    reserved = reservations.locked(*directory(call.document), make=False)
    if reserved is None:
        return
    try:
        reserved.free(Owner(call.container_id, call.ifname), only)
    finally:
        reserved.close()


def check(call: "Call") -> None:
    """Check that the attachment has the addresses that it was given.

    :raises CniError: CHECK_DIFFERS when it has no address, or prevResult one of our sets that is not its own.
    """
    request = parse(call)
    owner = Owner(call.container_id, call.ifname)
    reserved = reservations.locked(request.data_dir, request.name, make=False)
    have: list[str] = []
    if reserved:
        try:
            reserved.make_ready()
            have = reserved.of(owner)
        finally:
            reserved.close()
    if not have:
        raise CniError(CHECK_DIFFERS, f"{owner} has no address of network {request.name!r}; ADD it again")
    owned = {to_number(text) for text in have}
    for address in _of_prev_result(call):
        if address not in owned and request.holds(address):
            raise CniError(CHECK_DIFFERS, f"{to_text(address)} of prevResult is not reserved for {owner}")


def _of_prev_result(call: "Call") -> "list[Ip]":
    """Return the addresses of prevResult."""
    try:
        before = result.from_json(call.document.get("prevResult") or {}, call.version)
        return [network(ip.address.text)[0] for ip in before.ips]
    except ValueError as wrong:
        name = call.document["name"]
        raise CniError(DECODING_FAILURE, f"prevResult of network {name!r} is no CNI result: {wrong}") from None


def status(call: "Call") -> None:
    """Raise why an ADD would not get its addresses.

    :raises CniError: NOT_AVAILABLE when a set has none left, or reservations cannot be kept.
    """
    request = parse(call)
    try:
        reserved = reservations.locked(request.data_dir, request.name, make=False)
        if reserved is None:
            _can_make(f"{request.data_dir}/{request.name}")
            full = [str(one) for one in request.sets if not one.after(None)]
        else:
            try:
                reserved.make_ready()
                full = [str(one) for one in request.sets if reserved.full(one)]
            finally:
                reserved.close()
    except CniError as failed:
        if failed.code != IO_FAILURE:
            raise
        raise CniError(NOT_AVAILABLE, failed.msg) from None
    if full:
        raise CniError(NOT_AVAILABLE, f"network {request.name!r} has no address left in {' and '.join(full)}")


def _can_make(path: str) -> None:
    """Check that a directory can be created, without creating it."""
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


def collect(call: "Call") -> None:
    """Free what belongs to no attachment that the runtime lists.

    Without a list nothing is freed: an address that is in use must not be given again.

    :raises CniError: DECODING_FAILURE for a list that is none, and then nothing is freed.
    """
    valid = valid_attachments(call.document, DECODING_FAILURE)
    reserved = None if valid is None else reservations.locked(*directory(call.document), make=False)
    if valid is None or reserved is None:
        return
    try:
        reserved.free_all_but(valid)
    finally:
        reserved.close()


def _resolv_conf(path: str) -> "Dns":
    """Read a file like /etc/resolv.conf as host-local does (dns.go)."""
    lists: dict[str, list[str]] = {}
    domain: dict[str, str] = {}
    for line in _read(path).split("\n"):
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            lists.setdefault("nameservers", []).append(words[1])
        elif words[0] == "domain":
            domain["domain"] = words[1]
        elif words[0] in ("search", "options"):
            lists.setdefault(words[0], []).extend(words[1:])
    return {**lists, **domain}


def _read(path: str) -> str:
    """Read a file of the operator's, not all of /dev/zero, and without waiting for a FIFO."""
    if not files.is_path(path):
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
