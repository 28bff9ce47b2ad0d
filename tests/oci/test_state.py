"""States as the runtimes write them."""

import json

import pytest

from cni_sriov_bond.errors import DECODING_FAILURE, CniError
from cni_sriov_bond.oci.state import State, parse


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"ociVersion": "1.0.2-dev", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b", "annotations": {"a": "b"}},
            State("c1", "creating", 7, "/b", {"a": "b"}),
        ),
        ({"ociVersion": "1.0", "id": "c1", "status": "created", "pid": 7, "root": "/r"}, State("c1", "created", 7, "", {})),
        ({"id": "c1", "status": "stopped", "bundle": "/b"}, State("c1", "stopped", 0, "/b", {})),
        ({"id": "c1", "status": "stopped", "pid": 0, "annotations": None}, State("c1", "stopped", 0, "", {})),
    ],
    ids=["runc create", "crun create", "runc poststop", "crun poststop"],
)
def test_a_state_is_read(document: dict[str, object], expected: State) -> None:
    assert parse(json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "the id None must consist of"),
        ('{"id": "a/b"}', "the id 'a/b' must consist of"),
        ('{"id": "a", "pid": true}', "the pid True is not"),
        ('{"id": "a", "pid": -1}', "the pid -1 is not"),
        ('{"id": "a", "annotations": {"a": 1}}', "annotations must be"),
    ],
)
def test_what_is_no_state_is_refused(text: str, words: str) -> None:
    with pytest.raises(CniError, match=r"does an OCI runtime run this hook\?") as refused:
        parse(text.encode())
    assert words in refused.value.msg
    assert refused.value.code == DECODING_FAILURE
