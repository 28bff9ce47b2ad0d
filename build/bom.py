"""The list of third-party parts in the built tree, with versions: a CycloneDX document for vulnerability scanners.

It has no time and no serial number, so that two builds of the same parts have the same bytes.
"""

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

NAME = "sriov-bond.cdx.json"
# Debian packages whose files are linked or copied: libpython and the standard library, expat, zlib, and the C libraries
# that _ctypes and rpds need.
DEBIAN = (f"libpython3.{sys.version_info[1]}-dev", "libexpat1-dev", "zlib1g-dev", "libffi8", "libgcc-s1")


def installed(*packages: str) -> dict[str, tuple[str, str]]:
    """Return source package and version of each of these Debian packages that is installed, by name."""
    command = ["/usr/bin/dpkg-query", "-W", "-f", "${Package} ${source:Package} ${source:Version}\n", *packages]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    lines = sorted(line.split() for line in output.splitlines())
    return {package: (source, version) for package, source, version in lines}


def document(version: str, distributions: list[Distribution]) -> str:
    """Return the text of the document for a tree that contains these distributions."""
    components = [_debian(*part) for part in installed(*DEBIAN).values()]
    for distribution in distributions:
        components.append(_python(distribution))
        components += _crates(distribution)
    value = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"bom-ref": "sriov-bond", "type": "application", "name": "sriov-bond", "version": version}
            | _licence("Apache-2.0")
        },
        "components": components,
    }
    return json.dumps(value, indent=1) + "\n"


def _debian(source: str, version: str) -> dict[str, object]:
    release = platform.freedesktop_os_release()
    system = release["ID"]
    purl = f"pkg:deb/{system}/{source}@{version.replace('+', '%2B').replace(':', '%3A')}"
    purl += f"?arch=source&distro={system}-{release['VERSION_ID']}"
    return {"bom-ref": purl, "type": "library", "name": source, "version": version, "purl": purl}


def _python(distribution: Distribution) -> dict[str, object]:
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    purl = f"pkg:pypi/{name}@{distribution.version}"
    component = {"bom-ref": purl, "type": "library", "name": name, "version": distribution.version, "purl": purl}
    metadata = distribution.metadata.json
    return component | _licence(str(metadata.get("license_expression") or metadata.get("license") or ""))


def _crates(distribution: Distribution) -> list[dict[str, object]]:
    """Return the Rust crates in a distribution, from the CycloneDX document that it contains."""
    crates: list[dict[str, object]] = []
    for file in distribution.files or ():
        if file.name.endswith(".cyclonedx.json"):
            for crate in json.loads(Path(str(file.locate())).read_text())["components"]:
                component = {
                    key: crate[key] for key in ("type", "name", "version", "purl", "author", "licenses") if key in crate
                }
                crates.append({"bom-ref": crate["purl"], **component})
    return crates


def _licence(text: str) -> dict[str, object]:
    """Return the member for a licence: an SPDX expression as such, any other text as a name."""
    if not text:
        return {}
    if re.fullmatch(r"[\w.+-]+(?: (?:OR|AND|WITH) [\w.+-]+)*", text):
        return {"licenses": [{"expression": text}]}
    return {"licenses": [{"license": {"name": text.strip().splitlines()[0]}}]}
