"""How the metrics get to Prometheus: as text, as a file for node_exporter's textfile collector, or by HTTP."""

import os
from socket import AF_INET6
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app

from cni_sriov_bond.ctl.metrics import BondCollector
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX = ".prom"  # node_exporter reads no other files
_MODE = 0o644  # node_exporter is not root
_CLIENT_SECONDS = 5.0


class Endpoint(NamedTuple):
    """An address to listen on; ``host`` is "" for all IPv4 addresses."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(text: str) -> Endpoint:
    """Parse ADDR:PORT; an IPv6 address is in brackets, and an empty one means all IPv4 addresses.

    :raises CniError: INVALID_CONFIG.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or (":" in host) != bracketed or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise CniError(INVALID_CONFIG, f"--listen {printable(text)} is not ADDR:PORT, such as 127.0.0.1:9779 or [::1]:9779")
    return Endpoint(host, int(port))


def text(registry: CollectorRegistry) -> str:
    """Return the metrics in Prometheus' text format."""
    return generate_latest(registry).decode()


def write(path: str, content: str) -> None:
    """Replace a file atomically: node_exporter sees the old or the new content.

    :raises CniError: INVALID_CONFIG when node_exporter would not read the file, IO_FAILURE when it cannot be written.
    """
    if not path.endswith(SUFFIX):
        raise CniError(INVALID_CONFIG, f"--textfile {printable(path)} must end in {SUFFIX}: node_exporter reads no other files")
    temporary = f"{path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, _MODE)  # whatever the umask is
            file.write(content)
        os.rename(temporary, path)
    except OSError as failed:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise CniError(IO_FAILURE, f"cannot write {printable(path)}: {failed.strerror}") from None


def serve(where: Endpoint, collector: BondCollector, registry: CollectorRegistry, show: "Callable[[str], None]") -> None:
    """Answer scrapes until the process ends, each with the state at that time.

    One scrape after the other, in the main thread: reading a bond enters the namespace of its container.

    :param show: shows a line when it listens, and for each thing that cannot be read, not again at each scrape.
    :raises CniError: IO_FAILURE when it cannot listen.
    """
    server_class = _Server6 if ":" in where.host else _Server
    try:
        server = make_server(where.host, where.port, make_wsgi_app(registry), server_class, _Handler)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot listen on {where}: {failed.strerror or failed}") from None
    with server:
        show(f"serving metrics on {where}")
        reported: list[str] = []
        while True:
            server.handle_request()
            for problem in collector.problems:
                if problem not in reported:
                    show(printable(f"sriov-bondctl: {problem}"))
            reported = collector.problems


class _Server(WSGIServer):
    def server_bind(self) -> None:
        """Bind without asking a name server for this host's name, which HTTPServer does."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that went away, or that sent nothing for too long."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for each scrape."""
