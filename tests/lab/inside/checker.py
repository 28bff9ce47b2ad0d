"""Check from outside, by the kernel and the files, that every VF of the pools is where it belongs.

It shares no code with the product. It reads `ip`, sysfs, /proc, the state directory and the delegate's files, and compares them
with a baseline. Run it only at rest, when no call is running.

usage: checker.py baseline FILE [--state-dir DIR] [--networks-dir DIR]
       checker.py check FILE [--live FILE]
       checker.py watch FILE [--live FILE]

`baseline` records the host with its pools and nothing attached. `check` prints a line for each violation, and exits with 1 if
there was one. It checks that:

- every VF is either in the host or in the bond of one live lease. In the host it is down, is no port, and has the name, MACs,
  MTU, VLAN, QoS, spoof check, trust, link state, rates, altnames, promiscuity and all-multicast state of the baseline;
- live bonds have their two VFs, and their namespaces have no other bond;
- no other device, network namespace, file (temporary or not), lock or process of ours remains;
- there is one lease for each live attachment, it is ready, and there are no others; inventories and PFs are unchanged;
- the delegate's addresses are exactly those of the live attachments.

`watch` checks once for each line of standard input, and ends each report with a line of three hyphens.

--live names a JSON file with the attachments: {"leases": [{"network", "container_id", "ifname", "netns"}],
"netns": [paths of namespaces that may exist, without a device of ours]}. A lease may have "addresses"; else the addresses of
its record are compared, if one of DELEGATES allocated them.

A reservation without an owner is not reported: host-local leaves one when it is killed between creating and writing it, which
is its own leak. Our IPAM plugin removes it when it runs next.
"""

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STATE_DIR = "/var/lib/cni/sriov-bond"
NETWORKS_DIR = "/var/lib/cni/networks"
PLUGINS = "/opt/cni/bin"
DELEGATES = ("host-local", "sriov-bond-ipam")  # plugins with reservations in NETWORKS_DIR
PCI_DEVICES = "/sys/bus/pci/devices"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
SETTINGS = ("ifname", "address", "mtu", "altnames", "promiscuity", "allmulti")
OF_PF = ("ifname", "address", "mtu", "promiscuity")

Json = dict[str, Any]


def output(*argv: str) -> bytes:
    """Return the output of a program. Without subprocess, whose import is slow."""
    read, write = os.pipe()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    data = b""
    while chunk := os.read(read, 1 << 20):
        data += chunk
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(argv)} failed with status {status}")
    return data


def ip_links() -> list[Json]:
    links: list[Json] = json.loads(output("ip", "-j", "-d", "link"))
    return links


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Run the block in a network namespace."""
    back = os.open("/proc/self/ns/net", os.O_RDONLY)
    target = os.open(path, os.O_RDONLY)
    try:
        if LIBC.setns(target, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
        yield
    finally:
        LIBC.setns(back, CLONE_NEWNET)
        os.close(back)
        os.close(target)


def device_names(path: str) -> list[str]:
    """Return the names of a namespace's devices without starting a process."""
    with inside(path):
        return sorted(line.partition(":")[0].strip() for line in read("/proc/thread-self/net/dev").splitlines()[2:])


def namespaces() -> dict[int, str]:
    """Return a path to every network namespace that a process or a mount holds, by inode."""
    paths: dict[int, str] = {}
    mounted = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines() if " - nsfs " in line]
    for path in [*mounted, *(f"/proc/{pid}/ns/net" for pid in processes())]:
        try:
            status = os.stat(path)
            if os.readlink(path).startswith("net:") if path.startswith("/proc/") else is_net(path):
                paths.setdefault(status.st_ino, path)
        except OSError:
            continue  # it ended in the meantime
    return paths


def is_net(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return bool(LIBC.ioctl(fd, 0xB703) == CLONE_NEWNET)  # NS_GET_NSTYPE
    finally:
        os.close(fd)


def processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def ours(pid: str) -> str:
    """Return the program of a process if it is ours or a delegate, else ""."""
    try:
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        try:
            stat = read(f"/proc/{pid}/stat")
        except OSError:
            return ""
        program = stat.partition("(")[2].rpartition(")")[0]  # a zombie
    is_ours = os.path.dirname(program) == PLUGINS or os.path.basename(program).startswith("sriov-bond")
    return program if is_ours else ""


def tree(folder: str) -> list[str]:
    paths = []
    for path, folders, files in os.walk(folder):
        paths += [os.path.join(path, name) for name in [*folders, *files]]
    return sorted(paths)


def is_lock(folder: str, name: str) -> bool:
    return name == "lock" or os.path.basename(folder) == "bonds"


def inventory_files(state_dir: str) -> dict[str, bytes]:
    """Return the bytes of each pool.json by the pool's name."""
    contents = {}
    for name in sorted(os.listdir(state_dir)) if os.path.isdir(state_dir) else []:
        if os.path.isfile(f"{state_dir}/{name}/pool.json"):
            with open(f"{state_dir}/{name}/pool.json", "rb") as file:
                contents[name] = file.read()
    return contents


def inventories(state_dir: str) -> dict[str, Json]:
    """Return the readable inventories by pool name; `digests` shows a change of the others."""
    pools = {}
    for name, data in inventory_files(state_dir).items():
        try:
            pool = json.loads(data)
        except ValueError:
            continue
        if isinstance(pool, dict) and {"bonds", "nics"} <= pool.keys():
            pools[name] = pool
    return pools


def digests(state_dir: str) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in inventory_files(state_dir).items()}


