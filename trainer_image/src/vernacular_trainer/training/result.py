"""The adapter or model that ships: complete, finite, readable by everybody, and free of paths of this pod."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, Trainer

from vernacular_trainer.contract import ModelConfig, StageFailure
from vernacular_trainer.errors import StageError
from vernacular_trainer.plan import ResolvedPlan
from vernacular_trainer.training.checkpoints import sync
from vernacular_trainer.training.ranks import Ranks

# written by the libraries, of no use to who serves the model: pickled arguments, an empty model card
_LEFT_OUT = ("training_args.bin", "README.md")


def write_result(
    trainer: Trainer, plan: ResolvedPlan, model: ModelConfig, folder: Path, ranks: Ranks, template: str = ""
) -> None:
    """Write `folder`/adapter or, with method Full, `folder`/model, replacing an older one at once; all ranks call it.
    `template`: the chat template that it is trained with; "": the model's own.

    Raises StageError (NonFiniteLoss) when a weight is not finite.
    """
    draft = _draft(plan, folder)
    if ranks.is_first:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    ranks.barrier()
    # under ZeRO-3 every rank holds a part
    trainer.save_model(str(draft))
    ranks.barrier()
    if ranks.is_first:
        _finish(draft, model, template)
        _replace(draft, folder / _name(plan))
    ranks.barrier()


def copy_result(source: Path, plan: ResolvedPlan, folder: Path) -> None:
    """Make what write_result once wrote into `source` the result in `folder`; one rank calls it."""
    draft = _draft(plan, folder)
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source / _name(plan), draft)
    _make_durable(draft)
    _replace(draft, folder / _name(plan))


def _name(plan: ResolvedPlan) -> str:
    return "adapter" if plan.makes_adapter else "model"


def _draft(plan: ResolvedPlan, folder: Path) -> Path:
    return folder / f".{_name(plan)}.partial"


def _replace(draft: Path, final: Path) -> None:
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    sync(final.parent)


def _finish(draft: Path, model: ModelConfig, template: str) -> None:
    for name in _LEFT_OUT:
        (draft / name).unlink(missing_ok=True)
    _check_weights(draft)
    # the chat template belongs to the result: served with another one, the model does not know its own language
    tokenizer = AutoTokenizer.from_pretrained(model.path, local_files_only=True)
    if template:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(draft)
    _name_base(draft / "adapter_config.json", model)
    _make_durable(draft)


def _make_durable(draft: Path) -> None:
    for path in draft.iterdir():
        path.chmod(0o644)
        sync(path)
    sync(draft)


def _check_weights(draft: Path) -> None:
    count = 0
    for path in sorted(draft.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                tensor = weights.get_tensor(name)
                count += tensor.numel()
                if not bool(torch.isfinite(tensor).all()):
                    raise StageError(
                        StageFailure.NON_FINITE_LOSS,
                        f"the trained weight {name} is not finite; nothing was published",
                        "lower training.learningRate, or use precision FP32",
                    )
    if count == 0:
        message = "the libraries saved a model without weights"
        raise StageError(StageFailure.INTERNAL_ERROR, message, "report this with the versions in the image", draft.name)


def _name_base(path: Path, model: ModelConfig) -> None:
    if path.exists():
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = model.uri
        settings["revision"] = model.revision
        path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
