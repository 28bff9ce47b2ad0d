"""The documents agree with the code and the tests."""

import ast
import errno
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from cni_sriov_bond import errors
from cni_sriov_bond.network import config
from cni_sriov_bond.network.schema import BOND_CNI, NETWORK
from tests import driver_table, ipam_reference, reference
from tests.fuzz import verdict

ROOT = Path(__file__).resolve().parents[1]


def test_the_option_table_is_the_schema_s() -> None:
    """Correct it with ``python -m tests.reference``."""
    assert reference.table() in reference.PATH.read_text(encoding="utf-8")


def test_the_delegates_option_table_is_its_schema_s() -> None:
    """Correct it with ``python -m tests.ipam_reference``."""
    assert ipam_reference.table() in ipam_reference.PATH.read_text(encoding="utf-8")


def test_the_table_of_drivers_is_that_of_the_program() -> None:
    """Correct it with ``python -m tests.driver_table``."""
    assert driver_table.table() in driver_table.PATH.read_text(encoding="utf-8")


def test_the_documents_have_the_codes_of_the_program() -> None:
    """The codes from 100 on, except 199, which is a bug; those below are the specification's. The fuzz relies on it."""
    codes = {value for key, value in vars(errors).items() if key.isupper() and type(value) is int and 100 <= value < 199}
    assert {code for code in verdict.CODES["sriov-bond"] if code >= 100} == codes
    assert {103, 105} <= verdict.CODES["sriov-bond-ipam"]


