"""Fixtures that several kinds of tests share. Servers start when a test first asks for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

import areas
import long_run
from support import apiserver
from support.apiserver import ApiServer
from support.audit import audit_of
from support.service_accounts import OPERATOR


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test or a stage that it calls sets in the environment ends with the test: MLflow's limits, for example."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """A real API server without controllers; the CRD is installed."""
    with apiserver.running(f"pytest-{os.getpid()}") as server:
        server.install_crd()
        yield server


@pytest.fixture(scope="session")
def api_server_with_controllers() -> Iterator[ApiServer]:
    """A real API server with the controller manager (Jobs, garbage collection, namespaces); the CRD is installed."""
    with apiserver.running(f"pytest-{os.getpid()}-full", with_controllers=True) as server:
        server.install_crd()
        yield server
        if not os.environ.get("VERNACULAR_TEST_KUBECONFIG"):
            refused = audit_of(server, OPERATOR).refused
            assert not refused, "the operator asked for what it has no right to:\n" + "\n".join(refused)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long-summary", type=Path, metavar="FILE", help="write what the long tests did to this page")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    """Minutes per area, set-up of fixtures included; after a whole run the page about the long tests, if asked for."""
    whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if whole and "deselected" not in terminalreporter.stats and (summary := config.getoption("--long-summary")):
        summary.write_text(long_run.page(terminalreporter.stats))
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "duration")]
    terminalreporter.section("minutes per area")
    for line in areas.table((report.nodeid, report.duration) for report in reports):
        terminalreporter.write_line(line)
