"""Issues of a document as values, as one error, and as text; tests/network/test_schema.py compares with jsonschema."""

import pytest

from cni_sriov_bond.cni import schema
from cni_sriov_bond.errors import INVALID_CONFIG, CniError, Issue


@pytest.mark.parametrize(
    ("path", "text"), [((), ""), (("vlan",), "vlan"), (("ipam", "ranges", 0, 1, "subnet"), "ipam.ranges[0][1].subnet")]
)
def test_a_path_as_text(path: tuple[str | int, ...], text: str) -> None:
    assert schema.path_text(path) == text


def test_issues_become_one_error() -> None:
    """Sentences are joined; without issues there is no error."""
    schema.refuse("net1", [])
    with pytest.raises(CniError) as refused:
        schema.refuse("net1", [Issue(("a",), "a is wrong"), Issue((), "all is wrong")], "more")
    assert (refused.value.code, refused.value.msg) == (INVALID_CONFIG, "network 'net1': a is wrong; all is wrong")
    assert refused.value.details == "more"


def test_a_long_value_is_cut_in_the_sentence() -> None:
    """A long value does not make a long message."""
    [issue] = schema.issues({"type": "x", "vlan": "9" * 100000}, {"properties": {"vlan": {"type": "integer"}}})
    assert len(issue.sentence) < 120