def test_every_key_on_the_page_for_moving_is_answered_as_it_says() -> None:
    """Keys that are the same are in the schema, under each of their names; the others are ignored with a hint."""
    page = (ROOT / "docs/moving.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE)
    taken = {name for key, here in rows if here.startswith("the same") for name in (key, *re.findall(r"`(\w+)`", here))}
    ignored = {key for key, here in rows if here.startswith("not ")}
    assert taken - {"name", "runtimeConfig"} <= set(NETWORK["properties"])
    assert [key for key in sorted(ignored) if not config.hints({key: 1})] == []
    assert set(BOND_CNI) <= taken, "each option that bond-cni names otherwise than the kernel is on the page"
    assert len(rows) == len(taken) - len(set(BOND_CNI.values())) + len(ignored) + 2, "`type`, and `ipam` twice"


DOCUMENTS = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
# The documents are read in terminals too. Tables, code and lines that cannot be broken may be longer.
MOST_COLUMNS = 100


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    """Return a page without its code blocks, which contain no prose and no links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4,}.*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repository hosts generate them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_between_documents_have_a_target(page: Path) -> None:
    """The file exists, and so does the heading, if the link names one."""
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_prose_is_wrapped(page: Path) -> None:
    for line in without_code(page.read_text(encoding="utf-8")).splitlines():
        words = line.split()
        if not line.startswith("|") and len(words) > 3:
            assert len(line) <= MOST_COLUMNS, f"{name(page)}: {line}"


def test_the_documents_name_every_command_of_dev() -> None:
    """CONTRIBUTING.md lists them all."""
    commands = re.findall(r"^  ([\w-]+)", (ROOT / "dev").read_text(encoding="utf-8").split("END")[1], re.MULTILINE)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "test" in commands
    for command in commands:
        assert f"./dev {command}" in page, command


# The number of rules in each group of the contract.
RULES = {"P": 8, "E": 13, "C": 13, "V": 3, "A": 11, "D": 12, "K": 9, "S": 6, "G": 9, "R": 9, "I": 12, "X": 6}
CLIENTS = ["cnitool", "containerd", "nerdctl", "CRI-O", "Multus", "podman", "reference plugins"]
# The number of call sequences of each client, by the first word of their names.
SEQUENCES = {"nerdctl": 6, "ctr": 1, "containerd": 4, "CRI-O": 4, "Multus": 2, "podman": 1}


def contract() -> list[tuple[str, list[str]]]:
    """Return each rule of the contract with the lines below it: its tests, or why it has none."""
    text = (ROOT / "docs/contract.md").read_text("utf-8")
    rules = re.findall(r"^- \*\*(.+?)\*\*: (?:.+\n)(?:  (?!- ).+\n)*((?:  - .+\n(?:    .+\n)*)*)", text, re.MULTILINE)
    return [(rule, re.findall(r"^  - (.+)$", below, re.MULTILINE)) for rule, below in rules]


def file_of(module: str, tests: Path) -> Path:
    """Return the file of a test module: its path below ``tests``, or its stem alone if only one folder has it.

    :raises LookupError: when there is no such file, or when a stem is in more than one folder
    """
    exact = tests / f"{module}.py"
    files = [exact] if exact.is_file() or "/" in module else sorted(tests.rglob(exact.name))
    if len(files) != 1 or not files[0].is_file():
        names = ", ".join(str(file.relative_to(tests).with_suffix("")) for file in files if file.is_file())
        raise LookupError(f"{module} is in more than one folder: {names}" if names else f"there is no {module}")
    return files[0]


def require_test(reference: str, origin: str) -> None:
    """Fail unless ``module::name`` is a test."""
    module, function = reference.split("::")
    source = file_of(module, ROOT / "tests").read_text("utf-8")
    assert f"def test_{function}(" in source, f"{origin}: there is no {reference}"


def test_a_test_is_named_by_its_path_or_by_a_stem_that_one_folder_has(tmp_path: Path) -> None:
    for file in ("test_top.py", "pool/test_pool.py", "lab/test_both.py", "ctl/test_both.py", "ctl/test_top.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    named = {name: str(file_of(name, tmp_path).relative_to(tmp_path)) for name in ("test_top", "test_pool", "lab/test_both")}
    assert named == {"test_top": "test_top.py", "test_pool": "pool/test_pool.py", "lab/test_both": "lab/test_both.py"}
    with pytest.raises(LookupError, match="test_both is in more than one folder: ctl/test_both, lab/test_both"):
        file_of("test_both", tmp_path)
    for missing in ("test_none", "pool/test_top"):
        with pytest.raises(LookupError, match=f"there is no {missing}"):
            file_of(missing, tmp_path)


def test_every_rule_of_the_contract_is_there() -> None:
    """No rule is missing, and none occurs twice."""
    wanted = [f"{group}{number}" for group, most in RULES.items() for number in range(1, most + 1)]
    rules = [rule for rule, _ in contract()]
    assert rules[: len(wanted) + len(CLIENTS)] == [*wanted, *CLIENTS]
    assert Counter(re.split(r"[ ,]", rule)[0] for rule in rules[len(wanted) + len(CLIENTS) :]) == SEQUENCES


@pytest.mark.parametrize(("rule", "tests"), contract())
def test_a_rule_is_met_by_tests_that_exist(rule: str, tests: list[str]) -> None:
    """Each named test is in its file; a rule without tests gives the reason."""
    assert tests, f"{rule} names no test"
    if tests[0].startswith(("not met: ", "not ours: ")):
        return
    for test in tests:
        require_test(test, rule)


# The number of situations in each chapter of the recovery page, so that none is lost.
SITUATIONS = {"Processes": 8, "Containers": 11, "The host and its NICs": 22, "Files": 8, "The IPAM plugin": 6}
LABELS = ["What happened", "What you see", "What restores it", "Tests"]


def situations() -> list[tuple[str, str, str]]:
    """Return each situation of the recovery page: its chapter, its heading and its text."""
    parsed = []
    for chapter in re.split(r"^## ", (ROOT / "docs/recovery.md").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title, *parts = re.split(r"^### ", chapter, flags=re.MULTILINE)
        parsed += [(title.strip(), *part.split("\n", 1)) for part in parts]
    return [(chapter, heading, text) for chapter, heading, text in parsed]


def test_every_situation_is_in_its_chapter() -> None:
    assert Counter(chapter for chapter, _, _ in situations()) == SITUATIONS
    headings = [heading for _, heading, _ in situations()]
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize(("heading", "text"), [(heading, text) for _, heading, text in situations()])
def test_a_situation_is_shown_by_tests_that_exist(heading: str, text: str) -> None:
    """It has each of the four parts once, in order, and at least one test."""
    assert re.findall(r"^- ([^:]+): ", text, re.MULTILINE) == LABELS
    tests = re.findall(r"[\w/]+::\w+", text.partition("- Tests: ")[2])
    assert tests
    for test in tests:
        require_test(test, heading)


def constant_texts() -> list[str]:
    """Return the texts of the program (the constant parts of an f-string) and of errno, long ones first."""
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "cni_sriov_bond").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in documentation]
    texts = {node.value for node in constants if isinstance(node.value, str)}
    texts |= {os.strerror(number) for number in errno.errorcode}
    return sorted((text for text in texts if len(text.strip()) >= 4), key=len, reverse=True)


def unknown_words(message: str, texts: list[str]) -> list[str]:
    """Return the words of a quoted message that are in no text of the program; "…" stands for an omission."""
    left = []
    for piece in message.split("…"):
        if any(piece.strip() in text for text in texts):
            continue
        rest = piece
        for text in texts:
            rest = rest.replace(text, "|")
        left += re.findall(r"(?<![\w/])[a-z]{4,}(?!\w)", rest)
    return left


def test_messages_on_the_recovery_page_are_the_programs() -> None:
    """Only what the program inserts, such as names and numbers, may differ from the texts of the program."""
    texts = constant_texts()
    messages, unknown = 0, []
    for _, heading, text in situations():
        seen = text.partition("- What you see: ")[2].partition("- What restores it: ")[0]
        for quoted in re.findall(r"``(.+?) ?``|`([^`]+)`", seen):
            message = " ".join("".join(quoted).split())
            if " " in message and not message.startswith("sriov-bondctl "):
                messages += 1
                unknown += [f"{heading}: {word!r} of {message!r}" for word in unknown_words(message, texts)]
    assert unknown == []
    assert messages >= 30


def test_a_message_that_was_reworded_is_noticed() -> None:
    """The comparison above detects a change anywhere in a sentence."""
    texts = ["is down; run", "starts with one path down:", "is damaged"]
    assert unknown_words("cbond1 starts with one path down: enp1s0 is down; run", texts) == []
    assert unknown_words("cbond1 begins with one path down: enp1s0 is down; run", texts) == ["begins", "with", "path", "down"]
    assert unknown_words("is down; … is broken", texts) == ["broken"]
