"""The delegate's process: its verbs behind the edge that it shares with the plugin."""

import sys

from cni_sriov_bond.edge import answer, read_call, serve


def main() -> int:
    """Serve one call of the delegate and give the exit status."""
    return serve("sriov-bond-ipam", _run)


def _run(version: list[str]) -> None:
    """Read the call and run its verb; ``version`` becomes the one that answers must have."""
    from cni_sriov_bond import config, result
    from cni_sriov_bond.delegate import verbs
    from cni_sriov_bond.errors import INVALID_ENVIRONMENT, CniError

    call, _, value = read_call()
    if call.command not in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {call.command}")
    version[0] = config.check_version(value, call.command)
    if call.command == "ADD":
        given = verbs.add(call, value, version[0])
        try:
            answer(result.build(given, version[0]))
        except OSError:
            verbs.take_back(call, value, given)  # nobody took the answer, so nobody knows of the addresses
            raise
    elif call.command == "DEL":
        verbs.delete(call, value)
    elif call.command == "CHECK":
        verbs.check(call, value, version[0])
    elif call.command == "GC":
        verbs.collect(value)
    else:
        verbs.status(value, version[0])


if __name__ == "__main__":
    sys.exit(main())
