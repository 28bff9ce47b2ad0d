"""The reservations of one network, in host-local's own files (its disk/backend.go), so that one can replace the other.

On disk, in DATADIR/NAME::

    lock                    flock, held during every change; host-local holds it too
    10.1.0.5                the owner of this address: CONTAINERID CR LF IFNAME; host-local before 0.7 wrote no IFNAME
    last_reserved_ip.SET    the address of a set that was allocated last

A host-local that is killed may leave an empty file, whose address nobody has. Such files are deleted.
Nothing is synced: what a power cut loses belonged to containers that it ended.
"""

import posix as os  # os itself costs a call 4 million instructions

from cni_sriov_bond import files
from cni_sriov_bond.cni import address as addresses
from cni_sriov_bond.errors import ADDRESS_REFUSED, INVALID_CONFIG, IO_FAILURE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.ipam import index, ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cni_sriov_bond.ipam.request import Request

    # An address that an ADD is to reserve, with the set and the range that it is of.
    Choice = tuple[ranges.RangeSet, ranges.Range, addresses.Ip]

_LAST_RESERVED = "last_reserved_ip."


class Owner:
    """The attachment that an address is reserved for; ``ifname`` is empty where an old host-local did not write it."""

    __slots__ = ("container_id", "ifname")

    def __init__(self, container_id: str, ifname: str) -> None:
        self.container_id = container_id
        self.ifname = ifname

    @property
    def content(self) -> str:
        """What the file of a reservation holds."""
        return f"{self.container_id}\r\n{self.ifname}"

    @property
    def key(self) -> str:
        """Its key in the index."""
        return index.key(self.container_id, self.ifname)

    def __str__(self) -> str:
        return f"container {self.container_id} interface {self.ifname}".removesuffix(" interface ")


