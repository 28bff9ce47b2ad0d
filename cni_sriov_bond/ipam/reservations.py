"""The reservations of one network, in host-local's own files (its disk/backend.go).

So a network can change from one plugin to the other.

On disk, in DATADIR/NAME::

    lock                    flock, held through every change; host-local's too
    10.1.0.5                whose address it is: CONTAINERID CR LF IFNAME; host-local before 0.7 wrote no IFNAME
    last_reserved_ip.SET    the address of a set that was given last

A killed host-local may leave a file without a word in it, and with it an address that nobody has; those are taken back.
Nothing is synced: what a power cut takes away belonged to containers that it ended.
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

_LAST = "last_reserved_ip."


class Owner:
    """The owner of an address; ``ifname`` is empty when an old host-local wrote the file, which did not store it."""

    __slots__ = ("container_id", "ifname")

    def __init__(self, container_id: str, ifname: str) -> None:
        self.container_id = container_id
        self.ifname = ifname

    @property
    def content(self) -> str:
        """The content of its reservation files."""
        return f"{self.container_id}\r\n{self.ifname}"

    @property
    def key(self) -> str:
        """Its key in the index."""
        return index.key(self.container_id, self.ifname)

    def __str__(self) -> str:
        return f"container {self.container_id} interface {self.ifname}".removesuffix(" interface ")


class Reservations:
    """The locked reservations of a network. Close them to unlock."""

    __slots__ = ("_index", "_lock", "_name", "path")

    def __init__(self, data_dir: str, name: str, lock: int) -> None:
        self.path = f"{data_dir}/{name}"
        self._name = name
        self._index = index.Index(data_dir, name, self.path)
        self._lock = lock

    def close(self) -> None:
        """Unlock."""
        os.close(self._lock)

    def make_ready(self) -> None:
        """Make the index valid, and delete files without an owner.

        :raises CniError: IO_FAILURE.
        """
        if not self._index.is_true():
            self._index.remake((address, text, owner.key) for address, text, owner in self.all())
            self._index.sign()

    def all(self) -> "Iterator[tuple[addresses.Ip, str, Owner]]":
        """Yield every reservation: the address, its file's name and the owner; delete those without an owner."""
        for file in os.listdir(self.path):
            try:
                address = addresses.to_number(file)
            except ValueError:
                continue
            owner = self.owner(file)
            if owner:
                yield address, file, owner
            else:
                files.unlink(f"{self.path}/{file}")

    def owner(self, text: str) -> Owner | None:
        """Return the owner of an address, or None when it has none."""
        try:
            with open(f"{self.path}/{text}", encoding="utf-8", errors="surrogateescape", newline="") as file:
                words = file.read().strip()
        except FileNotFoundError:
            return None
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read the reservation {self.path}/{text}: {failed.strerror}") from None
        container_id, _, ifname = words.partition("\r\n")
        return Owner(container_id, ifname) if words else None

    def of(self, who: Owner) -> list[str]:
        """Return an attachment's addresses as text; if it has none, those that an old host-local stored for its container."""
        return self._index.owned(who.key) or self._index.owned(Owner(who.container_id, "").key)

    def full(self, one: ranges.RangeSet) -> bool:
        """Return whether every address of a set is allocated."""
        return self._next(one, None) is None

    def give(self, who: Owner, request: "Request") -> "list[tuple[ranges.Range, str]]":
        """Allocate an address of each set to an attachment, all or none; return each with its range.

        The last given address moves on even when a later set fails, as host-local has it.

        :raises CniError: ADDRESS_REFUSED for a second ADD and for an address that is not available, TRY_AGAIN_LATER when a
            set has none left, IO_FAILURE.
        """
        for text in self.of(who):
            if any(one.range_of(addresses.to_number(text)) for one in request.sets):
                what = f"{text} has been allocated to {who}, duplicate allocation is not allowed; DEL it first"
                raise CniError(ADDRESS_REFUSED, what)
        chosen: list[tuple[ranges.RangeSet, ranges.Range, addresses.Ip]] = []
        try:
            self._choose(request, chosen)
        except CniError:
            self._remember(chosen)
            self._index.sign()
            raise
        texts = [addresses.to_text(address) for _, _, address in chosen]
        made: list[str] = []
        try:
            for text in texts:
                self._create(text, who)
                made.append(text)
            for _, _, address in chosen:
                self._index.mark(address, True)
            self._index.own(who.key, [*self._index.owned(who.key), *texts])
            self._remember(chosen)
            self._index.sign()
        except CniError:
            for text in made:
                files.unlink(f"{self.path}/{text}")
            raise
        return [(member, text) for (_, member, _), text in zip(chosen, texts, strict=True)]

    def _choose(self, request: "Request", chosen: "list[tuple[ranges.RangeSet, ranges.Range, addresses.Ip]]") -> None:
        left = list(request.requested)
        for one in request.sets:
            wanted = next((address for address in left if one.range_of(address)), None)
            if wanted:
                left.remove(wanted)
                chosen.append((one, self._fixed(one, wanted), wanted))
                continue
            found = self._next(one, self._last(one))
            if found is None:
                raise CniError(TRY_AGAIN_LATER, f"no IP addresses available in range set {one} of network {self._name!r}")
            chosen.append((one, *found))
        if left:
            told = ", ".join(addresses.to_text(address) + request.elsewhere(address) for address in left)
            raise CniError(ADDRESS_REFUSED, f"failed to allocate all requested IPs: {told}")

    def _fixed(self, one: ranges.RangeSet, wanted: "addresses.Ip") -> ranges.Range:
        """Return the range of an address that was requested and is available."""
        text = addresses.to_text(wanted)
        member = one.range_of(wanted)
        if member is None or not member.gives(wanted):
            what = "is subnet's gateway" if wanted in [other.gateway for other in one.ranges] else "is none that is given"
            raise CniError(ADDRESS_REFUSED, f"requested ip {text} {what} in range set {one}")
        holder = self.owner(text)
        if holder:
            what = f"requested IP address {text} is not available in range set {one}: {holder} has it"
            raise CniError(ADDRESS_REFUSED, what)
        return member

    def _next(self, one: ranges.RangeSet, last: "addresses.Ip | None") -> "tuple[ranges.Range, addresses.Ip] | None":
        for member, begin, end in one.after(last):
            number = self._index.first_free(one.family, begin, end)
            if number is not None:
                return member, (one.family, number)
        return None

    def _last(self, one: ranges.RangeSet) -> "addresses.Ip | None":
        """Return the address that was allocated last; as in host-local, a file that cannot be read is none."""
        try:
            with open(f"{self.path}/{_LAST}{one.key}", encoding="utf-8") as file:
                return addresses.to_number(file.read().rstrip("\0"))
        except (OSError, ValueError):
            return None

    def _remember(self, chosen: "list[tuple[ranges.RangeSet, ranges.Range, addresses.Ip]]") -> None:
        for one, _, address in chosen:
            index.overwrite(f"{self.path}/{_LAST}{one.key}", addresses.to_text(address))

    def _create(self, text: str, who: Owner) -> None:
        path = f"{self.path}/{text}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot create the reservation {path}: {failed.strerror}") from None
        try:
            data = who.content.encode("utf-8", "surrogateescape")
            if os.write(fd, data) < len(data):
                raise CniError(IO_FAILURE, f"cannot write the reservation {path}: the disk is full")
        except (OSError, CniError) as failed:
            files.unlink(path)
            raise CniError(IO_FAILURE, f"cannot write the reservation {path}: {failed}") from None
        finally:
            os.close(fd)

    def free(self, who: Owner, only: "Collection[str] | None" = None) -> None:
        """Free an attachment's addresses, and no others; an index that cannot be written is no error.

        :param only: those to free, as text, where the others stay.
        :raises CniError: IO_FAILURE.
        """
        try:
            self.make_ready()
            key, have = who.key, self._index.owned(who.key)
            if not have:
                key = Owner(who.container_id, "").key
                have = self._index.owned(key)
        except CniError:
            key = who.key
            mine = [(text, owner) for _, text, owner in self.all() if owner.container_id == who.container_id]
            have = [text for text, owner in mine if owner.ifname == who.ifname]
            have = have or [text for text, owner in mine if not owner.ifname]
        texts = [text for text in have if only is None or text in only]
        if not texts:
            return
        for text in texts:
            files.unlink(f"{self.path}/{text}")
        try:
            for text in texts:
                self._index.mark(addresses.to_number(text), False)
            self._index.own(key, [text for text in have if text not in texts])
            self._index.sign()
        except CniError:
            pass  # the directory has changed and its stamp has not, so the next call rebuilds the index

    def free_all_but(self, valid: set[tuple[str, str]]) -> None:
        """Free the addresses of all attachments that are not listed.

        :param valid: container ids and interface names.
        :raises CniError: IO_FAILURE listing what could not be freed; the rest is.
        """
        containers = {container_id for container_id, _ in valid}
        problems = []
        for _, text, owner in list(self.all()):
            kept = (owner.container_id, owner.ifname) in valid or (not owner.ifname and owner.container_id in containers)
            if not kept:
                try:
                    files.unlink(f"{self.path}/{text}")
                except CniError as failed:
                    problems.append(failed.msg)
        if problems:
            raise CniError(IO_FAILURE, "; ".join(problems))
        self.make_ready()


def locked(data_dir: str, name: str, make: bool) -> Reservations | None:
    """Lock a network's reservations; return None when there are none and ``make`` is false.

    :raises CniError: INVALID_CONFIG for a data directory that is no absolute path, IO_FAILURE, TRY_AGAIN_LATER when the lock
        cannot be had.
    """
    if not data_dir.startswith("/") or not files.is_path(data_dir):
        raise CniError(INVALID_CONFIG, f"ipam.dataDir must be an absolute path, not {data_dir!r}")
    path = f"{data_dir}/{name}"
    if not files.exists(path):
        if not make:
            return None
        above = data_dir.rstrip("/").split("/")
        for length in range(2, len(above) + 1):
            files.make_directory("/".join(above[:length]))
        files.make_directory(path)
    return Reservations(data_dir, name, files.locked(f"{path}/lock", f"the addresses of network {name!r}"))
