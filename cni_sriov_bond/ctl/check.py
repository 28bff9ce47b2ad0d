"""``check``: everything that is wrong in host files and network files, each with its line; and their schemas for editors."""

from typing import NamedTuple

from cni_sriov_bond.ctl import documents, hostfile, networkfile
from cni_sriov_bond.ctl.documents import Document, Mistake
from cni_sriov_bond.ctl.hostfile_schema import HOST
from cni_sriov_bond.ctl.text import JsonObject, path_text, printable
from cni_sriov_bond.errors import CniError

_LIST, _SINGLE = (".conflist",), (".conf", ".json")


class Finding(NamedTuple):
    """A mistake in a file; ``line`` is None if the file could not be read."""

    line: int | None
    path: str
    problem: str


class Report(NamedTuple):
    """The mistakes in a file; ``note`` is a remark on a file without one.

    ``unread``: it could not be read, or is of no known kind; that is the only finding.
    """

    file: str
    findings: list[Finding]
    note: str = ""
    unread: bool = False

    def lines(self) -> list[str]:
        """Return the lines to print: ``FILE:LINE: path: problem`` for each mistake, or ``FILE: ok``."""
        file = printable(self.file)
        if not self.findings:
            return [f"{file}: ok{f' ({self.note})' if self.note else ''}"]
        return [
            f"{file}{'' if finding.line is None else f':{finding.line}'}: {finding.path}{': ' if finding.path else ''}"
            f"{printable(finding.problem)}"
            for finding in self.findings
        ]

    def to_json(self) -> JsonObject:
        """Return the report as ``check --json`` has it; docs/reference.md lists the keys."""
        return {"file": printable(self.file), "ok": not self.findings, "mistakes": [item._asdict() for item in self.findings]}


def check(file: str) -> Report:
    """Check a file; its suffix says whether it is a host file, a list of plugins or a single plugin."""
    try:
        data = documents.read(file)
    except CniError as failed:
        return Report(file, [Finding(None, "", failed.msg)], unread=True)
    if file.endswith(".toml"):
        document = documents.parse_toml(data)
        mistakes = list(document.mistakes) or hostfile.mistakes(document.value)
        return Report(file, _findings(document, mistakes))
    if file.endswith(_LIST + _SINGLE):
        document = documents.parse_json(data)
        mistakes = list(document.mistakes)
        if document.readable:
            mistakes += networkfile.mistakes(document.value, file.endswith(_LIST))
        note = "" if mistakes or networkfile.has_ours(document.value) else f"no plugin of type {networkfile.PLUGIN} in it"
        return Report(file, _findings(document, mistakes), note)
    problem = (
        "has an unknown suffix: a host file ends in .toml, a list of plugins in .conflist, a single plugin in .conf or .json"
    )
    return Report(file, [Finding(None, "", problem)], unread=True)


def _findings(document: Document, mistakes: list[Mistake]) -> list[Finding]:
    return [Finding(line, path_text(mistake.path), mistake.problem) for line, mistake in document.located(mistakes)]


def schema(name: str) -> JsonObject:
    """Return a JSON schema by its name: network, ipam or host."""
    if name == "host":
        return HOST
    return networkfile.IPAM_SCHEMA if name == "ipam" else networkfile.file_schema()
