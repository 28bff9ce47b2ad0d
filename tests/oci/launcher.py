"""sriov-bond-runtime, compiled for a test: with a host file, a hook and runtimes in the test's own directory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import REPOSITORY, program

SOURCE = REPOSITORY / "build/runtime.c"
# A runtime that writes down how it was started, with the config.json in the directory that it would read.
_RUNTIME = r"""
import json, os, signal, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
descriptors = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        descriptors[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass  # of the listing itself
ignored = int(next(line for line in open("/proc/self/status") if line.startswith("SigIgn")).split()[1], 16)
started = {
    "name": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:], "pid": os.getpid(), "directory": os.getcwd(),
    "environment": dict(os.environ), "descriptors": descriptors, "ignored": ignored,
}
with open(f"{here}/started.json", "w") as file:
    json.dump(started, file)
print("the runtime's output")
print("the runtime's errors", file=sys.stderr)
sys.exit(17)
"""
_PREPARE = "import sys; from cni_sriov_bond.oci.prepare import main; sys.exit(main(sys.argv[2:]))"


class Started(NamedTuple):
    """How the launcher ended, and how the runtime was started, if it was."""

    status: int
    out: str
    err: str
    pid: int
    runtime: dict[str, Any] | None


class Launcher:
    """A compiled launcher with a runtime ``runc`` in PATH."""

    def __init__(self, compiled: Path, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.path = Path(shutil.copy2(compiled, self.bin / "sriov-bond-runtime"))
        self.host_file = compiled.with_name("host.toml")  # its path is compiled in
        self.host_file.unlink(missing_ok=True)
        self.runtimes = directory / "runtimes"
        self.runtimes.mkdir()
        self.runtime("runc")
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        self.log = directory / "log.json"
        program(self.bin, "sriov-bond-hook", f"exec {sys.executable} -c '{_PREPARE}' \"$@\"\n")
        self.environment = {"PATH": f"{self.runtimes}:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}

    def runtime(self, name: str) -> Path:
        """Create a runtime that writes down how it was started."""
        return program(self.runtimes, name, _RUNTIME, sys.executable)

    def configure(self, text: str) -> None:
        """Write the host file."""
        self.host_file.write_text(text)
        self.host_file.chmod(0o644)

    def run(self, *arguments: str | Path, cwd: Path | None = None, prefix: tuple[str, ...] = (), **options: Any) -> Started:
        """Run the launcher and return what became of it.

        :param prefix: a program that executes it, with arguments.
        """
        record = self.runtimes / "started.json"
        record.unlink(missing_ok=True)
        process = subprocess.Popen(
            [*prefix, self.path, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.bundle,
            text=True,
            errors="replace",
            **options,
        )
        out, err = process.communicate(timeout=60)
        runtime = json.loads(record.read_text()) if record.exists() else None
        return Started(process.returncode, out, err, process.pid, runtime)

    def config(self, *environment: str, directory: Path | None = None, **keys: Any) -> Path:
        """Write a config.json into the bundle, or into another directory."""
        document = {**container(*environment), **keys}
        path = (directory or self.bundle) / "config.json"
        path.write_text(json.dumps(document))
        return path

    def errors(self) -> list[str]:
        """Return the messages of the error lines in the log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert all(sorted(line) == ["level", "msg", "time"] for line in lines)
        return [line["msg"] for line in lines if line["level"] == "error"]


def compile_launcher(directory: Path, *options: str) -> Path:
    """Compile the launcher with the host file in a directory, and with no other directories of runtimes than PATH's.

    :param options: of the compiler, instead of those that find mistakes.
    """
    compiled = directory / "compiled"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
    flags += options or ("-O1", "-fsanitize=undefined,address")
    defined = [f'-DHOST_FILE="{directory}/host.toml"', '-DDIRECTORIES=""']
    subprocess.run(["gcc", *flags, *defined, "-o", compiled, SOURCE], check=True)
    return compiled


def container(*environment: str) -> dict[str, Any]:
    """Return a config.json as Docker writes it, with more environment."""
    namespaces = [{"type": kind} for kind in ("mount", "network", "uts", "pid", "ipc")]
    return {
        "ociVersion": "1.0.2",
        "process": {"args": ["sh"], "env": ["PATH=/bin", *environment], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": namespaces},
    }


def hooks_of(config: Path) -> dict[str, Any]:
    """Return the hooks in a config.json."""
    hooks: dict[str, Any] = json.loads(config.read_text()).get("hooks", {})
    return hooks
