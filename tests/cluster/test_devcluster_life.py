"""A whole life of a second dev cluster in a network namespace of its own: start, crash, restart, stop, nothing left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import cgroups
from devcluster.binaries import build
from devcluster.layout import cgroup_prefix
from devcluster.paths import Paths, from_environment

pytestmark = [pytest.mark.cluster, pytest.mark.long]
REPOSITORY = Path(__file__).resolve().parents[2]

# In there the addresses and rules of the machine's own cluster do not exist; /run is private for the same reason.
ISOLATED = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-ec"]
PREPARE = "ip link set lo up; mount -t tmpfs tmpfs /run\n"
SHOW_WHAT_IS_LEFT = """
echo LINKS $(ip -brief link | grep -v '^lo' | wc -l)
echo ROUTES $(ip route | wc -l)
echo RULES $(iptables-save | grep -c DEVCLUSTER || true)
echo MOUNTS $(grep -c "$CACHE_DIR" /proc/mounts || true)
echo PROCESSES $(pgrep --full --count -- "$CACHE_DIR/" || true)
"""
NOTHING = ["LINKS 0", "ROUTES 0", "RULES 0", "MOUNTS 0", "PROCESSES 0"]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, with the programs that are already built; on one file system with the nodes' images."""
    mine = from_environment()
    build(mine)
    folder = mine.cache / f"test-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "bin").symlink_to(mine.binaries)
    yield folder
    shutil.rmtree(folder)


def isolated(cache: Path, script: str) -> list[str]:
    """Run a shell script in the namespaces; returns its lines. `dc` is the driver, kubectl is on PATH."""
    driver = f'dc() {{ "{sys.executable}" -m devcluster "$@"; }}\n'
    environment = os.environ | {
        "CACHE_DIR": str(cache),
        "KUBECONFIG": str(Paths(REPOSITORY, cache).kubeconfig("dev")),
        "PATH": f"{build(from_environment())}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*ISOLATED, PREPARE + driver + script],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def assert_nothing_left(cache: Path, lines: list[str]) -> None:
    assert lines[-len(NOTHING) :] == NOTHING
    assert cgroups.starting_with(cgroup_prefix(Paths(REPOSITORY, cache).cluster("dev"))) == []
    assert [entry.name for entry in (cache / "clusters").iterdir()] == []


def test_down_leaves_nothing(cache: Path) -> None:
    lines = isolated(cache, f"dc up\nkubectl get nodes --no-headers\ndc down\n{SHOW_WHAT_IS_LEFT}")
    assert sum(" Ready " in line for line in lines) == 2
    assert_nothing_left(cache, lines)


def test_a_crash_loses_no_object_and_up_repairs_it(cache: Path) -> None:
    lines = isolated(
        cache,
        f"""
        dc up --nodes 1
        kubectl create configmap kept --from-literal=key=value
        kill -9 $(dc status | awk '$1 == "node-1-init" || $1 == "kube-apiserver" {{print $3}}')
        dc status | grep broken
        dc up --nodes 1
        kubectl get configmap kept -o jsonpath='{{.data.key}}{{"\\n"}}'
        kubectl -n kube-system wait pod -l k8s-app=kube-dns --for=condition=Ready --timeout=60s
        dc down
        {SHOW_WHAT_IS_LEFT}
        """,
    )
    assert "value" in lines
    assert_nothing_left(cache, lines)


def test_down_works_on_what_a_reboot_left(cache: Path) -> None:
    """Every process gone at once, links and groups still there."""
    lines = isolated(
        cache,
        f"""
        dc up --nodes 1
        kill -9 $(dc status | awk '$2 == "pid" {{print $3}}')
        dc down
        {SHOW_WHAT_IS_LEFT}
        """,
    )
    assert_nothing_left(cache, lines)


def test_a_control_plane_of_another_name_leaves_nothing(cache: Path) -> None:
    lines = isolated(
        cache,
        f"""
        dc up --control-plane-only --name one --with-controllers
        dc up --control-plane-only --name two
        KUBECONFIG=$CACHE_DIR/clusters/one/admin.kubeconfig kubectl get namespaces
        dc down --name one
        KUBECONFIG=$CACHE_DIR/clusters/two/admin.kubeconfig kubectl get namespaces
        dc down --name two
        {SHOW_WHAT_IS_LEFT}
        """,
    )
    assert sum(line.startswith("kube-system") for line in lines) == 2
    assert_nothing_left(cache, lines)
