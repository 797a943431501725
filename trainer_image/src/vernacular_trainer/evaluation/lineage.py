"""What became of the failures of the version before: questions are recognised by their digest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vernacular_trainer.evaluation.scoring import Score


def compare(version: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Which questions that version `version` failed are right now, which are not, and which are newly failed.

    `before` and `now` are evaluation reports; questions that only one of them asked are left out. `before` may be one
    that was published without texts.
    """
    current, previous = _outcomes(now), _outcomes(before)
    places = {item["digest"]: item for item in now["questions"] if "digest" in item}
    asked = [digest for digest in current if digest in previous]
    found: dict[str, list[dict[str, Any]]] = {"fixed": [], "still_failing": [], "newly_failing": []}
    for digest in asked:
        right, right_before = current[digest], previous[digest]
        if right_before and right:
            continue
        kind = "fixed" if right else "newly_failing" if right_before else "still_failing"
        item = places[digest]
        asked_now = {"row": item["row"], "phrasing": item["phrasing"], "asked": item["messages"][-1]["content"]}
        found[kind].append(asked_now)
    return {"version": version, "asked_by_both": len(asked), **found}


def _outcomes(report: Mapping[str, Any]) -> dict[str, bool]:
    """Whether the tuned model was right, by the digest of the question."""
    return {item["digest"]: item["tuned"]["score"] == Score.CORRECT for item in report["questions"] if "digest" in item}
