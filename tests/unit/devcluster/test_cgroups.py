"""Control groups in both versions, on folders that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import cgroups


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for controller in ("cpuset", "memory", "freezer"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    (tmp_path / "unified").mkdir()
    for file in ("cgroup.procs", "cgroup.controllers"):
        (tmp_path / "unified" / file).touch()
    (tmp_path / "cpu").symlink_to("memory")
    return tmp_path


def test_version_1_gets_a_group_in_every_hierarchy_but_the_unified_one(version_1: Path) -> None:
    cgroups.create("devcluster-x-node-1", version_1)
    made = cgroups.starting_with("devcluster-x-", version_1)
    assert [group.parent.name for group in made] == ["cpuset", "freezer", "memory"]


def test_version_1_group_gets_cores_and_memory_nodes(version_1: Path) -> None:
    cgroups.create("devcluster-x-node-1", version_1)
    group = version_1 / "cpuset/devcluster-x-node-1"
    assert (group / "cpuset.cpus").read_text() == "0-1\n"
    assert (group / "cpuset.mems").read_text() == "0\n"


def test_groups_in_the_unified_tree_and_of_others_are_told_apart(version_1: Path) -> None:
    (version_1 / "unified/devcluster-x-node-1").mkdir()
    (version_1 / "memory/devcluster-y-node-1").mkdir()
    assert cgroups.starting_with("devcluster-x-", version_1) == [version_1 / "unified/devcluster-x-node-1"]


def test_version_2_turns_on_the_controllers_there_are(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids rdma\n")
    cgroups.create("devcluster-x-node-1", tmp_path)
    wanted = "+cpu +memory +pids"
    assert (tmp_path / "cgroup.subtree_control").read_text() == wanted
    assert (tmp_path / "devcluster-x-node-1/cgroup.subtree_control").read_text() == wanted


def test_removing_takes_children_first_and_ours_only(version_1: Path) -> None:
    (version_1 / "memory/devcluster-x-node-1/kubepods/pod1").mkdir(parents=True)
    (version_1 / "memory/devcluster-y-node-1").mkdir()
    cgroups.remove_all("devcluster-x-", version_1)
    assert [entry.name for entry in (version_1 / "memory").iterdir() if entry.is_dir()] == ["devcluster-y-node-1"]
