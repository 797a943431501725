"""Preflight, tools, binaries and the owner mark: the parts that need no cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devcluster import owner, preflight
from devcluster.binaries import (
    PROGRAMS,
    Program,
    key,
    kubernetes_versions,
    linker_flags,
    module_file,
    module_version,
)
from devcluster.errors import DevclusterError
from devcluster.paths import Paths
from devcluster.pins import go_mod, pin
from devcluster.processes import ProcessTable
from devcluster.shell import run, wait_until
from devcluster.tools import GO_MINIMUM, go_version

GO = Path(__file__).resolve().parents[3] / "devcluster/go"


def test_missing_programs_become_packages_named_once() -> None:
    programs = {"ip": "iproute2", "ss": "iproute2", "runc": "runc"}
    assert preflight.missing_packages(programs, exists=lambda name: name == "runc") == ["iproute2"]


def test_a_file_is_looked_for_by_its_path_and_a_program_on_path(tmp_path: Path) -> None:
    (tmp_path / "keyring.gpg").touch()
    assert preflight.present(f"{tmp_path}/keyring.gpg")
    assert not preflight.present(f"{tmp_path}/other.gpg")
    assert preflight.present("sh")
    assert not preflight.present("no-such-program")


def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DevclusterError, match="apt-get install -y buildah"):
        preflight.ensure_programs({"buildah": "buildah"})


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DevclusterError, match="sudo -E"):
        preflight.check_root()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.9 linux/amd64", (1, 9)),
        ("go version devel +abc linux/amd64", (0, 0)),
    ],
)
def test_go_version(text: str, version: tuple[int, int]) -> None:
    assert go_version(text) == version


def test_the_module_asks_for_no_newer_go_than_the_driver_does() -> None:
    line = next(line for line in (GO / "go.mod").read_text().splitlines() if line.startswith("go "))
    major, minor, *_ = line.split()[1].split(".")
    assert (int(major), int(minor)) == GO_MINIMUM


def test_programs_report_the_upstream_versions() -> None:
    go_mod = (GO / "go.mod").read_text()
    version = module_version(go_mod, "k8s.io/kubernetes")
    flags = linker_flags(go_mod)
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"helm.sh/helm/v3/internal/version.version={module_version(go_mod, 'helm.sh/helm/v3')}" in flags


def test_every_pinned_version_is_what_its_file_is_called_and_is_locked() -> None:
    versions = kubernetes_versions(GO)
    assert set(versions) >= {"1.34", "1.35", "1.36", "1.37"}
    for minor, file in versions.items():
        version = module_version(file.read_text(), "k8s.io/kubernetes")
        assert version.startswith(f"v{minor}.")
        assert f"k8s.io/kubernetes {version} h1:" in file.with_suffix(".sum").read_text()
        assert f"gitVersion={version}" in linker_flags(file.read_text())
    assert len({key(GO, PROGRAMS[0], file) for file in versions.values()}) == len(versions)


def test_a_version_that_is_not_pinned_is_named_with_those_that_are() -> None:
    with pytest.raises(DevclusterError, match=r"1\.33 is not pinned; there are 1\.34, 1\.35"):
        module_file(GO, "1.33")
    assert module_file(GO, "") == GO / "go.mod"


def test_a_pinned_module_replaces_what_upstream_has_in_folders() -> None:
    upstream = "require k8s.io/api v0.0.0\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
    made = go_mod("module devcluster\n\ngo 1.26.0\n", upstream, "1.35.4")
    assert made == (
        "module devcluster\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.35.4\n\n"
        "replace (\n\tk8s.io/api => k8s.io/api v0.35.4\n)\n"
    )


@pytest.mark.parametrize("version", ["1.36", "v1.36.3", "1.36.3-rc.0", "../x"])
def test_a_version_to_pin_is_exact(version: str, tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match=r"like 1\.36\.3"):
        pin(Paths(tmp_path, tmp_path), version)


def test_unknown_module_is_an_error() -> None:
    with pytest.raises(DevclusterError, match=r"does not require example\.com/x"):
        module_version("module m\n", "example.com/x")


def test_an_edited_main_changes_the_key_of_its_own_program_only(tmp_path: Path) -> None:
    for name in ("kube", "coredns"):
        (tmp_path / "cmd" / name).mkdir(parents=True)
        (tmp_path / "cmd" / name / "main.go").write_text("package main\n")
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).touch()
    kube, coredns = (Program(name, f"./cmd/{name}") for name in ("kube", "coredns"))
    before = key(tmp_path, kube), key(tmp_path, coredns)
    (tmp_path / "cmd/kube/main.go").write_text("package main // edited\n")
    assert key(tmp_path, kube) != before[0]
    assert key(tmp_path, coredns) == before[1]
    (tmp_path / "go.sum").write_text("new\n")
    assert key(tmp_path, coredns) != before[1]


def test_every_program_has_its_source() -> None:
    own = [program for program in PROGRAMS if program.package.startswith("./")]
    assert own
    assert all((GO / program.package / "main.go").is_file() for program in own)


class TestOwner:
    def test_the_cluster_of_another_folder_is_in_the_way_while_it_runs(self, tmp_path: Path) -> None:
        mark, other = tmp_path / "mark", tmp_path / "cache/clusters/dev"
        table = ProcessTable(other / "processes", other / "log")
        process = table.start("etcd", ["sleep", "60"])
        owner.claim(other, mark)
        with pytest.raises(DevclusterError, match=f"CACHE_DIR={tmp_path}/cache python3 -m devcluster down"):
            owner.check(tmp_path / "mine", mark)
        table.kill([process])
        owner.check(tmp_path / "mine", mark)

    def test_release_takes_back_the_own_mark_only(self, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        owner.claim(tmp_path / "a", mark)
        owner.release(tmp_path / "b", mark)
        assert mark.exists()
        owner.check(tmp_path / "a", mark)
        owner.release(tmp_path / "a", mark)
        assert not mark.exists()


class TestShell:
    def test_failure_carries_command_and_words(self) -> None:
        with pytest.raises(DevclusterError, match=r"(?s)sh -c .*exit 3.*no luck"):
            run(["sh", "-c", "echo no luck >&2; exit 3"])

    def test_missing_program_points_to_preflight(self) -> None:
        with pytest.raises(DevclusterError, match="preflight"):
            run(["no-such-program"])

    def test_log_is_named_and_its_end_is_shown(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        with pytest.raises(DevclusterError, match=f"full output: {log}") as error:
            run(["sh", "-c", "seq 10000; exit 1"], log=log)
        assert str(error.value).endswith("10000")
        assert len(str(error.value)) < 4000

    def test_time_out(self) -> None:
        with pytest.raises(DevclusterError, match="not done after"):
            run(["sleep", "10"], timeout=0.05)
        with pytest.raises(DevclusterError, match="pigs fly: not so after 0 s; wait longer"):
            wait_until("pigs fly", lambda: False, timeout=0, advice="wait longer")
