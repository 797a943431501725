"""The base model: a folder on a claim is checked and left where it is, one of a hub or a bucket is fetched into the
workspace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import HttpsConfig, ModelConfig, StageFailure
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.model_cache import SOURCE_FILE, ModelCache, shared_entry
from vernacular_trainer.data.remote.models import RemoteModel, remote_model
from vernacular_trainer.errors import StageError
from vernacular_trainer.model_shape import max_length

_TOKENIZER_FILES = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
NO_HOSTS = HttpsConfig()
_ALTERNATIVES = "use a causal language model in the Hugging Face format: config.json, tokenizer.json, *.safetensors"


@dataclass(frozen=True)
class BaseModel:
    """A checked base model. `commit` is the version that was fetched ("" on a claim), `max_length` the longest sequence
    in tokens, `licence` what its files say ("" when they say nothing).
    """

    folder: Path
    architecture: str
    max_length: int
    licence: str
    commit: str
    weights: frozenset[str]


def provide(model: ModelConfig, allowed: HttpsConfig = NO_HOSTS) -> BaseModel:
    """Fetch the model if it is on a hub or in a bucket, and check it. `allowed`: servers of buckets on local addresses.

    Raises StageError (ModelNotFound, ModelAccessDenied, SecretMissing, ModelUnsupported, SourceNotAllowed,
    SourceUnavailable).
    """
    folder = Path(model.path)
    if remote := remote_model(model, allowed):
        fetch(remote, model, folder)
    elif not folder.is_dir():
        advice = "write the folder of the model inside the claim: pvc://<claim>/<folder>"
        raise StageError(StageFailure.MODEL_NOT_FOUND, f"{model.uri} does not exist on the claim", advice, model.path)
    return check(folder, model.uri)


def check(folder: Path, name: str) -> BaseModel:
    """Look at the files of a model without loading it; `name` is the model as the user wrote it. Raises StageError
    (ModelUnsupported).
    """
    config = _read_config(folder, name)
    if not any(all((folder / file).is_file() for file in files) for files in _TOKENIZER_FILES):
        raise _unsupported(name, "has no tokenizer (tokenizer.json)")
    architecture = _check_architecture(config, name)
    weights = _weight_names(folder, name)
    return BaseModel(folder, architecture, max_length(config), _licence(folder), _commit(folder), weights)


def fetch(remote: RemoteModel, model: ModelConfig, folder: Path) -> None:
    """Download a model into `folder`, which appears only when complete; a broken-off download is continued.

    With a cache the files lie there, and `folder` is a link to them.
    Raises StageError (SecretMissing, ModelNotFound, ModelAccessDenied, ArgumentRefused, SourceUnavailable).
    """
    if (folder / SOURCE_FILE).is_file():
        return
    # the commit is resolved first, so that a branch that moves during the download cannot mix two versions
    commit = remote.commit()

    def fill(draft: Path) -> None:
        remote.download(commit, draft)
        write_json(draft / SOURCE_FILE, {"uri": model.uri, "revision": model.revision, "commit": commit})

    if model.cache:
        _link(folder, shared_entry(model.cache, "models", remote.repository, commit, fill))
        return
    draft = _draft_of(folder)
    draft.mkdir(parents=True, exist_ok=True)
    fill(draft)
    draft.replace(folder)


def downloaded(model: ModelConfig) -> str:
    """How much of a model has been fetched so far, for people."""
    remote = remote_model(model, NO_HOSTS)
    drafts: Iterable[Path] = (_draft_of(Path(model.path)),)
    if remote and model.cache:
        drafts = ModelCache(Path(model.cache)).drafts(remote.repository)
    size = sum(path.stat().st_size for draft in drafts for path in draft.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB of {model.uri} so far" if size else model.uri


def _draft_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _link(folder: Path, entry: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.link")
    draft.unlink(missing_ok=True)
    draft.symlink_to(entry)
    draft.replace(folder)


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _unsupported(name, "has no config.json") from None
    except ValueError:
        raise _unsupported(name, "has a config.json that is not valid JSON") from None
    if not isinstance(config, dict):
        raise _unsupported(name, "has a config.json that is not a JSON object")
    return config


def _check_architecture(config: dict[str, Any], name: str) -> str:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    architecture = str(next(iter(config.get("architectures") or []), ""))
    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise _unsupported(name, "is of a type that needs code of its own or a newer release of transformers")
    if not architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        raise _unsupported(name, f"is not a language model ({architecture or 'no architecture in config.json'})")
    if "quantization_config" in config:
        raise _unsupported(name, "is quantised, and quantised weights cannot be trained")
    return architecture


def _weight_names(folder: Path, name: str) -> frozenset[str]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = {folder / str(file) for file in json.loads(index.read_text())["weight_map"].values()}
    else:
        files = set(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pth"))
        what = "has only pickled weights" if pickled else "has no weights (*.safetensors)"
        raise _unsupported(name, what)
    if missing := sorted(file.name for file in files if not file.is_file()):
        raise _unsupported(name, f"is incomplete: {missing[0]} is missing")
    return frozenset(weight for file in files for weight in _header(file, name))


def _header(file: Path, name: str) -> list[str]:
    """Names of the tensors in a safetensors file: 8 bytes of length, then that much JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length)) if length <= file.stat().st_size else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise _unsupported(name, f"is damaged: {file.name} is not a safetensors file")
    return [key for key in header if key != "__metadata__"]


def _licence(folder: Path) -> str:
    """The licence that the front matter of the model's README names."""
    import yaml

    try:
        readme = (folder / "README.md").read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    if not readme.startswith("---"):
        return ""
    try:
        front = yaml.safe_load(readme.split("---")[1])
    except yaml.YAMLError:
        return ""
    return str(front.get("license", "")) if isinstance(front, dict) else ""


def _commit(folder: Path) -> str:
    source = folder / SOURCE_FILE
    return str(json.loads(source.read_text())["commit"]) if source.is_file() else ""


def _unsupported(name: str, what: str) -> StageError:
    return StageError(StageFailure.MODEL_UNSUPPORTED, f"{name} {what}", _ALTERNATIVES)
