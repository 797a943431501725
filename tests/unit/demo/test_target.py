"""The programs that the demo calls on a cluster that this repository did not start."""

from __future__ import annotations

import shutil

from demo.target import reached_cluster


def test_a_cluster_of_the_users_is_reached_with_our_kubectl_and_helm() -> None:
    environment = reached_cluster().shell.environment

    assert "KUBECONFIG" not in environment
    for program in ("kubectl", "helm"):
        assert shutil.which(program, path=environment["PATH"])
