"""The man page and the completion of sriov-bondctl, in the built tree."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cni_sriov_bond import VERSION
from cni_sriov_bond.ctl.__main__ import parser
from tests.ctl.strict import parsers

pytestmark = pytest.mark.frozen
MAN = "usr/share/man/man8/sriov-bondctl.8"
BASH = "usr/share/bash-completion/completions/sriov-bondctl"
SHELLS = {
    "bash": BASH,
    "zsh": "usr/share/zsh/vendor-completions/_sriov-bondctl",
    "fish": "usr/share/fish/vendor_completions.d/sriov-bondctl.fish",
}


def test_the_man_page_names_every_command_and_every_option(frozen: Path) -> None:
    lines = (frozen / MAN).read_text().splitlines()
    assert VERSION in lines[0]
    plain = "\n".join(lines).replace("\\-", "-")
    commands = parsers(parser())
    assert len(commands) >= 10
    for name, command in commands.items():
        assert f".SS {name}" in lines, name
        for option in command._option_string_actions:
            assert option in plain, f"{name} {option}"
    # Requests are those of man(7); any other line that begins so would be lost.
    assert {line.split()[0] for line in lines if line.startswith((".", "'"))} == {".TH", ".SH", ".SS", ".TP", ".B", ".PP"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_names_every_command(frozen: Path, shell: str) -> None:
    text = (frozen / SHELLS[shell]).read_text()
    for name, command in parsers(parser()).items():
        assert name.split()[-1] in text, name
        for option in command._option_string_actions:
            assert option.lstrip("-") in text, f"{name} {option}"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["s"], {"status", "show", "schema"}),
        (["top", "--"], {"--once", "--interval", "--sort", "--json", "--state-dir", "--config", "--help"}),
        (["top", "--sort", ""], {"traffic", "name", "failovers", "errors"}),
    ],
)
def test_bash_completes(frozen: Path, words: list[str], completed: set[str]) -> None:
    """By what it calls at Tab."""
    script = f'source {frozen / BASH}\nCOMP_WORDS=(sriov-bondctl "$@"); COMP_CWORD=$#\n_shtab_sriov_bondctl\n'
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    bash = shutil.which("bash") or "bash"
    done = subprocess.run([bash, "-c", script, "bash", *words], capture_output=True, text=True, check=True, timeout=60)
    assert {word.strip() for word in done.stdout.split()} >= completed
    assert done.stderr == ""
