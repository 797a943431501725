"""The operator's rights, pinned: a right more is a decision, not an accident."""

from __future__ import annotations

from typing import Any

import pytest

from support.helm import BUNDLED, Helm, Manifest, find, names

Rules = set[tuple[str, str, tuple[str, ...], tuple[str, ...]]]

IN_A_NAMESPACE: Rules = {
    ("vernacular.dev", "finetunejobs", ("delete", "get", "list", "watch"), ()),
    ("vernacular.dev", "finetunejobs/status", ("patch",), ()),
    ("vernacular.dev", "finetunejobs/finalizers", ("update",), ()),
    ("batch", "jobs", ("create", "delete", "get", "list", "watch"), ()),
    ("", "pods", ("delete", "list", "watch"), ()),
    ("", "services", ("create", "get"), ()),
    ("", "persistentvolumeclaims", ("create", "get"), ()),
    ("", "events", ("create", "list"), ()),
}
IDENTITY: Rules = {("", "namespaces", ("get",), ("kube-system",))}
OWN: Rules = {("", "namespaces", ("get",), ())}
RUNTIMES: Rules = {("vernacular.dev", "finetuneruntimes", ("list",), ())}


def rules(role: Manifest) -> Rules:
    return {
        (group, resource, tuple(sorted(rule["verbs"])), tuple(rule.get("resourceNames", [])))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def place(manifest: Manifest) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def rules_of_roles(manifests: list[Manifest]) -> dict[tuple[str, str], Rules]:
    return {place(each): rules(each) for each in manifests if each["kind"] == "Role"}


def bound(binding: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    (subject,) = binding["subjects"]
    return binding["roleRef"], subject


ACCOUNT = {"kind": "ServiceAccount", "name": "vernacular", "namespace": "system"}


def test_cluster_mode_has_exactly_these_rights(helm: Helm) -> None:
    manifests = helm.render(BUNDLED)

    assert rules(find(manifests, "ClusterRole")) == IN_A_NAMESPACE | IDENTITY | RUNTIMES
    role, subject = bound(find(manifests, "ClusterRoleBinding"))
    assert (role["kind"], role["name"]) == ("ClusterRole", "vernacular")
    assert subject == ACCOUNT
    assert names(manifests, "Role") == names(manifests, "RoleBinding") == set()


def test_namespaced_mode_has_the_same_rights_in_those_namespaces_alone(helm: Helm) -> None:
    manifests = helm.render({**BUNDLED, "watchNamespaces": ["hr", "legal"]})

    assert rules_of_roles(manifests) == {
        ("hr", "vernacular"): IN_A_NAMESPACE,
        ("legal", "vernacular"): IN_A_NAMESPACE,
        ("system", "vernacular-identity"): OWN,
    }
    bindings = [each for each in manifests if each["kind"] == "RoleBinding"]
    assert {place(each) for each in bindings} == set(rules_of_roles(manifests))
    for each in bindings:
        role, subject = bound(each)
        assert (role["kind"], role["name"]) == ("Role", each["metadata"]["name"])
        assert subject == ACCOUNT


@pytest.mark.parametrize("watched", [["hr"], ["hr", "aaa"], ["system"], ["aaa", "system"]])
def test_the_operator_is_told_its_own_namespace_whatever_it_watches(helm: Helm, watched: list[str]) -> None:
    manifests = helm.render({**BUNDLED, "watchNamespaces": watched})

    assert rules_of_roles(manifests)["system", "vernacular-identity"] == OWN
    (container,) = find(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert "--namespace=system" in container["args"]


def test_namespaced_mode_binds_no_cluster_role(helm: Helm) -> None:
    manifests = helm.render({**BUNDLED, "watchNamespaces": ["hr"]})

    assert names(manifests, "ClusterRoleBinding") == set()
    for role in (each for each in manifests if each["kind"] == "ClusterRole"):
        assert {resource for _, resource, _, _ in rules(role)} == {"finetunejobs"}


def test_people_get_rights_on_jobs_through_the_clusters_own_roles(helm: Helm) -> None:
    manifests = helm.render(BUNDLED)
    view, edit = find(manifests, "ClusterRole", "vernacular-view"), find(manifests, "ClusterRole", "vernacular-edit")

    assert rules(view) == {
        ("vernacular.dev", "finetunejobs", ("get", "list", "watch"), ()),
        ("vernacular.dev", "finetuneruntimes", ("get", "list", "watch"), ()),
    }
    assert rules(edit) == {
        ("vernacular.dev", "finetunejobs", ("create", "delete", "deletecollection", "patch", "update"), ())
    }
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {label for label in view["metadata"]["labels"] if label.startswith(prefix)} == {
        prefix + role for role in ("view", "edit", "admin")
    }
    assert {label for label in edit["metadata"]["labels"] if label.startswith(prefix)} == {
        prefix + role for role in ("edit", "admin")
    }


def test_the_clusters_own_roles_can_be_left_alone(helm: Helm) -> None:
    manifests = helm.render({**BUNDLED, "rbac": {"aggregate": False}})

    assert names(manifests, "ClusterRole") == {"vernacular"}
