"""The delegate's process: its verbs behind the edge that it shares with the plugin."""

import sys

from cni_sriov_bond.cni.process import answer, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call


def main() -> int:
    """Serve one call of the delegate and return the exit status."""
    return serve("sriov-bond-ipam", _run)


def _run(call: "Call") -> None:
    from cni_sriov_bond.cni import result
    from cni_sriov_bond.ipam import verbs

    if call.command == "ADD":
        given = verbs.add(call)
        try:
            answer(result.build(given, call.version))
        except OSError:
            verbs.take_back(call, given)  # nobody took the answer, so nobody knows of the addresses
            raise
        return
    others = {"DEL": verbs.delete, "CHECK": verbs.check, "GC": verbs.collect, "STATUS": verbs.status}
    others[call.command](call)


if __name__ == "__main__":
    sys.exit(main())
