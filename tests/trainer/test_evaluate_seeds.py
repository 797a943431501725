"""The HR-bot example trained with several seeds: the verdict stays, and the noise floor is seen."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.evaluation import job, run_stage
from demo.model import ensure_model
from vernacular_trainer.contract import EvaluateSummary, GateConfig, Stage, build_strictly
from vernacular_trainer.evaluation.intervals import difference
from vernacular_trainer.evaluation.scoring import Score
from vernacular_trainer.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

SEEDS = (42, 43, 44)
# as in the example
GATE = GateConfig(min_correct_percent=80, max_invented_percent=40, min_gain_points=30)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What the evaluation of one training says, and which questions its model has right."""

    summary: EvaluateSummary
    right: tuple[bool, ...]


def train(root: Path, seed: int, base_answers: Path | None) -> Trained:
    """Prepare, train and evaluate the example with a seed; what the base answers does not depend on it."""
    config = job(root, ensure_model())
    config = dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, seed=seed),
        evaluation=dataclasses.replace(config.evaluation, gate=GATE),
    )
    root.mkdir()
    workspace = Workspace(Path(config.workspace))
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE):
        if base_answers and stage is Stage.EVALUATE:
            workspace.base_answers.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base_answers, workspace.base_answers)
        run_stage(dataclasses.replace(config, stage=stage), root)
    report = json.loads(workspace.evaluation_report.read_text(encoding="utf-8"))
    known = {field.name for field in dataclasses.fields(EvaluateSummary)}
    summary = build_strictly(EvaluateSummary, {name: report[name] for name in known}, "report")
    return Trained(summary, tuple(item["tuned"]["score"] == Score.CORRECT for item in report["questions"]))


def differing(one: Sequence[bool], other: Sequence[bool]) -> int:
    """Questions that only one of two models has right."""
    return sum(left != right for left, right in zip(one, other, strict=True))


def test_the_verdict_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    first, *others = SEEDS
    found = {first: train(tmp_path / str(first), first, None)}
    base_answers = Workspace(tmp_path / str(first) / "workspace").base_answers
    found |= {seed: train(tmp_path / str(seed), seed, base_answers) for seed in others}

    for seed, trained in found.items():
        print(f"seed {seed}: {trained.summary.verdict}; {trained.summary.summary}")
    models = [trained.right for trained in found.values()]
    pairs = [(one, other) for place, one in enumerate(models) for other in models[place + 1 :]]
    print(f"noise floor: two seeds differ in {[differing(*pair) for pair in pairs]} of {len(models[0])} questions")
    for trained in found.values():
        counts, asked = trained.summary.tuned, len(trained.right)
        assert trained.summary.verdict == "Promote", trained.summary.summary
        assert counts.correct >= 0.8 * asked
        assert trained.summary.base.correct <= 0.3 * asked
        assert trained.summary.gate_missed == ()
    # no seed is proven better than another: what is proven is more than noise
    assert not any(difference(*pair).better or difference(*pair).worse for pair in pairs)
