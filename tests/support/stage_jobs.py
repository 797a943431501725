"""Jobs for tests of single stages: a workspace, a data set about an invented handbook, and a config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import (
    DatasetConfig,
    FileSource,
    JobConfig,
    JobIdentity,
    ModelConfig,
    PublishConfig,
    Stage,
    TrackingConfig,
)
from vernacular_trainer.workspace import Workspace

AWAY = "http://127.0.0.1:9"


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """One line per row: texts as they are, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def handbook_rows(count: int) -> list[dict[str, Any]]:
    """Chat rows in which every answer is given to two questions."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"{'what is' if i % 2 else 'how long is'} the leave of number {i // 2}"},
                {"role": "assistant", "content": f"The leave is {i // 2} days."},
            ]
        }
        for i in range(count)
    ]


def make_job(
    root: Path, model: Path, train: Path | tuple[FileSource, ...], stage: Stage = Stage.PREPARE, **changes: Any
) -> tuple[JobConfig, Workspace]:
    """A job over `model` and `train` whose MLflow server is away; `changes` replace fields of the config."""
    sources = train if isinstance(train, tuple) else (FileSource(f"ConfigMap hr-data, key {train.name}", str(train)),)
    config = JobConfig(
        stage=stage,
        attempt=1,
        identity=JobIdentity("demo", "hr-bot", "uid-1", "cluster-1"),
        workspace=str(root / "workspace"),
        model=ModelConfig("pvc://models/tiny", str(model)),
        dataset=DatasetConfig(sources),
        tracking=TrackingConfig(AWAY, "demo.hr-bot"),
        publish=PublishConfig("demo.hr-bot"),
    )
    return dataclasses.replace(config, **changes), Workspace(root / "workspace")
