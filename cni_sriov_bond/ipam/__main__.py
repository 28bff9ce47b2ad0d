"""The entry of ``sriov-bond-ipam``: runs the verb of one call."""

import sys

from cni_sriov_bond.cni.process import answer, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call


def main() -> int:
    """Serve one call of the IPAM plugin and return the exit status."""
    return serve("sriov-bond-ipam", _run)


def _run(call: "Call") -> None:
    # Imported here, because VERSION is answered without them.
    from cni_sriov_bond.cni import result
    from cni_sriov_bond.ipam import verbs

    if call.command == "ADD":
        allocated = verbs.add(call)
        try:
            answer(result.build(allocated, call.version))
        except OSError:
            # Nobody read the answer, so nobody knows the addresses, and no DEL may come for them.
            verbs.undo_add(call, allocated)
            raise
        return
    others = {"DEL": verbs.delete, "CHECK": verbs.check, "GC": verbs.gc, "STATUS": verbs.status}
    others[call.command](call)


if __name__ == "__main__":
    sys.exit(main())
