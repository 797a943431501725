"""Arguments that contradict each other, and where state goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster.cli import main, parser, up_options
from devcluster.cluster import Cluster, Options
from devcluster.errors import DevclusterError
from devcluster.paths import Paths, from_environment


def options(*arguments: str) -> Options:
    return up_options(parser().parse_args(["up", *arguments]))


def test_two_nodes_without_gpus_by_default() -> None:
    assert options() == Options(nodes=2, fake_gpus=0)


def test_control_plane_has_no_nodes() -> None:
    assert options("--control-plane-only", "--name", "t") == Options(nodes=0, with_controllers=False)
    assert options("--control-plane-only", "--name", "t", "--with-controllers").with_controllers
    assert options("--control-plane-only", "--name", "t", "--kubernetes", "1.34").kubernetes == "1.34"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--control-plane-only"], "needs a name of its own"),
        (["--control-plane-only", "--name", "t", "--fake-gpus", "1"], "--fake-gpus needs nodes"),
        (["--kubernetes", "1.34"], "nodes run the usual version"),
        (["--with-controllers"], "goes with --control-plane-only"),
        (["--name", "t"], "other names need --control-plane-only"),
        (["--nodes", "0"], "1 to 9 nodes"),
        (["--nodes", "10"], "1 to 9 nodes"),
        (["--fake-gpus", "-1"], "cannot be negative"),
    ],
)
def test_contradictions_are_refused(arguments: list[str], reason: str) -> None:
    with pytest.raises(DevclusterError, match=reason):
        options(*arguments)


@pytest.mark.parametrize("name", ["", "..", "A", "a/b", "-a", "x" * 41])
def test_cluster_names_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DevclusterError, match="lower-case letters"):
        Paths(tmp_path, tmp_path).cluster(name)


def test_errors_are_one_line_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    assert main(["up", "--nodes", "0"]) == 1
    assert capsys.readouterr().err == "devcluster: --nodes 0: 1 to 9 nodes are possible\n"


@pytest.mark.parametrize(
    ("environment", "cache"),
    [
        ({"CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/vernacular"),
        ({"HOME": "/h"}, "/h/.cache/vernacular"),
    ],
)
def test_cache_folder(environment: dict[str, str], cache: str) -> None:
    assert from_environment(environment).cache == Path(cache)


def test_status_of_a_cluster_that_never_ran(tmp_path: Path) -> None:
    assert Cluster(Paths(tmp_path, tmp_path), "dev", {}).describe() == ["dev: down"]
