"""IPv6 settings of devices in the container: files in /proc/sys/net/ipv6/conf, which show the namespace of who opens them."""

from errno import ENOENT

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel.netns import Entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.kernel.netns import Netns

_CONF = "/proc/sys/net/ipv6/conf"


def allow(netns: "Netns", ifname: str) -> None:
    """Enable IPv6 on a device and on the loopback, and keep the device's addresses while it is down.

    As the reference plugins do before they add an IPv6 address (pkg/ipam/ipam_linux.go, ConfigureIface). Docker's containers
    without a network have IPv6 off on every device, so that not even ::1 can be used.

    :raises CniError: POOL_UNUSABLE when the kernel has no IPv6 or refuses.
    """
    with Entered(netns):
        _enable(ifname)


def ignore_advertisements(netns: "Netns", ifnames: list[str]) -> None:
    """Let devices that are still down take no address and no route from router advertisements.

    The kernel's default is to take both. A device without IPv6 has nothing to set.

    :raises CniError: POOL_UNUSABLE when the kernel refuses.
    """
    with Entered(netns):
        for ifname in ifnames:
            for key in ("accept_ra", "autoconf"):
                _write(ifname, key, "0")


def take_advertisements(netns: "Netns", ifname: str) -> None:
    """Let a device that is still down take addresses and routes from router advertisements, also where IPv6 was off.

    A setting that allows it already is left: ``accept_ra`` 2 allows it to routers too.

    :raises CniError: POOL_UNUSABLE when the kernel has no IPv6 or refuses.
    """
    with Entered(netns):
        _enable(ifname)
        for key in ("accept_ra", "autoconf"):
            with open(f"{_CONF}/{ifname}/{key}", encoding="ascii") as file:
                allowed = file.read().strip() != "0"
            if not allowed:
                _write(ifname, key, "1")


def _enable(ifname: str) -> None:
    _write("lo", "disable_ipv6", "0")
    for key, value in (("disable_ipv6", "0"), ("keep_addr_on_down", "1")):
        if not _write(ifname, key, value):
            raise CniError(POOL_UNUSABLE, f"cannot set {key} of {ifname}, which has no IPv6; is IPv6 off in the kernel?")


def _write(ifname: str, key: str, value: str) -> bool:
    """Write a setting in the present namespace; return False if the device has no IPv6.

    :raises CniError: POOL_UNUSABLE when the kernel refuses.
    """
    try:
        with open(f"{_CONF}/{ifname}/{key}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError as failed:
        if failed.errno == ENOENT:
            return False
        raise CniError(
            POOL_UNUSABLE, f"cannot set {key} of {ifname} to {value}: {failed.strerror}; is /proc/sys writable for plugins?"
        ) from None
    return True