class Reservations:
    """The locked reservations of a network. ``close`` unlocks them.

    :param lock: the descriptor that holds the lock.
    """

    __slots__ = ("_index", "_lock", "_name", "path")

    def __init__(self, data_dir: str, name: str, lock: int) -> None:
        self.path = f"{data_dir}/{name}"
        self._name = name
        self._index = index.Index(data_dir, name, self.path)
        self._lock = lock

    def close(self) -> None:
        """Unlock the reservations."""
        os.close(self._lock)

    def prepare(self) -> None:
        """Rebuild the index if something else has changed the reservations, and delete files without an owner.

        :raises CniError: IO_FAILURE.
        """
        if not self._index.is_current():
            self._index.rebuild((address, text, owner.key) for address, text, owner in self.read_all())
            self._index.mark_current()

    def read_all(self) -> "Iterator[tuple[addresses.Ip, str, Owner]]":
        """Yield address, file name and owner of every reservation; delete files without an owner."""
        for file in os.listdir(self.path):
            try:
                address = addresses.to_number(file)
            except ValueError:
                continue
            owner = self.owner_of(file)
            if owner:
                yield address, file, owner
            else:
                files.unlink(f"{self.path}/{file}")

    def owner_of(self, text: str) -> Owner | None:
        """Return the owner of an address, or None if it is not reserved."""
        try:
            with open(f"{self.path}/{text}", encoding="utf-8", errors="surrogateescape", newline="") as file:
                content = file.read().strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CniError(IO_FAILURE, f"cannot read the reservation {self.path}/{text}: {error.strerror}") from None
        container_id, _, ifname = content.partition("\r\n")
        return Owner(container_id, ifname) if content else None

    def addresses_of(self, owner: Owner) -> list[str]:
        """Return an attachment's addresses as text; if it has none, those that an old host-local reserved for its container."""
        return self._index.addresses_of(owner.key) or self._index.addresses_of(Owner(owner.container_id, "").key)

    def is_full(self, members: ranges.RangeSet) -> bool:
        """Return whether every address of a set is taken."""
        return self._next(members, None) is None

    def reserve(self, owner: Owner, request: "Request") -> "list[tuple[ranges.Range, str]]":
        """Reserve an address of each set for an attachment, or none; return each address with its range.

        The last allocated address advances also when a later set has no address left, as host-local does it.

        :raises CniError: ADDRESS_REFUSED for a second ADD and for a requested address that cannot be allocated, TRY_AGAIN_LATER
            when a set has no address left, IO_FAILURE.
        """
        for text in self.addresses_of(owner):
            if any(members.range_of(addresses.to_number(text)) for members in request.sets):
                raise CniError(
                    ADDRESS_REFUSED, f"{text} has been allocated to {owner}, duplicate allocation is not allowed; DEL it first"
                )
        choices: list[Choice] = []
        try:
            self._choose(request, choices)
        except CniError:
            self._write_last_reserved(choices)
            self._index.mark_current()
            raise
        texts = [addresses.to_text(address) for _, _, address in choices]
        created: list[str] = []
        try:
            for text in texts:
                self._create(text, owner)
                created.append(text)
            for _, _, address in choices:
                self._index.set_taken(address, True)
            self._index.set_addresses(owner.key, [*self._index.addresses_of(owner.key), *texts])
            self._write_last_reserved(choices)
            self._index.mark_current()
        except CniError:
            for text in created:
                files.unlink(f"{self.path}/{text}")
            raise
        return [(member, text) for (_, member, _), text in zip(choices, texts, strict=True)]

    def _choose(self, request: "Request", choices: "list[Choice]") -> None:
        """Append a free address of each set to ``choices``, which the caller needs also when a later set fails."""
        unused = list(request.requested)
        for members in request.sets:
            requested = next((address for address in unused if members.range_of(address)), None)
            if requested:
                unused.remove(requested)
                choices.append((members, self._range_of_requested(members, requested), requested))
                continue
            following = self._next(members, self._last_reserved(members))
            if following is None:
                message = f"no IP addresses available in range set {members} of network {self._name!r}"
                raise CniError(TRY_AGAIN_LATER, message)
            choices.append((members, *following))
        if unused:
            texts = ", ".join(addresses.to_text(address) + request.other_vlan(address) for address in unused)
            raise CniError(ADDRESS_REFUSED, f"failed to allocate all requested IPs: {texts}")

    def _range_of_requested(self, members: ranges.RangeSet, requested: "addresses.Ip") -> ranges.Range:
        """Return the range of a requested address.

        :raises CniError: ADDRESS_REFUSED when the address cannot be allocated.
        """
        text = addresses.to_text(requested)
        member = members.range_of(requested)
        if member is None or not member.may_allocate(requested):
            is_gateway = requested in [other.gateway for other in members.ranges]
            reason = "is subnet's gateway" if is_gateway else "is never allocated"
            raise CniError(ADDRESS_REFUSED, f"requested ip {text} {reason} in range set {members}")
        owner = self.owner_of(text)
        if owner:
            message = f"requested IP address {text} is not available in range set {members}: it is reserved for {owner}"
            raise CniError(ADDRESS_REFUSED, message)
        return member

    def _next(self, members: ranges.RangeSet, last: "addresses.Ip | None") -> "tuple[ranges.Range, addresses.Ip] | None":
        """Return the first free address after ``last`` with its range, or None if every address is taken."""
        for member, begin, end in members.search_order(last):
            number = self._index.first_free(members.family, begin, end)
            if number is not None:
                return member, (members.family, number)
        return None

    def _last_reserved(self, members: ranges.RangeSet) -> "addresses.Ip | None":
        """Return the address that was allocated last; like host-local, None if it cannot be read."""
        try:
            with open(f"{self.path}/{_LAST_RESERVED}{members.key}", encoding="utf-8") as file:
                return addresses.to_number(file.read().rstrip("\0"))  # zero bytes: see index.overwrite
        except (OSError, ValueError):
            return None

    def _write_last_reserved(self, choices: "list[Choice]") -> None:
        for members, _, address in choices:
            index.overwrite(f"{self.path}/{_LAST_RESERVED}{members.key}", addresses.to_text(address))

    def _create(self, text: str, owner: Owner) -> None:
        path = f"{self.path}/{text}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CniError(IO_FAILURE, f"cannot create the reservation {path}: {error.strerror}") from None
        try:
            data = owner.content.encode("utf-8", "surrogateescape")
            if os.write(fd, data) < len(data):
                raise CniError(IO_FAILURE, f"cannot write the reservation {path}: the disk is full")
        except (OSError, CniError) as error:
            files.unlink(path)
            raise CniError(IO_FAILURE, f"cannot write the reservation {path}: {error}") from None
        finally:
            os.close(fd)

    def free(self, owner: Owner, only: "Collection[str] | None" = None) -> None:
        """Free an attachment's addresses, also when the index can be neither read nor written.

        :param only: the addresses to free, as text; the others stay. None for all.
        :raises CniError: IO_FAILURE.
        """
        try:
            self.prepare()
            key, texts = owner.key, self._index.addresses_of(owner.key)
            if not texts:
                key = Owner(owner.container_id, "").key
                texts = self._index.addresses_of(key)
        except CniError:
            # No room for an index, for instance. Every file is read instead.
            key = owner.key
            same_container = [(text, other) for _, text, other in self.read_all() if other.container_id == owner.container_id]
            texts = [text for text, other in same_container if other.ifname == owner.ifname]
            texts = texts or [text for text, other in same_container if not other.ifname]
        freed = [text for text in texts if only is None or text in only]
        if not freed:
            return
        for text in freed:
            files.unlink(f"{self.path}/{text}")
        try:
            for text in freed:
                self._index.set_taken(addresses.to_number(text), False)
            self._index.set_addresses(key, [text for text in texts if text not in freed])
            self._index.mark_current()
        except CniError:
            pass  # the unlink has changed the directory's time, so the next call rebuilds the index

    def free_all_but(self, valid: set[tuple[str, str]]) -> None:
        """Free the addresses of all attachments that are not listed.

        :param valid: container id and interface name of each attachment that keeps its addresses.
        :raises CniError: IO_FAILURE listing what could not be freed; the rest is freed.
        """
        containers = {container_id for container_id, _ in valid}
        problems = []
        for _, text, owner in list(self.read_all()):
            # A reservation of an old host-local names no interface: any listed interface of its container keeps it.
            is_valid = (owner.container_id, owner.ifname) in valid or (not owner.ifname and owner.container_id in containers)
            if not is_valid:
                try:
                    files.unlink(f"{self.path}/{text}")
                except CniError as error:
                    problems.append(error.msg)
        if problems:
            raise CniError(IO_FAILURE, "; ".join(problems))
        self.prepare()


def lock(data_dir: str, name: str, create: bool) -> Reservations | None:
    """Lock and return a network's reservations, or None if there are none and ``create`` is not set.

    :raises CniError: INVALID_CONFIG for a data directory that is not an absolute path, TRY_AGAIN_LATER when another process
        holds the lock for too long, IO_FAILURE.
    """
    if not data_dir.startswith("/") or not files.is_path(data_dir):
        raise CniError(INVALID_CONFIG, f"ipam.dataDir must be an absolute path, not {data_dir!r}")
    path = f"{data_dir}/{name}"
    if not files.exists(path):
        if not create:
            return None
        parts = data_dir.rstrip("/").split("/")
        for length in range(2, len(parts) + 1):
            files.make_directory("/".join(parts[:length]))
        files.make_directory(path)
    return Reservations(data_dir, name, files.locked(f"{path}/lock", f"the addresses of network {name!r}"))
