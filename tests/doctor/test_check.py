"""Findings as values."""

from cni_sriov_bond.doctor.check import FAILURE, PASS, SKIPPED, WARNING, Fix, failure, passed, skipped, warning, worst


def test_the_worst_result_counts() -> None:
    found = [passed("a", "x"), skipped("y"), warning("b", "x", "y"), failure("c", "x", "y")]
    assert [worst(found[:count]) for count in range(5)] == [SKIPPED, PASS, PASS, WARNING, FAILURE]


def test_a_finding_as_json_has_its_repair_without_its_function() -> None:
    finding = failure("nic1", "nic1 is down", "set it up", Fix("set nic1 up", True, lambda: ""))
    assert finding.to_json("nic-up") == {
        "check": "nic-up",
        "object": "nic1",
        "result": "failure",
        "sentence": "nic1 is down",
        "remedy": "set it up",
        "fix": {"text": "set nic1 up", "safe": True},
    }
    assert passed("", "x").to_json("c")["fix"] is None