def of_vfs(pools: dict[str, Json], links: list[Json]) -> dict[str, Json]:
    """Return the state of each VF of the pools, in the host and by its PF, by PCI address."""
    by_pci = {link["parentdev"]: link for link in links if link.get("parentdev")}
    vfs = {}
    for pool in pools.values():
        for port in (port for bond in pool["bonds"] for port in bond["ports"]):
            folder, link = f"{PCI_DEVICES}/{port['pci']}", by_pci.get(port["pci"])
            infos = by_pci.get(port["pf"], {}).get("vfinfo_list", [])
            info: Json = next((info for info in infos if info["vf"] == port["vf"]), {})
            vfs[port["pci"]] = {
                "host": None if link is None else {key: link.get(key) for key in SETTINGS},
                "up": bool(link and "UP" in link["flags"]),
                "master": link.get("master") if link else None,
                "pf": {key: value for key, value in info.items() if key != "stats"},
                "sysfs": sorted(os.listdir(f"{folder}/net")) if os.path.isdir(f"{folder}/net") else [],
                "is": os.path.realpath(f"{PCI_DEVICES}/{port['pf']}/virtfn{port['vf']}").rpartition("/")[2],
            }
    return vfs


def of_pfs(pools: dict[str, Json], links: list[Json]) -> dict[str, Json]:
    wanted = {nic["pci"] for pool in pools.values() for nic in pool["nics"]}
    return {
        link["parentdev"]: {**{key: link.get(key) for key in OF_PF}, "up": "UP" in link["flags"]}
        for link in links
        if link.get("parentdev") in wanted
    }


def reservations(networks_dir: str) -> dict[str, tuple[str, str]]:
    """Return the owner (container and interface) of each reservation, by path."""
    owners = {}
    for name in os.listdir(networks_dir) if os.path.isdir(networks_dir) else []:
        folder = f"{networks_dir}/{name}"
        for file in os.listdir(folder) if os.path.isdir(folder) and not name.startswith(".") else []:
            if file == "lock" or file.startswith("last_reserved_ip."):
                continue
            try:
                container, _, ifname = read(f"{folder}/{file}").strip().partition("\n")
            except OSError:
                continue
            if container:
                owners[f"{folder}/{file}"] = (container.strip(), ifname.strip())
    return owners


def baseline(state_dir: str = STATE_DIR, networks_dir: str = NETWORKS_DIR) -> Json:
    """Return the state of the host with nothing attached."""
    links, pools = ip_links(), inventories(state_dir)
    netns_paths = {str(inode): path for inode, path in namespaces().items()}
    return {
        "state_dir": state_dir,
        "networks_dir": networks_dir,
        "inventories": digests(state_dir),
        "pools": pools,
        "vfs": of_vfs(pools, links),
        "pfs": of_pfs(pools, links),
        "links": sorted(link["ifname"] for link in links if link.get("parentdev") not in of_vfs(pools, links)),
        "netns": {inode: device_names(path) for inode, path in netns_paths.items() if int(inode) != own_inode()},
        "files": tree(state_dir),
        "reservations": sorted(reservations(networks_dir)),
        "pids": sorted(pid for pid in processes() if not ours(pid)),
    }


def own_inode() -> int:
    return os.stat("/proc/self/ns/net").st_ino


