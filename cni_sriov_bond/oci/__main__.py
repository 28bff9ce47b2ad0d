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
  --config FILE        the host file; its [docker] says which networks annotations may name (default: /etc/cni/sriov-bond.toml)
  --version            show the version
"""
_MAX_SECONDS = 3600
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
        from cni_sriov_bond.oci.state import parse

        state = parse(_stdin())
        container_id = state.container_id
        _run_hook(arguments[0], state, arguments[1:], parent)
    except CniError as failed:
        fail(failed)
        return _FAILED
    except OSError as failed:
        about = f" ({failed.filename})" if failed.filename else ""
        fail(CniError(IO_FAILURE, f"system error: {failed.strerror or failed}{about}"))
        return _FAILED
    return 0


def _run_hook(verb: str, state: "State", arguments: list[str], parent: int) -> None:
    from cni_sriov_bond.oci import hook
    from cni_sriov_bond.oci.site import Site
    from cni_sriov_bond.oci.stop import Stop

    options, rest = _split(arguments)
    site = Site(options["--state-dir"], options["--network-dir"], options["--cni-path"])
    if verb == "poststop":
        if rest:
            raise CniError(INVALID_ENVIRONMENT, f"poststop does not know {rest[0]!r}; see `sriov-bond-hook --help`")
        hook.poststop(state, site)
        return
    seconds = _seconds(options["--deadline"])
    request = _request(state, options, rest)
    if request is not None:
        hook.create(state, request, site, Stop(seconds, parent, state.pid), checked=bool(rest))


def _request(state: "State", options: dict[str, str], rest: list[str]) -> "Request | None":
    """Return what the container asks for, or None: the arguments are the wrapper's, else its annotations say it."""
    from cni_sriov_bond.oci import policy, request

    if rest:
        return request.from_arguments(rest)
    if not any(name.startswith(request.ANNOTATION) for name in state.annotations):
        return None
    return request.from_annotations(state.annotations, policy.read(options["--config"]))


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of the hook's own options, and the arguments that are the container's request.

    :raises CniError: INVALID_ENVIRONMENT for an option without a value.
    """
    from cni_sriov_bond.oci import policy, site

    options = {
        "--deadline": str(site.CREATE_SECONDS),
        "--state-dir": site.STATE_DIR,
        "--network-dir": site.NETWORK_DIR,
        "--cni-path": site.CNI_PATH,
        "--config": policy.HOST_FILE,
    }
    request = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in options:
            request.append(argument)
            continue
        given = value if equals else next(rest, "")
        if not given:
            raise CniError(INVALID_ENVIRONMENT, f"{name} needs a value; see `sriov-bond-hook --help`")
        options[name] = given
    return options, request


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_SECONDS:
        raise CniError(INVALID_ENVIRONMENT, f"--deadline must be 0 to {_MAX_SECONDS} seconds, not {text!r}")
    return seconds


def _stdin() -> bytes:
    data = b""
    while part := os.read(0, 65536):
        data += part
        if len(data) > _MAX_STDIN:
            raise CniError(INVALID_ENVIRONMENT, "the container state on standard input is larger than 1 MiB")
    return data


if __name__ == "__main__":
    sys.exit(main())
