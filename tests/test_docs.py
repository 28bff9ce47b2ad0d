"""What the documents say is what the code does."""

import re
from pathlib import Path

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
