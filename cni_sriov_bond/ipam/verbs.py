"""The verbs of the IPAM plugin: ADD, DEL, CHECK, GC and STATUS."""

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


_MAX_RESOLV_CONF = 65536


def add(call: "Call") -> "Result":
    """Reserve an address of each set and return the result.

    :raises CniError: when the attachment cannot have its addresses; then nothing new is reserved.
    """
    request = parse(call, strict=True)
    dns = _resolv_conf(request.resolv_conf) if request.resolv_conf else {}
    reserved = _create_or_open(request.data_dir, request.name)
    try:
        reserved.prepare()
        allocated = reserved.reserve(Owner(call.container_id, call.ifname), request)
    finally:
        reserved.close()
    ips = []
    for member, text in allocated:
        gateway = to_text(member.gateway) if member.gateway else ""
        ips.append(result.IpConfig(Cidr(f"{text}/{member.prefix}"), gateway))
    return result.Result([], ips, request.routes, dns)


def _create_or_open(data_dir: str, name: str) -> reservations.Reservations:
    reserved = reservations.lock(data_dir, name, create=True)
    if reserved is None:
        raise CniError(IO_FAILURE, f"{data_dir}/{name} was removed while it was created; try again")
    return reserved


def delete(call: "Call") -> None:
    """Free the addresses of the attachment; to have none is no error.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    _free(call, None)


def undo_add(call: "Call", allocated: "Result") -> None:
    """Free what an ADD reserved.

    The attachment may have addresses of ranges that the config no longer has: these stay.

    :raises CniError: IO_FAILURE, TRY_AGAIN_LATER.
    """
    _free(call, [ip.address.text.partition("/")[0] for ip in allocated.ips])


def _free(call: "Call", only: list[str] | None) -> None:
    reserved = reservations.lock(*directory(call.document), create=False)
    if reserved is None:
        return
    try:
        reserved.free(Owner(call.container_id, call.ifname), only)
    finally:
        reserved.close()


def check(call: "Call") -> None:
    """Check that the attachment has its addresses.

    :raises CniError: CHECK_DIFFERS when it has no address, or when prevResult has an address of our ranges that is not its own.
    """
    request = parse(call)
    owner = Owner(call.container_id, call.ifname)
    reserved = reservations.lock(request.data_dir, request.name, create=False)
    texts: list[str] = []
    if reserved:
        try:
            reserved.prepare()
            texts = reserved.addresses_of(owner)
        finally:
            reserved.close()
    if not texts:
        raise CniError(CHECK_DIFFERS, f"{owner} has no address of network {request.name!r}; ADD it again")
    owned = {to_number(text) for text in texts}
    for address in _previous_addresses(call):
        if address not in owned and request.contains(address):
            raise CniError(CHECK_DIFFERS, f"{to_text(address)} of prevResult is not reserved for {owner}; ADD it again")


def _previous_addresses(call: "Call") -> "list[Ip]":
    """Return the addresses of prevResult."""
    try:
        previous = result.from_json(call.document.get("prevResult") or {}, call.version)
        return [network(ip.address.text)[0] for ip in previous.ips]
    except ValueError as invalid:
        name = call.document["name"]
        raise CniError(DECODING_FAILURE, f"prevResult of network {name!r} is not a CNI result: {invalid}") from None


def status(call: "Call") -> None:
    """Check that an ADD would get its addresses, and change nothing.

    :raises CniError: NOT_AVAILABLE when a set has no address left, or when reservations cannot be written.
    """
    request = parse(call)
    try:
        reserved = reservations.lock(request.data_dir, request.name, create=False)
        if reserved is None:
            _check_creatable(f"{request.data_dir}/{request.name}")
            full = [str(members) for members in request.sets if not members.search_order(None)]
        else:
            try:
                reserved.prepare()
                full = [str(members) for members in request.sets if reserved.is_full(members)]
            finally:
                reserved.close()
    except CniError as error:
        if error.code != IO_FAILURE:
            raise
        raise CniError(NOT_AVAILABLE, error.msg) from None
    if full:
        raise CniError(NOT_AVAILABLE, f"network {request.name!r} has no address left in {' and '.join(full)}")


def _check_creatable(path: str) -> None:
    """Check that a directory can be created, without creating it.

    :raises CniError: IO_FAILURE.
    """
    while path:
        path = path.rpartition("/")[0]
        try:
            os.stat(path or "/")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CniError(IO_FAILURE, f"cannot write reservations below {path}: {error.strerror}") from None
        if not os.access(path or "/", os.W_OK):
            raise CniError(IO_FAILURE, f"cannot write reservations below {path}: the directory is not writable")
        return


def gc(call: "Call") -> None:
    """Free the addresses of every attachment that the runtime does not list.

    Without a list nothing is freed: an address that is in use must not be allocated again.

    :raises CniError: DECODING_FAILURE for a malformed list; then nothing is freed.
    """
    valid = valid_attachments(call.document, DECODING_FAILURE)
    reserved = None if valid is None else reservations.lock(*directory(call.document), create=False)
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
        fields = line.split()
        if len(fields) < 2 or fields[0][0] in "#;":
            continue
        if fields[0] == "nameserver":
            lists.setdefault("nameservers", []).append(fields[1])
        elif fields[0] == "domain":
            domain["domain"] = fields[1]
        elif fields[0] in ("search", "options"):
            lists.setdefault(fields[0], []).extend(fields[1:])
    return {**lists, **domain}


def _read(path: str) -> str:
    """Return the text of a file that a config names. /dev/zero has no end, and a FIFO without a writer would block."""
    if not files.is_path(path):
        raise CniError(INVALID_CONFIG, f"ipam.resolvConf {path!r} is not a path")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = b""
            while len(data) < _MAX_RESOLV_CONF and (part := os.read(fd, _MAX_RESOLV_CONF)):
                data += part
        finally:
            os.close(fd)
    except OSError as error:
        raise CniError(INVALID_CONFIG, f"cannot read ipam.resolvConf {path}: {error.strerror}") from None
    return data[:_MAX_RESOLV_CONF].decode("utf-8", "replace")
