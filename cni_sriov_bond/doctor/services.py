"""Programs of the host that change network devices, and whether they leave the VFs alone; the boot unit."""

from collections.abc import Iterator

from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.tree import NET
from cni_sriov_bond.errors import IO_FAILURE, CniError

SUBJECT = "host services"
_UNIT = "sriov-bond.service"
_UNIT_DIRS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
              "/lib/systemd/system")  # fmt: skip
_NO_POOL = "there is no pool of this boot"


def _pools(host: Host) -> list[tuple[str, list[str]]]:
    """Return each pool of this boot with the PCI addresses of its VFs."""
    states = [state for state in host.pools if state.inventory and state.inventory.of_this_boot]
    return [(state.pool.name, [port.address for _, port in state.ports]) for state in states]


def _devices(host: Host) -> list[tuple[str, str, str]]:
    """Return pool, name and interface index of each VF in the host."""
    found = []
    for pool, addresses in _pools(host):
        for name in filter(None, map(host.netdev, addresses)):
            found.append((pool, name, host.tree.read(f"{NET}/{name}/ifindex")))
    return found


def udev(host: Host) -> Iterator[Finding]:
    """Check that udev has the rules that keep it from renaming the VFs."""
    if not host.tree.exists("/run/udev"):
        yield skipped("udev does not run")
        return
    for pool, addresses in _pools(host):
        text = host.tree.read(f"/run/udev/rules.d/90-sriov-bond-{pool}.rules")
        link = host.tree.read(f"/run/systemd/network/10-sriov-bond-{pool}.link")
        missing = [address for address in addresses if address not in text or address not in link]
        if missing:
            yield failure(
                pool,
                f"udev has no rule for {len(missing)} VFs of pool {pool}, and may rename them or change their MACs",
                f"run `sriov-bondctl up {pool}`",
                repairs.up(host, pool),
            )
        else:
            yield passed(pool, f"udev leaves the VFs of pool {pool} alone")
    if not _pools(host):
        yield skipped(_NO_POOL)


def networkmanager(host: Host) -> Iterator[Finding]:
    """Check that NetworkManager does not manage the VFs.

    It writes ``managed`` of each device to /run/NetworkManager/devices/IFINDEX (nm-config.c, DEVICE_RUN_STATE_KEYFILE), and
    obeys udev's property NM_UNMANAGED.
    """
    if not host.tree.exists("/run/NetworkManager"):
        yield skipped("NetworkManager does not run")
        return
    remedy = (
        "write `[keyfile]` and `unmanaged-devices=interface-name:VF*` to /etc/NetworkManager/conf.d/sriov-bond.conf, and run "
        "`nmcli general reload`"
    )
    managed = [
        (pool, name)
        for pool, name, index in _devices(host)
        if "managed=true" in host.tree.read(f"/run/NetworkManager/devices/{index}").splitlines()
        or "NM_UNMANAGED=1" not in host.tree.read(f"/run/udev/data/n{index}")
    ]
    yield from _managed("NetworkManager", managed, remedy, host)


def networkd(host: Host) -> Iterator[Finding]:
    """Check that systemd-networkd does not manage the VFs: it writes ADMIN_STATE to /run/systemd/netif/links/IFINDEX."""
    if not host.tree.exists("/run/systemd/netif/state"):
        yield skipped("systemd-networkd does not run")
        return
    remedy = (
        "write `[Match]`, `Name=VF*`, `[Link]`, `Unmanaged=yes` to /etc/systemd/network/05-sriov-bond.network, a line each, "
        "and run `networkctl reload`"
    )
    managed = []
    for pool, name, index in _devices(host):
        states = [
            line for line in host.tree.read(f"/run/systemd/netif/links/{index}").splitlines() if line.startswith("ADMIN_STATE=")
        ]
        if any(state.partition("=")[2] not in ("unmanaged", "pending", "initialized") for state in states):
            managed.append((pool, name))
    yield from _managed("systemd-networkd", managed, remedy, host)


def _managed(program: str, managed: list[tuple[str, str]], remedy: str, host: Host) -> Iterator[Finding]:
    for pool, name in managed:
        yield failure(name, f"{program} manages {name} of pool {pool}, and may set it up or give it addresses", remedy)
    if managed:
        return
    if _devices(host):
        yield passed("", f"{program} leaves the VFs alone")
    else:
        yield skipped("no VF of a pool is in the host")


def boot_unit(host: Host) -> Iterator[Finding]:
    """Check that the unit which creates the pools is enabled: a link in a .wants directory (systemctl(1), enable)."""
    if not host.tree.exists("/run/systemd/system"):
        yield skipped("systemd is not the init of this host; run `sriov-bondctl up` at boot before any container starts")
        return
    if not any(host.tree.exists(f"{directory}/{_UNIT}") for directory in _UNIT_DIRS):
        yield warning(
            "",
            f"there is no {_UNIT}, so after a boot there is no pool",
            f"copy {_UNIT} to /etc/systemd/system and run `systemctl enable sriov-bond`",
        )
        return
    wants = [
        f"{directory}/{name}"
        for directory in _UNIT_DIRS
        for name in host.tree.listed(directory)
        if name.endswith((".wants", ".requires"))
    ]
    if any(host.tree.exists(f"{path}/{_UNIT}") for path in wants):
        yield passed("", f"{_UNIT} is enabled")
    else:
        fix = Fix("run `systemctl enable sriov-bond`", False, _enable)
        yield warning("", f"{_UNIT} is not enabled, so after a boot there is no pool", "run `systemctl enable sriov-bond`", fix)


def _enable() -> str:
    import subprocess

    try:
        done = subprocess.run(["systemctl", "enable", "sriov-bond"], check=False, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        raise CniError(IO_FAILURE, "systemctl does not answer") from None
    if done.returncode:
        raise CniError(IO_FAILURE, f"systemctl enable sriov-bond failed: {' '.join(done.stderr.split())[:200]}")
    return "enabled sriov-bond.service"


CHECKS = (
    Check("udev", SUBJECT, "udev has the rules that keep it from renaming VFs", udev),
    Check("networkmanager", SUBJECT, "NetworkManager does not manage VFs", networkmanager),
    Check("networkd", SUBJECT, "systemd-networkd does not manage VFs", networkd),
    Check("boot-unit", SUBJECT, "sriov-bond.service is enabled", boot_unit),
)
