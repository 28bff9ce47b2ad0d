"""What a container requests: from its annotations and environment, and as arguments of the hook.

Annotations are set by whoever starts the container. The environment may come from its image, so the host file's policy limits
it. A setting of the environment that the policy forbids is refused, unless an annotation replaces it: ignored, the container
would get another address than its user asked for.
"""

import re
from typing import NamedTuple

from cni_sriov_bond.cni import address
from cni_sriov_bond.cni.call import check_identifiers, is_name
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from cni_sriov_bond.network.arguments import NOT_UNICAST, is_mac, vlan_number
from cni_sriov_bond.oci import policy
from cni_sriov_bond.oci.policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_IFNAME = "eth0"
ANNOTATION, VARIABLE = "sriov-bond.", "SRIOV_BOND_"
# Swarm's variables of a named generic resource: the whole kind in capitals (swarmkit, genericresource, EnvFormat).
RESOURCES = ("DOCKER_RESOURCE_SRIOV_BOND", "DOCKER_RESOURCE_SRIOV-BOND")
_KEYS = ("network", "vlan", "ip", "mac", "ifname", "device")
_DEFAULT = Policy()
_MAX_IPS = 32
_MAX_NETWORK = 128
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Request(NamedTuple):
    """What a container requests; all values are valid.

    :param network: the name of a network.
    :param vlan: the VLAN, 0 for untagged, or None for the network's.
    :param ips: addresses, with or without prefix length.
    :param mac: a unicast MAC, or "".
    :param ifname: the name of the interface in the container.
    :param device: the name of a bond or the PCI address of one of its VFs, or "" for any.
    """

    network: str
    vlan: int | None = None
    ips: tuple[str, ...] = ()
    mac: str = ""
    ifname: str = DEFAULT_IFNAME
    device: str = ""


class Setting(NamedTuple):
    """A value that was requested, and by what, for errors."""

    value: str
    source: str


def from_annotations(annotations: "Mapping[str, str]", allowed: Policy = _DEFAULT) -> Request | None:
    """Return what annotations request, or None if none of them is ours.

    :raises CniError: INVALID_ENVIRONMENT for an invalid or unknown annotation, INVALID_CONFIG for what the policy forbids.
    """
    return _request(_annotated(annotations), allowed)


def of_container(annotations: "Mapping[str, str]", environment: "Iterable[str]", allowed: Policy) -> Request | None:
    """Return what a container of config.json requests, or None if it requests nothing.

    :param environment: "NAME=value" of process.env. Names may occur more than once; the last one counts.
    :raises CniError: INVALID_ENVIRONMENT for an invalid request, INVALID_CONFIG for what the policy forbids.
    """
    annotated = _annotated(annotations)
    return _request(_environment(environment, allowed, annotated) | annotated, allowed)


def of_operator(
    network: str, vlan: str = "", ips: "Sequence[str]" = (), mac: str = "", ifname: str = "", device: str = ""
) -> Request:
    """Return a request of an operator, whom no policy limits; "" for a value that is not given.

    :raises CniError: INVALID_ENVIRONMENT for an invalid value.
    """
    texts = {"network": network, "vlan": vlan, "ip": ",".join(ips), "mac": mac, "ifname": ifname, "device": device}
    return _validated({key: Setting(text, f"--{key}") for key, text in texts.items() if text})


def to_arguments(request: Request) -> list[str]:
    """Return a request as arguments of the hook."""
    arguments = ["--network", request.network]
    if request.vlan is not None:
        arguments += ["--vlan", str(request.vlan)]
    for ip in request.ips:
        arguments += ["--ip", ip]
    arguments += ["--mac", request.mac] if request.mac else []
    arguments += ["--ifname", request.ifname] if request.ifname != DEFAULT_IFNAME else []
    return arguments + (["--device", request.device] if request.device else [])


def from_arguments(arguments: "Sequence[str]") -> Request:
    """Return the request that the hook's arguments are.

    :raises CniError: INVALID_ENVIRONMENT for unknown arguments, a missing value or network, and an invalid value.
    """
    settings: dict[str, Setting] = {}
    for option, value in zip(arguments[::2], [*arguments[1::2], None], strict=False):
        key = option.removeprefix("--")
        if value is None or key == option or key not in _KEYS:
            raise CniError(INVALID_ENVIRONMENT, f"{_shown(option)} is not an option with a value; use --{', --'.join(_KEYS)}")
        if key == "ip" and key in settings:
            value = f"{settings[key].value},{value}"
        settings[key] = Setting(value, option)
    return _validated(settings)


def _annotated(annotations: "Mapping[str, str]") -> dict[str, Setting]:
    settings = {}
    for name, value in annotations.items():
        key = name.removeprefix(ANNOTATION)
        if key == name:
            continue
        if key not in _KEYS:
            known = ", ".join(f"{ANNOTATION}{known}" for known in _KEYS)
            raise CniError(INVALID_ENVIRONMENT, f"the annotation {_shown(name)} is unknown; use {known}")
        if value:
            settings[key] = Setting(value, f"the annotation {name}")
    return settings