class Check:
    """A comparison of everything with the baseline; the result is in ``violations``."""

    def __init__(self, before: Json, live: Json | None = None) -> None:
        self.before = before
        self.leases: list[Json] = (live or {}).get("leases", [])
        self.allowed: list[str] = (live or {}).get("netns", [])
        self.violations: list[str] = []
        self.state_dir: str = before["state_dir"]
        self.pools = {**before["pools"], **inventories(self.state_dir)}  # VFs of an unreadable inventory are checked too
        self.leased_to: dict[str, str] = {}  # owner of each VF, by the lease files
        self.files()
        self.links = ip_links()
        self.vfs()
        self.pfs_and_others()
        self.attachments()
        self.namespaces()
        self.addresses()
        self.processes()
        self.locks()  # last: its cause may have been reported above

    def report(self, line: str) -> None:
        self.violations.append(line)

    def files(self) -> None:
        """Compare the inventories, the leases and every other file of the state directory."""
        if digests(self.state_dir) != self.before["inventories"]:
            self.report(f"inventory: a pool.json below {self.state_dir} is not as it was")
        expected = {(lease["network"], lease["container_id"], lease["ifname"]): lease for lease in self.leases}
        for path in tree(self.state_dir):
            folder, name = os.path.split(path)
            if name.startswith("."):
                self.report(f"temporary file: {path}")
            elif os.path.basename(folder) == "leases":
                self.lease(path, name, expected)
            elif os.path.isfile(path) and path not in self.before["files"] and not is_lock(folder, name):
                self.report(f"file: {path} was not there")
        for lease in expected.values():
            self.report(f"lease: none for the live container {lease['container_id']} {lease['ifname']} of {lease['network']}")

    def lease(self, path: str, name: str, expected: dict[tuple[str, str, str], Json]) -> None:
        try:
            record = json.loads(read(path))
            attachment = (record["network"], record["container_id"], record["ifname"])
            bond, _, state = name.split(".")
            pool = self.pools[path.split("/")[-3]]
            delegate = record["delegate"]["type"] if "delegate" in record else ""
            addresses = [address.partition("/")[0] for address in record.get("ips", ())]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as damaged:
            self.report(f"lease: {path} cannot be read ({type(damaged).__name__}: {damaged})")
            return
        lease = expected.pop(attachment, None)
        if lease is None:
            self.report(f"lease: {name} of container {attachment[1]} {attachment[2]}, which is not live, or a second one")
            return
        if state != "ready":
            self.report(f"lease: {name} of the live container {attachment[1]} {attachment[2]} is {state}")
        ports = [port["pci"] for known in pool["bonds"] if known["name"] == bond for port in known["ports"]]
        lease["ports"] = sorted(ports)
        if delegate in ("", *DELEGATES):
            lease.setdefault("addresses", addresses)
        for pci in ports:
            if pci in self.leased_to:
                self.report(f"lease: VF {pci} is leased to {self.leased_to[pci]} and to {attachment[1]} {attachment[2]}")
            self.leased_to[pci] = f"{attachment[1]} {attachment[2]}"

    def vfs(self) -> None:
        """Compare every VF in the host, and report those that are neither in the host nor leased."""
        for pci, now in of_vfs(self.pools, self.links).items():
            was = self.before["vfs"].get(pci)
            if was is None:
                self.report(f"VF {pci}: it was in no pool")
            elif now["is"] != was["is"]:
                self.report(f"VF {pci}: its PF has the VF {now['is']} in its place")
            elif pci in self.leased_to:
                if now["host"] or now["sysfs"]:
                    self.report(f"VF {pci}: it is in the host, though {self.leased_to[pci]} has its bond")
            elif now["host"] is None:
                self.report(f"VF {pci}: it is not in the host, and nobody has leased it")
            else:
                self.vf(pci, was, now)

    def vf(self, pci: str, was: Json, now: Json) -> None:
        changed = [(key, was["host"][key], now["host"][key]) for key in SETTINGS if was["host"][key] != now["host"][key]]
        keys = sorted({*was["pf"], *now["pf"]})
        changed += [
            (f"PF's {key}", was["pf"].get(key), now["pf"].get(key)) for key in keys if was["pf"].get(key) != now["pf"].get(key)
        ]
        for setting, old, new in changed:
            self.report(f"VF {pci}: {setting} was {json.dumps(old)} and is {json.dumps(new)}")
        if now["sysfs"] != was["sysfs"]:
            self.report(f"VF {pci}: sysfs shows {now['sysfs']}, not {was['sysfs']}")
        if now["up"]:
            self.report(f"VF {pci}: it is up in the host")
        if now["master"]:
            self.report(f"VF {pci}: it is a port of {now['master']} in the host")

    def pfs_and_others(self) -> None:
        now = of_pfs(self.pools, self.links)
        for pci, was in self.before["pfs"].items():
            if now.get(pci) != was:
                self.report(f"PF {pci}: it was {was} and is {now.get(pci)}")
        names = {link["ifname"]: link for link in self.links if link.get("parentdev") not in self.before["vfs"]}
        for name in sorted(names.keys() - set(self.before["links"])):
            self.report(f"device: {names[name].get('linkinfo', {}).get('info_kind', 'NIC')} {name} is in the host and was not")
        for name in sorted(set(self.before["links"]) - names.keys()):
            self.report(f"device: {name} is not in the host any more")

    def attachments(self) -> None:
        """Check that each live attachment has its bond, and its namespace no other bond or VF."""
        mine = {(lease["netns"], lease["ifname"]) for lease in self.leases}
        seen: set[tuple[str, str]] = set()
        for lease in self.leases:
            attachment = f"{lease['container_id']} {lease['ifname']}"
            try:
                with inside(lease["netns"]):
                    links = ip_links()
            except OSError:
                self.report(f"attachment: the namespace {lease['netns']} of {attachment} does not exist")
                continue
            for link in links:
                name = (lease["netns"], link["ifname"])
                if link.get("linkinfo", {}).get("info_kind") == "bond" and name not in mine | seen:
                    self.report(f"attachment: the bond {link['ifname']} in {lease['netns']} is no live lease's")
                    seen.add(name)
            bond = next((link for link in links if link["ifname"] == lease["ifname"]), {})
            if bond.get("linkinfo", {}).get("info_kind") != "bond" or "UP" not in bond["flags"]:
                self.report(f"attachment: {attachment} has no bond that is up")
            ports = sorted(str(link.get("parentdev")) for link in links if link.get("master") == lease["ifname"])
            if ports != lease.get("ports", []):
                self.report(f"attachment: the bond of {attachment} has the ports {ports}, not {lease.get('ports')}")
            for link in links:
                if link.get("parentdev") in self.before["vfs"] and link["parentdev"] not in lease.get("ports", []):
                    owner = self.leased_to.get(link["parentdev"])
                    self.report(f"VF {link['parentdev']}: it is in {lease['netns']}, and leased to {owner}")

    def namespaces(self) -> None:
        """Report unexpected namespaces, and devices that remain in expected ones."""
        live = {lease["netns"]: lease["ifname"] for lease in self.leases}
        expected = {}
        for path in {*self.allowed, *live}:
            try:
                expected[os.stat(path).st_ino] = path
            except OSError:
                continue
        for inode, path in namespaces().items():
            was = self.before["netns"].get(str(inode))
            if inode == own_inode() or expected.get(inode) in live:
                continue
            try:
                names = device_names(path)
            except OSError:
                continue  # its process ended in the meantime
            if was is None and inode not in expected:
                self.report(f"namespace: {path} was not there, with {', '.join(names)}")
            elif names != (was or ["lo"]):
                self.report(
                    f"namespace: {expected.get(inode, path)} has the devices {', '.join(names)}, not {', '.join(was or ['lo'])}"
                )

    def addresses(self) -> None:
        """Compare the reservations with the live attachments."""
        mine: dict[tuple[str, str], list[str]] = {(lease["container_id"], lease["ifname"]): [] for lease in self.leases}
        for path, owner in sorted(reservations(self.before["networks_dir"]).items()):
            if owner in mine:
                mine[owner].append(os.path.basename(path))
            elif path not in self.before["reservations"]:
                self.report(f"address: {path} is reserved for {' '.join(owner)}, which is not live")
        for lease in self.leases:
            have = mine[lease["container_id"], lease["ifname"]]
            if "addresses" in lease and sorted(have) != sorted(lease["addresses"]):
                self.report(f"address: {lease['container_id']} {lease['ifname']} has {have} reserved, not {lease['addresses']}")

    def processes(self) -> None:
        known = set(self.before["pids"])
        for pid in processes():
            if pid not in known and (program := ours(pid)):
                self.report(f"process: {pid} ({program}) is still there")

    def locks(self) -> None:
        """Report locks on files of the state directory and of the delegates; at rest there are none."""
        files = {}
        for path in [*tree(self.state_dir), *tree(self.before["networks_dir"])]:
            try:
                status = os.stat(path)
            except OSError:
                continue
            files[f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"] = path
        for line in read("/proc/locks").splitlines():
            words = line.split()
            if words[1] == "->":
                continue  # a waiting process: the holder is reported
            if path := files.get(words[5], ""):
                how = "is running" if os.path.exists(f"/proc/{words[4]}") else "has ended"
                self.report(f"lock: {path} is locked by process {words[4]}, which {how}")


def main(argv: list[str]) -> int:
    if len(argv) < 2 or argv[0] not in ("baseline", "check", "watch") or len(argv) % 2:
        print(__doc__, file=sys.stderr)
        return 2
    options = dict(zip(argv[2::2], argv[3::2], strict=True))
    if argv[0] == "baseline":
        before = baseline(options.pop("--state-dir", STATE_DIR), options.pop("--networks-dir", NETWORKS_DIR))
        with open(argv[1], "w", encoding="utf-8") as file:
            json.dump(before, file, indent=1)
        return 0
    live = json.loads(read(options["--live"])) if "--live" in options else None
    before = json.loads(read(argv[1]))
    if argv[0] == "watch":
        for _ in sys.stdin:
            print(*Check(before, live).violations, "---", sep="\n", flush=True)
        return 0
    violations = Check(before, live).violations
    for line in violations:
        print(line)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
