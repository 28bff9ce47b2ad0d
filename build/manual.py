"""The man page and the completion of sriov-bondctl, from its parser: ``python build/manual.py TREE`` writes them into a tree.

It runs in the build's virtual environment, which has shtab. argparse-manpage, which could write the page, has no wheel, and the
build runs no package's own build code.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "sriov-bondctl"
MAN = f"usr/share/man/man8/{PROGRAM}.8"
COMPLETION = {
    "bash": f"usr/share/bash-completion/completions/{PROGRAM}",
    "zsh": f"usr/share/zsh/vendor-completions/_{PROGRAM}",
    "fish": f"usr/share/fish/vendor_completions.d/{PROGRAM}.fish",
}
FILES = (
    ("/etc/cni/sriov-bond.toml", "the host file, which defines the pools"),
    ("/var/lib/cni/sriov-bond", "pools and leases"),
    ("/var/log/sriov-bond.log", "events, on a host without a journal"),
)
STATUSES = (
    ("0", "done"), ("1", "failed"), ("2", "wrong arguments"), ("3", "something wrong was found"), ("130", "interrupted"),
)  # fmt: skip


def page(parser: argparse.ArgumentParser, version: str) -> str:
    """Return the man page of a program and all of its commands (man(7))."""
    lines = [f'.TH {PROGRAM.upper()} 8 "" "sriov-bond {version}" "System Administration"', ".SH NAME"]
    lines += [f"{_text(PROGRAM)} \\- pools of bonds of SR-IOV virtual functions", ".SH SYNOPSIS", *_synopsis(parser)]
    lines += [".SH DESCRIPTION", _text(parser.description or ""), ".SH OPTIONS", *_options(parser), ".SH COMMANDS"]
    for name, summary, command in commands(parser):
        lines += [f".SS {_text(name)}", _text(f"{summary[:1].upper()}{summary[1:]}."), ".PP", *_synopsis(command)]
        lines += [".PP", _text(command.description or ""), *_options(command)]
        if command.epilog:
            lines += [".PP", _text(command.epilog)]
    for title, rows in (("EXIT STATUS", STATUSES), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for term, meaning in rows:
            lines += [".TP", f".B {_text(term)}", _text(meaning)]
    return "\n".join([*lines, ""])


def commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield the name, summary and parser of each command, those of a command with commands of its own by both names."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield f"{prefix}{name}", summaries.get(name, ""), command
                yield from commands(command, f"{prefix}{name} ")


def _synopsis(parser: argparse.ArgumentParser) -> list[str]:
    usage = parser.format_usage().removeprefix("usage: ")
    program, _, rest = " ".join(usage.split()).partition(" [")
    return [f".B {_text(program)}", _text(f"[{rest}") if rest else ""]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Return a list of arguments and options, those that every command has only for the program itself."""
    lines = []
    formatter = parser._get_formatter()
    for action in parser._actions:
        everywhere = action.dest in ("help", "state_dir", "config") and not any(commands(parser))
        if everywhere or isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        names = formatter._format_action_invocation(action)
        lines += [".TP", f".B {_text(names)}", _text(formatter._expand_help(action) if action.help else "")]
    return lines


def _text(text: str) -> str:
    """Return a text for troff: on one line, which no control character begins."""
    escaped = re.sub(r"\s+", " ", text).strip().replace("\\", "\\e").replace("-", "\\-")
    escaped = escaped.replace("`", "\\(ga").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion for a shell; arguments that are files or directories are completed as such."""
    import shtab

    for one in (parser, *(command for _, _, command in commands(parser))):
        for action in one._actions:
            kinds = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
            if isinstance(action.metavar, str) and action.metavar in kinds:
                action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell)
    return text


def main(tree: Path) -> None:
    """Write all files into a tree."""
    sys.path.insert(0, str(ROOT))
    from cni_sriov_bond import VERSION
    from cni_sriov_bond.ctl.__main__ import parser

    texts = {MAN: page(parser(), VERSION)} | {path: completion(parser(), shell) for shell, path in COMPLETION.items()}
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
