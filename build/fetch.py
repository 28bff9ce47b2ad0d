"""Download a source distribution and check its hash: ``python fetch.py NAME VERSION SHA256 TARGET``.

``pip download`` would run the build back end of the distribution to get its metadata. Here pip only locates and transfers
the file, with this machine's settings for indexes, proxies and certificates, and no code in it is run.
This is not a documented interface of pip, so lock/build.txt pins the version of pip that runs it.
"""

import hashlib
import logging
import sys
from pathlib import Path

from pip._internal.commands import create_command
from pip._internal.commands.download import DownloadCommand
from pip._internal.exceptions import PipError
from pip._internal.network.utils import HEADERS
from pip._vendor.packaging.specifiers import SpecifierSet
from pip._vendor.requests import RequestException


def main(name: str, version: str, sha256: str, target: str) -> int:
    """Write the file to ``target`` and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="pip: %(message)s")  # shows why an index did not answer
    try:
        url, data = _transfer(name, version)
    except (PipError, RequestException) as error:
        print(f"the source distribution of {name} {version} cannot be fetched: {error}", file=sys.stderr)
        return 1
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        print(f"{url} has the SHA-256 {digest}, not {sha256}: it is another file", file=sys.stderr)
        return 1
    new = Path(f"{target}.new")
    new.write_bytes(data)
    new.rename(target)
    return 0


def _transfer(name: str, version: str) -> tuple[str, bytes]:
    """Return the file's URL, without a password, and its content."""
    command = create_command("download")
    assert isinstance(command, DownloadCommand)
    options, _ = command.parse_args(["--no-binary", name])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        best = finder.find_best_candidate(name, SpecifierSet(f"=={version}")).best_candidate
        if best is None:
            raise PipError("no index or directory in pip's configuration has it")
        answer = session.get(best.link.url_without_fragment, headers=HEADERS)
        answer.raise_for_status()
        return best.link.redacted_url, answer.content


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
