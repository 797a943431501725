"""The operator's rights on the Kubernetes API: one table, from which the chart's rules are generated.

`python -m vernacular_operator.kube.rights` writes the chart's file below the current folder, which is the repository;
with `--check` it exits 1 when the file differs from the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vernacular.api.constants import GROUP, PLURAL, RUNTIME_PLURAL

CHART_PATH = Path("charts") / "vernacular" / "templates" / "operator" / "_rules.tpl"
_GENERATED = "Generated from operator/src/vernacular_operator/kube/rights.py by `make generate`; do not edit"


@dataclass(frozen=True)
class Right:
    """What the operator does with a resource ("jobs", "finetunejobs/status"), and why; `names` (): with any object."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()

    @property
    def rule(self) -> dict[str, Any]:
        """The rule of a Role or ClusterRole."""
        named = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], **named, "verbs": list(self.verbs)}


IN_NAMESPACES = (
    Right(GROUP, PLURAL, ("get", "list", "watch", "delete"), "what is to be done; ttlSecondsAfterFinished"),
    Right(GROUP, f"{PLURAL}/status", ("patch",), "what became of it"),
    Right(GROUP, f"{PLURAL}/finalizers", ("update",), "blockOwnerDeletion in the owner references of children"),
    Right("batch", "jobs", ("get", "list", "watch", "create", "delete"), "one attempt of a stage each"),
    Right("", "pods", ("list", "watch", "delete"), "why an attempt ended; pods of a lost node are removed"),
    Right("", "services", ("get", "create"), "names of training pods; an existing one is looked at"),
    Right("", "persistentvolumeclaims", ("get", "create"), "workspaces; an existing one is looked at"),
    Right("", "events", ("create", "list"), "what happened, for kubectl describe; why a claim has no volume"),
)
FOR_KUEUE = (Right("kueue.x-k8s.io", "workloads", ("list", "watch"), "what the queue of a job waits for"),)
IN_ITS_OWN_NAMESPACE = (
    Right("", "namespaces", ("get",), "its uid tells clusters apart whose server has a public certificate"),
)
IN_THE_CLUSTER = (
    Right(GROUP, RUNTIME_PLURAL, ("list",), "what the platform team decides, read when a job is accepted"),
    Right("", "namespaces", ("get",), "its uid tells clusters apart that share an MLflow server", ("kube-system",)),
)


def chart_template() -> str:
    """The named templates that the chart's roles include."""
    parts = [
        ("vernacular.rules", IN_NAMESPACES),
        ("vernacular.kueueRules", FOR_KUEUE),
        ("vernacular.ownNamespaceRules", IN_ITS_OWN_NAMESPACE),
        ("vernacular.clusterRules", IN_THE_CLUSTER),
    ]
    defined = [f'{{{{- define "{name}" -}}}}\n{_rules(rights)}{{{{- end }}}}\n' for name, rights in parts]
    return "\n".join([f"{{{{/* {_GENERATED} */}}}}\n", *defined])


def _rules(rights: Iterable[Right]) -> str:
    return "".join(
        f"# {right.why}\n{yaml.safe_dump([right.rule], sort_keys=False, default_flow_style=None)}" for right in rights
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line of the generator; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vernacular_operator.kube.rights", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when the chart differs from the table")
    path, text = Path.cwd() / CHART_PATH, chart_template()
    if not parser.parse_args(arguments).check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{CHART_PATH}: differs from the table of rights; run: make generate\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
