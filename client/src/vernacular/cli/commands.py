"""Commands that a person is told to run next: they reach the cluster and the namespace of the one that tells them."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Commands:
    """Makes commands; `context` and `kubeconfig` are as they were given, None when they were not."""

    prog: str
    namespace: str
    context: str | None = None
    kubeconfig: str | None = None

    @classmethod
    def of(cls, options: Namespace, namespace: str) -> Commands:
        """For what follows a command line."""
        # the completion of shells has no program to speak of
        return cls(getattr(options, "prog", "vernacular"), namespace, options.context, options.kubeconfig)

    def own(self, verb: str, *words: str, **flags: str | None) -> str:
        """One of this program; a flag that is None or empty is left out."""
        rest = [*words, *_given(**flags), "-n", self.namespace, *self._cluster]
        return f"{self.prog} {shlex.join([verb, *rest])}"

    def kubectl(self, what: Sequence[str], *flags: str, namespaced: bool = True) -> str:
        """One of kubectl."""
        scope = ["-n", self.namespace] if namespaced else []
        return shlex.join(["kubectl", *what, *scope, *self._cluster, *flags])

    @property
    def _cluster(self) -> list[str]:
        return list(_given(context=self.context, kubeconfig=self.kubeconfig))


def _given(**flags: str | None) -> Iterator[str]:
    for name, value in flags.items():
        if value:
            yield from (f"--{name}", value)
