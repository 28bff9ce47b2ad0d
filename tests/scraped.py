"""Metrics as a Prometheus server has them: Debian's prometheus scrapes texts, and answers the dashboard's queries."""

import contextlib
import http.server
import json
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.lab.waiting import wait_until
from tests.support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

DASHBOARD = REPOSITORY / "conf/grafana/sriov-bond.json"
INTERVAL = "1s"
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "60s", "$pool": ".*", "$instance": ".*"}


class Query(NamedTuple):
    """A query of the dashboard: its panel, the text, and the format of the legend."""

    panel: str
    expression: str
    legend: str


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return value


def queries() -> list[Query]:
    """Return every query of every panel."""
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def lint(prometheus: Path, text: str) -> str:
    """Return what `promtool check metrics` says of metrics; nothing if they follow Prometheus' rules."""
    done = subprocess.run([prometheus / "promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == (not output), "it fails and says why, or neither"
    return output


class Server:
    """A running prometheus."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self.page = ""  # what it scrapes
        self.scrapes = 0

    def show(self, text: str, scrapes: int = 3) -> None:
        """Let it scrape a text some times."""
        self.page = text
        enough = self.scrapes + scrapes
        wait_until(lambda: self.scrapes >= enough, "prometheus to scrape", 30)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a query; an error of prometheus fails."""
        return self._ask("query", expression)

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the result of a query at all times from begin to end, as Unix time."""
        return self._ask("query_range", expression, start=begin, end=end, step=step)

    def _ask(self, kind: str, expression: str, **times: float) -> list[dict[str, Any]]:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        address = f"{self._address}/api/v1/{kind}?{urllib.parse.urlencode({'query': expression, **times})}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{expression}: {json.load(refused)['error']}") from None
        return result

    def ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=30):
                return True
        except OSError:  # nobody listens yet, or it answers 503
            return False


@contextlib.contextmanager
def running(prometheus: Path, directory: Path) -> "Iterator[Server]":
    """Run prometheus for the duration of the block; it scrapes ``Server.page``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(port)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(server.page.encode())
            server.scrapes += 1

        def log_message(self, format: str, *args: object) -> None:
            pass

    target = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    config = directory / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}}}\nscrape_configs: [{{job_name: sriov-bond, "
        f'static_configs: [{{targets: ["127.0.0.1:{target.server_port}"], labels: {{instance: host1}}}}]}}]\n'
    )
    options = [f"--config.file={config}", f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([prometheus / "prometheus", *options], stdout=log, stderr=log)
    try:
        wait_until(server.ready, "prometheus to start", 60)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        target.shutdown()
        target.server_close()


def labels(legend: str) -> set[str]:
    """Return the labels that a legend shows."""
    return set(re.findall(r"{{(\w+)}}", legend))


def empty_or_unnamed(server: Server) -> list[str]:
    """Run every query of the dashboard; return the panels of those without a result, or without a label of their legend."""
    wrong = []
    for query in queries():
        result = server.query(query.expression)
        if not result or any(labels(query.legend) - set(series["metric"]) for series in result):
            wrong.append(f"{query.panel}: {query.expression}: {result[:1]}")
    return wrong
