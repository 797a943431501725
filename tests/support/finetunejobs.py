"""FineTuneJobs as plain dicts, as small as the API allows and changed where a test says so."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

MINIMAL_SPEC: Json = {
    "model": {"uri": "hf://org/model"},
    "dataset": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
}


def finetunejob(name: str = "hr-bot", patch: Mapping[str, Any] | None = None) -> Json:
    """The smallest job there is, with `patch` merged into its spec: objects are merged, other values replaced."""
    return {
        "apiVersion": "vernacular.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": _merged(MINIMAL_SPEC, patch or {}),
    }


def at(path: str, value: Any) -> Json:
    """The patch that sets one field, named by its path below spec: `at("training.epochs", 3)`.

    `list[].name` is the field of the only item of a list.
    """
    for name in reversed(path.split(".")):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return dict(value)


def both(*patches: Mapping[str, Any]) -> Json:
    """All patches in one."""
    result: Json = {}
    for patch in patches:
        result = _merged(result, patch)
    return result


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    result = copy.deepcopy(dict(base))
    for name, value in patch.items():
        if isinstance(value, Mapping) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], value)
        else:
            result[name] = copy.deepcopy(value)
    return result
