"""Affinity of pods as in a pod's spec: typed, so that a misspelt field is refused when the job is applied."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from vernacular.api.base import ATOMIC_LIST, SpecModel, cel, rules
from vernacular.api.strings import LabelKey, LabelMap, LabelValue, NamespaceName

_Values = Annotated[tuple[LabelValue, ...], Field(min_length=1, max_length=32), ATOMIC_LIST]
_Keys = Annotated[tuple[LabelKey, ...], Field(min_length=1, max_length=8), ATOMIC_LIST]
_Weight = Annotated[int, Field(ge=1, le=100)]


class NodeOperator(StrEnum):
    """How a label of a node is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class LabelOperator(StrEnum):
    """How a label of a pod is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class NodeRequirement(SpecModel):
    """What a label of a node must be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.operator in ['In', 'NotIn'] ? has(self.values)"
                " : self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values)"
                " : has(self.values) && self.values.size() == 1 && self.values[0].matches('^[0-9]{1,18}$')",
                "In and NotIn need values, Gt and Lt one integer, Exists and DoesNotExist have no values",
            )
        )
    )

    key: LabelKey = Field(description="The label.")
    operator: NodeOperator = Field(description="How it is compared with the values.")
    values: _Values | None = Field(default=None, description="In, NotIn: any; Gt, Lt: one integer; others: none.")


class NodeTerm(SpecModel):
    """Requirements that a node meets all of."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] = Field(
        description="Requirements on labels of the node."
    )


class NodeTerms(SpecModel):
    """Terms of which a node meets at least one."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] = Field(
        description="The terms; one of them is enough."
    )


class PreferredNodeTerm(SpecModel):
    """A term that makes a node better."""

    weight: _Weight = Field(description="How much better, from 1 to 100.")
    preference: NodeTerm = Field(description="The term.")


class NodeAffinity(SpecModel):
    """Nodes that a pod may run on, or should."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = Field(
        default=None, description="Nodes that the pod may run on."
    )
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredNodeTerm, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None
    ) = Field(default=None, description="Nodes that are better than others.")


class LabelRequirement(SpecModel):
    """What a label of a pod must be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.values) == (self.operator in ['In', 'NotIn'])",
                "In and NotIn need values, Exists and DoesNotExist have none",
            )
        )
    )

    key: LabelKey = Field(description="The label.")
    operator: LabelOperator = Field(description="How it is compared with the values.")
    values: _Values | None = Field(default=None, description="In, NotIn: any; others: none.")


class LabelSelector(SpecModel):
    """Objects with these labels."""

    match_labels: LabelMap | None = Field(default=None, description="Labels with their values.")
    match_expressions: (
        Annotated[tuple[LabelRequirement, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None
    ) = Field(default=None, description="Requirements on labels.")


class PodTerm(SpecModel):
    """Pods to be near to, or far from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.matchLabelKeys) || has(self.labelSelector)",
                "matchLabelKeys narrows a labelSelector: add one, or remove matchLabelKeys",
            )
        )
    )

    topology_key: LabelKey = Field(description="Label of nodes: those with the same value are one place.")
    label_selector: LabelSelector | None = Field(default=None, description="The pods.")
    match_label_keys: _Keys | None = Field(default=None, description="Labels whose values are those of the pod itself.")
    namespaces: Annotated[tuple[NamespaceName, ...], Field(min_length=1, max_length=16), ATOMIC_LIST] | None = Field(
        default=None, description="Namespaces of the pods. Default: the job's."
    )
    namespace_selector: LabelSelector | None = Field(default=None, description="The same by labels of namespaces.")


class PreferredPodTerm(SpecModel):
    """A term that makes a node better."""

    weight: _Weight = Field(description="How much better, from 1 to 100.")
    pod_affinity_term: PodTerm = Field(description="The term.")


class PodAffinity(SpecModel):
    """Pods that a pod must be near to (or far from), or should."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PodTerm, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None
    ) = Field(default=None, description="Terms that must be met.")
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredPodTerm, ...], Field(min_length=1, max_length=8), ATOMIC_LIST] | None
    ) = Field(default=None, description="Terms that make a node better.")


class Affinity(SpecModel):
    """Where pods may and should run."""

    node_affinity: NodeAffinity | None = Field(default=None, description="By labels of nodes.")
    pod_affinity: PodAffinity | None = Field(default=None, description="Near to other pods.")
    pod_anti_affinity: PodAffinity | None = Field(default=None, description="Far from other pods.")
