"""The plan of a job before it is submitted: settings, memory, and how long it takes where a job like it has run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vernacular.api import Stage
from vernacular_local.config import Place, stage_config, typed_job
from vernacular_local.request import LocalError, LocalRequest
from vernacular_operator.manifests.job_config import Attempt
from vernacular_trainer.contract import ComputeConfig, ModelConfig
from vernacular_trainer.plan_command import Shown, show_plan

_HUB = "hf://"


@dataclass(frozen=True)
class Pace:
    """How fast another job was: its name, tokens per second over all its ranks, tokens of its rows on average, and the
    price of an hour of a GPU ("" when it is not known).
    """

    job: str
    tokens_per_second: float
    ranks: int
    tokens_per_row: float
    price_per_hour: str = ""
    currency: str = ""


def show(request: LocalRequest, gpu_memory: str | None, pace: Pace | None, out: TextIO) -> None:
    """Write the plan of the job. Raises LocalError, and StageError as show_plan does."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(f"{folder}/workspace")
        config = stage_config(request, Attempt(typed_job(request, "plan"), Stage.PREPARE, 1), place, folded=False)
        with _model_folder(config.model) as model:
            shown = show_plan(config, gpu_memory, model, out)
    if pace:
        out.writelines(f"{line}\n" for line in ("", *_estimated(pace, shown, config.compute)))


def _estimated(pace: Pace, shown: Shown, compute: ComputeConfig) -> list[str]:
    if shown.rows_unknown:
        return [
            f"training time and cost are not known: {shown.rows_unknown}",
            "name the rows on this machine with --data, or as {file: PATH}, and they are counted",
        ]
    plan = shown.resolution.plan
    rows = plan.total_steps * plan.effective_batch_size
    return estimate(pace, rows, compute.world_size, compute.pods * compute.gpus_per_pod)


def estimate(pace: Pace, rows: int, ranks: int, gpus: int) -> list[str]:
    """How long so many rows take, and what that costs, at the pace of each rank of the other job."""
    seconds = rows * pace.tokens_per_row / (pace.tokens_per_second * ranks / pace.ranks)
    hours, price = seconds / 3600, pace.price_per_hour
    lines = [
        f"training: about {_spoken(seconds)}, by the pace of {pace.job}: {pace.tokens_per_second:,.0f} tokens/s on"
        f" {pace.ranks}, {pace.tokens_per_row:.0f} tokens a row"
    ]
    if gpus:
        cost = f", {hours * gpus * float(price):.2f} {pace.currency}".rstrip() if price else ""
        lines.append(f"cost: about {hours * gpus:.2f} GPU hours{cost}, without preparing and evaluating")
    return lines


def _spoken(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@contextmanager
def _model_folder(model: ModelConfig) -> Iterator[Path | None]:
    """A folder with what a plan needs of the model: the headers of its weights are enough. None: it is here already."""
    if not model.uri.startswith(_HUB):
        if not model.uri.startswith("file://"):
            raise LocalError(f"{model.uri} is not on this machine", "name the folder of the model with --model")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        _fetch_headers(model, Path(folder))
        yield Path(folder)


def _fetch_headers(model: ModelConfig, folder: Path) -> None:
    import httpx2
    from huggingface_hub import get_safetensors_metadata, hf_hub_download
    from huggingface_hub.errors import NotASafetensorsRepoError, OfflineModeIsEnabled

    repository = model.uri.removeprefix(_HUB)
    try:
        hf_hub_download(repository, "config.json", revision=model.revision, local_dir=folder)
        headers = get_safetensors_metadata(repository, revision=model.revision)
    except NotASafetensorsRepoError:
        # the sizes in config.json are enough for an estimate
        return
    except (OfflineModeIsEnabled, httpx2.HTTPError, OSError) as error:
        raise LocalError(
            f"the hub does not give {model.uri}: {str(error).splitlines()[0]}",
            "check the name, set HF_TOKEN for a private model, or name a folder with --model",
        ) from error
    for name, file in headers.files_metadata.items():
        document = {key: {"dtype": item.dtype, "shape": list(item.shape)} for key, item in file.tensors.items()}
        content = json.dumps(document).encode()
        (folder / name.replace("/", "-")).write_bytes(len(content).to_bytes(8, "little") + content)
