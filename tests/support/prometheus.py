"""A real Prometheus that scrapes one address, and promtool."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from devcluster.paths import from_environment
from devcluster.tools import prometheus

FILES = Path(__file__).parents[2] / "charts" / "vernacular" / "files"
RULES = FILES / "alerts.yaml"
DASHBOARDS = tuple(sorted((FILES / "dashboards").glob("*.json")))


def promtool(*arguments: str, folder: Path) -> str:
    """What promtool prints; raises AssertionError with it when it finds fault."""
    command = [str(prometheus(from_environment()) / "promtool"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """For as long as the context lasts; scrapes every second and evaluates the chart's alerts."""

    def __init__(self, target: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        job = {"job_name": "operator", "static_configs": [{"targets": [target]}]}
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [job],
            "rule_files": [str(RULES)],
        }
        self._log = folder / "prometheus.log"
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        self._command = [
            str(prometheus(from_environment()) / "prometheus"), f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={self._address}",
        ]  # fmt: skip

    def __enter__(self) -> Prometheus:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while not self._ready():
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")[-3000:]
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Its result now; raises AssertionError with Prometheus' words when it is no query."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/query?{query}", timeout=10) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{expression}: {refusal.read().decode()}") from None
        return list(document["data"]["result"])

    def rules(self) -> dict[str, str]:
        """Health of each alert by its name."""
        with urllib.request.urlopen(f"http://{self._address}/api/v1/rules", timeout=10) as answer:
            groups = json.load(answer)["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def expressions(dashboard: Path) -> list[str]:
    """Every query of a dashboard."""
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]
