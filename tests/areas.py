"""Which area of the product each test file belongs to, and how many minutes of `make test` an area may take."""

from __future__ import annotations

from collections.abc import Iterable

BUDGET_MINUTES = {
    "main job": 12,
    "operator": 8,
    "training": 14,
    "data": 3,
    "evaluation": 6,
    "tracking": 6,
    "command line": 4,
    "openai api": 3,
    "shared cluster": 12,
}

# The longest prefix that fits decides.
PREFIXES = {
    "tests/": "main job",
    "tests/integration/test_cli": "command line",
    "tests/integration/test_openai": "openai api",
    "tests/integration/test_operator": "operator",
    "tests/integration/test_tracking": "tracking",
    "tests/chart/test_bundled_mlflow.py": "tracking",
    "tests/chaos/": "operator",
    "tests/chart/test_admission_policy.py": "operator",
    "tests/chart/test_kueue.py": "shared cluster",
    "tests/chart/test_monitoring.py": "operator",
    "tests/chart/test_network_policy.py": "operator",
    "tests/chart/test_openai_api.py": "openai api",
    "tests/chart/test_operator_rights.py": "operator",
    "tests/chart/test_telemetry.py": "operator",
    "tests/chart/test_upgrades.py": "operator",
    "tests/cluster/test_openai_api.py": "openai api",
    "tests/cluster/test_pod_failures.py": "operator",
    "tests/property/": "operator",
    "tests/unit/cli/": "command line",
    "tests/unit/operator/": "operator",
    "tests/trainer/": "training",
    "tests/trainer/test_prepare": "data",
    "tests/trainer/test_evaluate": "evaluation",
    "tests/trainer/test_publish": "tracking",
    "tests/trainer/test_stage_secrets": "tracking",
    "tests/trainer/test_tracking": "tracking",
}


def area_of(path: str) -> str:
    """Area of a test file, given its path from the repository's root."""
    return PREFIXES[max((prefix for prefix in PREFIXES if path.startswith(prefix)), key=len)]


def table(durations: Iterable[tuple[str, float]]) -> list[str]:
    """Lines of a table: minutes per area against its budget. `durations` are pairs of file path and seconds."""
    seconds = dict.fromkeys(BUDGET_MINUTES, 0.0)
    for path, duration in durations:
        seconds[area_of(path)] += duration
    lines = [f"{'area':<12} {'minutes':>8} {'budget':>7}"]
    for area, budget in BUDGET_MINUTES.items():
        over = "  over" if seconds[area] > 60 * budget else ""
        lines.append(f"{area:<12} {seconds[area] / 60:>8.1f} {budget:>7}{over}")
    return lines