def _environment(variables: "Iterable[str]", allowed: Policy, replaced: "Mapping[str, Setting]") -> dict[str, Setting]:
    """Return what the environment requests.

    :param replaced: settings that annotations replace.
    """
    if allowed.environment == policy.NONE:
        return {}
    last: dict[str, str] = {}
    resource: Setting | None = None
    for variable in variables:
        name, _, value = variable.partition("=")
        last[name] = value
        if name in RESOURCES:  # Swarm's own comes after one of the same name that the service's author sets
            resource = Setting(value, name) if value else None
    settings = {}
    for key in _KEYS:
        name = VARIABLE + key.upper()
        if not last.get(name) or key in replaced or (key == "device" and resource):
            continue
        if allowed.environment != policy.ALL and key not in ("network", "vlan"):
            raise CniError(
                INVALID_CONFIG,
                f"the container's environment has {name}, but may choose only network and VLAN; "
                f'use the annotation {ANNOTATION}{key}, or set environment = "all" in [docker] of the host file',
            )
        settings[key] = Setting(last[name], name)
    if resource and "device" not in replaced:
        settings["device"] = Setting(_resource(resource), resource.source)
    return settings


def _resource(resource: Setting) -> str:
    """Return the bond that Swarm gave a task.

    :raises CniError: INVALID_ENVIRONMENT for a number, which is of a resource without names, and for several bonds.
    """
    if resource.value.isdecimal():
        raise CniError(
            INVALID_ENVIRONMENT,
            f"{resource.source} is the number {_shown(resource.value)}, not a bond; name the bonds in node-generic-resources: "
            "sriov-bondctl docker config prints them",
        )
    if "," in resource.value:
        raise CniError(
            INVALID_ENVIRONMENT,
            f"{resource.source} has several bonds, {_shown(resource.value)}; a task has one: --generic-resource sriov_bond=1",
        )
    return resource.value


def _request(settings: "dict[str, Setting]", allowed: Policy) -> Request | None:
    if not settings:
        return None
    if "network" not in settings and allowed.network:
        settings["network"] = Setting(allowed.network, "network of [docker]")
    request = _validated(settings)
    if not allowed.allows(request.network):
        raise CniError(
            INVALID_CONFIG,
            f"{settings['network'].source} requests the network {request.network}, "
            f"which is not in networks of [docker] in the host file; it has {', '.join(allowed.networks or ()) or 'none'}",
        )
    return request


def _validated(settings: "Mapping[str, Setting]") -> Request:
    if "network" not in settings:
        sources = ", ".join(setting.source for setting in settings.values())
        raise CniError(
            INVALID_ENVIRONMENT,
            f"no network is named beside {sources}; set {VARIABLE}NETWORK, the annotation {ANNOTATION}network, or network in "
            "[docker] of the host file",
        )
    values = {key: setting.value for key, setting in settings.items()}
    for key, setting in settings.items():
        problem = _problem(key, setting.value)
        if problem:
            raise CniError(INVALID_ENVIRONMENT, f"{setting.source}: {problem}")
    vlan = vlan_number(values["vlan"]) if "vlan" in values else None
    ifname = values.get("ifname", DEFAULT_IFNAME)
    return Request(values["network"], vlan, _ips(values.get("ip", "")), values.get("mac", ""), ifname, values.get("device", ""))


def _problem(key: str, value: str) -> str:
    """Return what is wrong with a value, or ""."""
    shown = _shown(value)
    if key == "network":
        valid = is_name(value) and len(value) <= _MAX_NETWORK
        return "" if valid else f"{shown} is not the name of a network; use a name as in /etc/cni/net.d"
    if key == "vlan":
        return "" if vlan_number(value) is not None else f"{shown} is not a VLAN; use 0 to 4094"
    if key == "ip":
        return _ip_problem(value)
    if key == "mac":
        return "" if is_mac(value) else f"{shown} {NOT_UNICAST}"
    if key == "ifname":
        return _ifname_problem(value)
    return "" if _DEVICE.fullmatch(value) else f"{shown} is neither the name of a bond nor a PCI address"


def _ifname_problem(value: str) -> str:
    try:
        check_identifiers("ADD", "container", value)
    except CniError:
        return f"{_shown(value)} is not a valid name for an interface; use up to 15 letters and digits"
    return ""


def _ips(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def _ip_problem(text: str) -> str:
    addresses = _ips(text)
    if not addresses or len(addresses) > _MAX_IPS:
        return f"{_shown(text)} must be 1 to {_MAX_IPS} addresses, with commas between them"
    for part in addresses:
        try:
            if "/" in part:
                address.Cidr(part)
            else:
                address.packed(part)
        except ValueError:
            return f"{_shown(part)} is not an address; write it like 10.1.2.3 or 10.1.2.3/24"
    return ""


def _shown(value: str) -> str:
    """Return a value for an error: printable, in ASCII, and short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"
