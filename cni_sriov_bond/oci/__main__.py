"""The entry of sriov-bond-hook: the hooks of an OCI runtime, and the preparation of a container by the runtime wrapper."""

import os
import sys

from cni_sriov_bond.errors import INVALID_ENVIRONMENT, IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.oci.request import Request
    from cni_sriov_bond.oci.state import State

_USAGE = """\
usage: sriov-bond-hook createRuntime [--network NAME [--vlan N] [--ip ADDRESS]... [--mac MAC] [--ifname NAME] [--device BOND]]
       sriov-bond-hook poststop

An OCI hook: it attaches a container to a network before its first process runs, and detaches it after the last has ended. The
container's state is read from standard input. Without --network the container's annotations say what it asks for.

  --deadline SECONDS   how long a createRuntime may take, with the wait for a free bond (default: 60)
  --state-dir DIR      where attachments are recorded (default: /var/lib/cni/sriov-bond-oci)
  --network-dir DIR    where network files are (default: /etc/cni/net.d)
  --cni-path DIR:...   where plugins are (default: /opt/cni/bin)
  --version            show the version
"""
_OPTIONS = (
    "--network", "--vlan", "--ip", "--mac", "--ifname", "--device", "--deadline", "--state-dir", "--network-dir", "--cni-path",
)  # fmt: skip
_MAX_STDIN = 1 << 20
_FAILED, _USAGE_ERROR = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run one hook and return its exit status: 0 done, 1 failed, 2 for wrong arguments."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["prepare"]:
        from cni_sriov_bond.oci import prepare

        return prepare.main(arguments[1:])
    if arguments in (["--help"], ["-h"], ["--version"]):
        return _tell(arguments[0])
    if arguments[:1] not in (["createRuntime"], ["poststop"]):
        os.write(2, _USAGE.encode())
        return _USAGE_ERROR
    return _run(arguments)


def _tell(option: str) -> int:
    from cni_sriov_bond import VERSION

    os.write(1, (f"sriov-bond-hook {VERSION}\n" if option == "--version" else _USAGE).encode())
    return 0


def _run(arguments: list[str]) -> int:
    from cni_sriov_bond.cni import process
    from cni_sriov_bond.oci import report, stop

    parent = os.getppid()  # first: the runtime may end at any time
    container_id = ""

    def fail(error: CniError) -> None:
        report.fail(f"{arguments[0]}: {error.msg}{f' ({error.details})' if error.details else ''}", container_id)

    process.report_with(fail)
    process.hold_streams()
    stop.catch_signals()
    try:
        options = _options(arguments[1:])
        from cni_sriov_bond.oci.state import parse

        state = parse(_stdin())
        container_id = state.container_id
        _run_hook(arguments[0], state, options, parent)
    except CniError as failed:
        fail(failed)
        return _FAILED
    except OSError as failed:
        about = f" ({failed.filename})" if failed.filename else ""
        fail(CniError(IO_FAILURE, f"system error: {failed.strerror or failed}{about}"))
        return _FAILED
    return 0


def _run_hook(verb: str, state: "State", options: dict[str, list[str]], parent: int) -> None:
    from cni_sriov_bond.oci import hook
    from cni_sriov_bond.oci.site import CREATE_SECONDS, Site
    from cni_sriov_bond.oci.stop import Stop

    directories = {"state_dir": "--state-dir", "network_dir": "--network-dir", "cni_path": "--cni-path"}
    site = Site(**{name: options[option][-1] for name, option in directories.items() if option in options})
    if verb == "poststop":
        hook.poststop(state, site)
        return
    request = _request(state, options)
    if request is not None:
        seconds = _number(options, "--deadline", CREATE_SECONDS)
        hook.create(state, request, site, Stop(seconds, parent, state.pid), checked="--network" in options)


def _request(state: "State", options: dict[str, list[str]]) -> "Request | None":
    """Return what the container asks for, or None: the arguments are the wrapper's, which has checked them."""
    from cni_sriov_bond.oci import request

    if "--network" not in options:
        return request.from_annotations(state.annotations)
    last = {option: values[-1] for option, values in options.items()}
    vlan = int(_number(options, "--vlan", 0)) if "--vlan" in options else None
    return request.Request(
        network=last["--network"],
        vlan=vlan,
        ips=tuple(options.get("--ip", ())),
        mac=last.get("--mac", ""),
        ifname=last.get("--ifname", "eth0"),
        device=last.get("--device", ""),
    )


def _options(arguments: list[str]) -> dict[str, list[str]]:
    """Return the values of each option, which is written ``--name value`` or ``--name=value``.

    :raises CniError: INVALID_ENVIRONMENT for anything else.
    """
    options: dict[str, list[str]] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in _OPTIONS:
            raise CniError(INVALID_ENVIRONMENT, f"unknown argument {argument!r}; see `sriov-bond-hook --help`")
        found = value if equals else next(rest, None)
        if found is None:
            raise CniError(INVALID_ENVIRONMENT, f"{name} needs a value; see `sriov-bond-hook --help`")
        options.setdefault(name, []).append(found)
    return options


def _number(options: dict[str, list[str]], name: str, default: float) -> float:
    text = options.get(name, [str(default)])[-1]
    try:
        return float(text)
    except ValueError:
        raise CniError(INVALID_ENVIRONMENT, f"{name} must be a number, not {text!r}") from None


def _stdin() -> bytes:
    data = b""
    while part := os.read(0, 65536):
        data += part
        if len(data) > _MAX_STDIN:
            raise CniError(INVALID_ENVIRONMENT, "the container state on standard input is larger than 1 MiB")
    return data


if __name__ == "__main__":
    sys.exit(main())
