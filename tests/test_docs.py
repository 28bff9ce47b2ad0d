"""What the documents say is what the code does."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests import ipam_reference, reference

ROOT = Path(__file__).resolve().parents[1]


def test_the_option_table_is_the_schema_s() -> None:
    """Mend with ``python -m tests.reference``."""
    assert reference.table() in reference.PATH.read_text(encoding="utf-8")


def test_the_delegates_option_table_is_its_schema_s() -> None:
    """Mend with ``python -m tests.ipam_reference``."""
    assert ipam_reference.table() in ipam_reference.PATH.read_text(encoding="utf-8")


def test_links_between_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command_of_dev() -> None:
    offered = re.findall(r"^  (\w+)", (ROOT / "dev").read_text(encoding="utf-8").split("END")[1], re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in offered:
        assert f"./dev {command}" in readme, command


# How many rules each group of the contract has.
RULES = {"P": 8, "E": 13, "C": 13, "V": 3, "A": 11, "D": 12, "K": 9, "S": 6, "G": 9, "R": 9, "I": 12, "X": 6}
CLIENTS = ["cnitool", "containerd", "nerdctl", "CRI-O", "Multus", "podman", "reference plugins"]
# What clients do, one row each, after their first word.
SEQUENCES = {"nerdctl": 6, "ctr": 1, "containerd": 4, "CRI-O": 4, "Multus": 2, "podman": 1}


def contract() -> dict[str, str]:
    """Give each row of the contract's tables: what is in its last column, by its first."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/contract.md").read_text("utf-8"), re.MULTILINE)
    return {name: tests for name, tests in rows if name not in ("id", "---")}


def test_every_rule_of_the_contract_has_its_row() -> None:
    """No rule is left out, and none is there twice."""
    wanted = [f"{group}{number}" for group, most in RULES.items() for number in range(1, most + 1)]
    rows = list(contract())
    assert rows[: len(wanted) + len(CLIENTS)] == [*wanted, *CLIENTS]
    assert Counter(re.split(r"[ ,]", row)[0] for row in rows[len(wanted) + len(CLIENTS) :]) == SEQUENCES


@pytest.mark.parametrize(("rule", "tests"), contract().items())
def test_a_rule_is_met_by_tests_that_exist(rule: str, tests: str) -> None:
    """Each named test is in its file; where there is none the row says why."""
    if tests.startswith(("not met: ", "not ours: ")):
        return
    for one in tests.split(", "):
        module, name = one.split("::")
        source = (ROOT / "tests" / f"{module}.py").read_text("utf-8")
        assert f"def test_{name}(" in source, f"{rule}: there is no {one}"
