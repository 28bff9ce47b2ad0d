"""``sriov-bond-hook prepare``: add the hooks to a container's config.json, then execute the OCI runtime.

sriov-bond-runtime (build/runtime.c) executes it for create, run and restore of a container that may request a network. It
executes the runtime in turn, so the runtime has the pid, descriptors, environment and directory that containerd's shim gave.
"""

import json
import os
import signal
import time

from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError
from cni_sriov_bond.oci import policy, processes, report, request, spec
from cni_sriov_bond.oci.policy import Policy
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.spec import Spec

_FAILED = 1
# sriov-bond-runtime's options come first, each with a value: --config, --hook, --host-file, --log, --log-format, --runtime.
_OPTIONS = 12


def main(argv: list[str]) -> int:
    """Add the hooks if the container requests a network, and execute the runtime.

    :param argv: sriov-bond-runtime's options, ``--``, and the runtime's arguments.
    :return: 1 when it failed; else it does not return.
    """
    options = dict(zip(argv[:_OPTIONS:2], argv[1:_OPTIONS:2], strict=True))
    try:
        add_hooks(options["--config"], options["--hook"], policy.read(options["--host-file"]))
        _execute(options["--runtime"], argv[_OPTIONS + 1 :])
    except CniError as failed:
        _report(failed.msg, options["--log"], options["--log-format"])
    return _FAILED


def add_hooks(config: str, hook: str, allowed: Policy) -> None:
    """Add the hooks to a config.json if its container requests a network; else do not open it for writing.

    :param hook: the path of sriov-bond-hook.
    :raises CniError: when the request is not valid or not allowed, when the container can have no bond, and when the file
        cannot be read or written.
    """
    container = spec.read(config)
    requested = _requested(container, allowed)
    if requested:
        text = spec.with_hooks(container, hook, request.to_arguments(requested))
        if text != container.text:
            spec.write(config, text)


def _requested(container: Spec, allowed: Policy) -> Request | None:
    requested = request.of_container(container.annotations, container.environment, allowed)
    problem = container.problem()
    if requested is None:
        # The default is for containers with a network of their own: others that run by this runtime have not asked for it.
        return Request(allowed.network) if allowed.network and not problem and not processes.is_rootless() else None
    if problem:
        raise CniError(INVALID_CONFIG, f"the container requests the network {requested.network}, but {problem}")
    if processes.is_rootless():
        raise CniError(
            INVALID_CONFIG,
            f"the container requests the network {requested.network}, but its engine is rootless: the host's network devices "
            "are out of its reach; use an engine that root runs",
        )
    return requested


def _execute(runtime: str, arguments: list[str]) -> None:
    # Python ignores these signals, and a program that it executes would ignore them too.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(runtime, [runtime, *arguments])
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot execute the runtime {runtime}: {failed.strerror}; install it again") from None


def _report(message: str, log: str, log_format: str) -> None:
    """Write an error to standard error, and for containerd's shim as the last line of the runtime's log."""
    report.fail(message)
    text = report.line(f"sriov-bond: {message}")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if log_format == "json":
        line = json.dumps({"level": "error", "msg": text, "time": now}, separators=(",", ":"))
    else:
        line = f'time="{now}" level=error msg={json.dumps(text)}'
    if log:
        try:
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError:
            pass  # standard error has it
