"""The chart's rules and the table of rights cannot drift apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from vernacular_operator.kube import rights


def test_the_chart_in_the_repository_has_the_rights_of_the_table() -> None:
    assert (Path(__file__).parents[3] / rights.CHART_PATH).read_text(encoding="utf-8") == rights.chart_template()


def test_a_chart_with_other_rights_is_found_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / rights.CHART_PATH).parent.mkdir(parents=True)
    assert rights.main(["--check"]) == 1
    assert "make generate" in capsys.readouterr().err

    assert rights.main([]) == rights.main(["--check"]) == 0
    path = tmp_path / rights.CHART_PATH
    path.write_text(path.read_text(encoding="utf-8").replace("[pods]", "[pods, secrets]"), encoding="utf-8")
    assert rights.main(["--check"]) == 1


def test_no_right_reaches_secrets_config_maps_or_everything() -> None:
    table = (*rights.IN_NAMESPACES, *rights.IN_THE_CLUSTER)

    assert not {right.resource for right in table} & {
        "secrets",
        "configmaps",
        "*",
        "pods/exec",
        "serviceaccounts/token",
    }
    assert not [right for right in table if "*" in (right.group, *right.verbs)]
