"""Run the plugins of a network for one attachment, as the CNI library does (libcni 1.1 to 1.3, api.go).

One difference: a DEL goes on after a plugin that fails, because a hook has one try.
"""

import os
from typing import Any, NamedTuple

from cni_sriov_bond import jsontext
from cni_sriov_bond.cni import result as results
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, TRY_AGAIN_LATER, CniError, DelegateError
from cni_sriov_bond.oci.conflist import NetworkList, Plugin
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import require_trusted
from cni_sriov_bond.oci.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Document = dict[str, Any]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_PREVIOUS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1")  # their DEL has no prevResult, and there is no CHECK


class Attached(NamedTuple):
    """The attachment that the plugins are called for; ``netns`` is a path, or "" if the namespace is gone."""

    container_id: str
    ifname: str
    netns: str


def find(network: NetworkList, cni_path: str) -> dict[str, str]:
    """Return the path of the executable of each plugin, by its type: the first on CNI_PATH.

    :raises CniError: INVALID_CONFIG when one is missing, IO_FAILURE when other users can change one.
    """
    return {plugin.type: _find(plugin.type, cni_path) for plugin in network.plugins}


def _find(kind: str, cni_path: str) -> str:
    for directory in filter(None, cni_path.split(":")):
        path = f"{directory}/{kind}"
        if os.path.isfile(path):
            require_trusted(path, "the plugin")
            return path
    raise CniError(INVALID_CONFIG, f"there is no plugin {kind!r} in {cni_path}; install it there")


class Chain:
    """The calls of all plugins of a network.

    :param environ: variables that every plugin gets besides its own CNI_* and PATH.
    :param warn: gets what plugins write to standard error.
    """

    def __init__(
        self, network: NetworkList, request: Request, attached: Attached, cni_path: str, warn: "Callable[[str], None]"
    ) -> None:
        self._network = network
        self._request = request
        self._attached = attached
        self._cni_path = cni_path
        self._warn = warn

    def add(self, stop: Stop) -> Document:
        """ADD the plugins in order and return the last result. Nothing is undone when one fails: DEL all then.

        :raises CniError: of the plugin that fails.
        """
        executables = find(self._network, self._cni_path)
        previous: Document | None = None
        for plugin in self._network.plugins:
            text = self._call("ADD", plugin, executables[plugin.type], previous, stop)
            previous = self._result(text, plugin.type)
        return previous or {}

    def delete(self, final: Document | None, stop: Stop) -> None:
        """DEL the plugins in reverse order.

        :param final: the result of the ADD, if it is known.
        :raises CniError: the first error, when all were called.
        """
        failures: list[CniError] = []
        for plugin in reversed(self._network.plugins):
            try:
                previous = None if self._network.version in _NO_PREVIOUS else final
                self._call("DEL", plugin, _find(plugin.type, self._cni_path), previous, stop)
            except CniError as failed:
                failures.append(failed)
        if failures:
            more = "; ".join(failed.msg for failed in failures[1:])
            raise CniError(failures[0].code, failures[0].msg, "; ".join(filter(None, (failures[0].details, more))))

    def check(self, final: Document, stop: Stop) -> None:
        """CHECK the plugins in order.

        :raises CniError: of the plugin that fails; INVALID_CONFIG when the network's version has no CHECK.
        """
        if self._network.version in _NO_PREVIOUS:
            raise CniError(INVALID_CONFIG, f"network {self._network.name}: version {self._network.version} has no CHECK")
        if not self._network.disable_check:
            for plugin in self._network.plugins:
                self._call("CHECK", plugin, _find(plugin.type, self._cni_path), final, stop)

    def arguments(self) -> str:
        """Return CNI_ARGS: what the container asks for, as sriov-bond and the reference plugins understand it."""
        request = self._request
        pairs = {"MAC": request.mac, "DEVICE": request.device}
        if request.vlan is not None:
            pairs["VLAN"] = str(request.vlan)
        pairs = {key: value for key, value in pairs.items() if value}
        return ";".join(f"{key}={value}" for key, value in {"IgnoreUnknown": "1", **pairs}.items()) if pairs else ""

    def capability_arguments(self) -> Document:
        """Return what the container asks for as capability arguments; each plugin gets those that it declares."""
        request = self._request
        values = {"ips": list(request.ips), "mac": request.mac, "deviceID": request.device}
        return {key: value for key, value in values.items() if value}

    def _call(self, command: str, plugin: Plugin, executable: str, previous: Document | None, stop: Stop) -> str:
        seconds = stop.deadline.left()
        reason = stop.reason() if command == "ADD" else ""  # a DEL goes on
        if reason or not seconds:
            reason = reason or f"{stop.seconds:.0f} s have passed"
            raise CniError(TRY_AGAIN_LATER, f"the plugin {plugin.type} was not called for {command}: {reason}")
        delegates = Delegates(
            {},
            kind="plugin",
            cancelled=stop.reason if command == "ADD" else None,
            forward=lambda data: self._warn(f"{plugin.type} at {command}: {data.decode('utf-8', 'replace').strip()}"),
        )
        config = jsontext.dumps(self._config(plugin, previous)).encode()
        try:
            return delegates.run(executable, command, self._environ(command), config, seconds)
        except DelegateError as failed:
            message = f"network {self._network.name}, plugin {plugin.type}: {failed.msg}"
            raise DelegateError(failed.code, message, failed.details) from None

    def _environ(self, command: str) -> dict[str, str]:
        attached = self._attached
        variables = {
            "PATH": _PATH,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attached.container_id,
            "CNI_NETNS": attached.netns,
            "CNI_IFNAME": attached.ifname,
            "CNI_PATH": self._cni_path,
        }
        arguments = self.arguments()
        return {**variables, "CNI_ARGS": arguments} if arguments else variables

    def _config(self, plugin: Plugin, previous: Document | None) -> Document:
        """Return a plugin's standard input.

        Addresses are a capability argument. A plugin with an ``ipam`` that does not declare it gets them as ``args.cni.ips``
        (CNI's CONVENTIONS.md, "args"), which the IPAM plugins read too: CNI_ARGS has one address only.
        """
        config = {**plugin.config, "name": self._network.name}
        config["cniVersion"] = self._network.version
        if previous is not None:
            config["prevResult"] = previous
        given = {key: value for key, value in self.capability_arguments().items() if key in plugin.capabilities}
        if given:
            config["runtimeConfig"] = given
        if self._request.ips and "ips" not in plugin.capabilities and config.get("ipam"):
            args = _object(config.get("args"))
            config["args"] = {**args, "cni": {**_object(args.get("cni")), "ips": list(self._request.ips)}}
        return config

    def _result(self, text: str, kind: str) -> Document:
        """Return the result in a plugin's output, in the network's version; ``null`` is an empty one.

        :raises CniError: DECODING_FAILURE when it is not a result.
        """
        version = self._network.version
        try:
            value = jsontext.loads(text)
        except ValueError as wrong:
            raise CniError(DECODING_FAILURE, f"the plugin {kind} returned no valid result at ADD: {wrong}") from None
        if value is not None and not isinstance(value, dict):
            raise CniError(DECODING_FAILURE, f"the plugin {kind} returned no JSON object at ADD")
        document = _object(value)
        if document.get("cniVersion") not in (None, "", version):
            document = _object(jsontext.loads(results.build(results.parse(text, version, kind), version)))
        document["cniVersion"] = version
        return document


def _object(value: object) -> Document:
    """Return a value that is an object, or else an empty one."""
    return value if isinstance(value, dict) else {}
