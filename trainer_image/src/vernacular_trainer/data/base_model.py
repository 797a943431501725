"""The base model: a folder on a claim is checked and left where it is, one on a hub is fetched into the workspace."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vernacular_trainer.contract import ModelConfig, StageFailure
from vernacular_trainer.data.files import write_json
from vernacular_trainer.data.model_cache import ModelCache
from vernacular_trainer.errors import StageError
from vernacular_trainer.model_shape import max_length

HUB_SCHEME = "hf://"
_SOURCE_FILE = "vernacular_source.json"
_TOKENIZER_FILES = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
# weights without pickles, and no code
_ALLOWED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "README.md", "LICENSE*"]
_ALTERNATIVES = "use a causal language model in the Hugging Face format: config.json, tokenizer.json, *.safetensors"


@dataclass(frozen=True)
class BaseModel:
    """A checked base model. `commit` is the resolved revision of a hub ("" on a claim), `max_length` the longest
    sequence in tokens, `licence` what its files say ("" when they say nothing).
    """

    folder: Path
    architecture: str
    max_length: int
    licence: str
    commit: str
    weights: frozenset[str]


def provide(model: ModelConfig) -> BaseModel:
    """Fetch the model if it is on a hub, and check it.

    Raises StageError (ModelNotFound, ModelAccessDenied, SecretMissing, ModelUnsupported).
    """
    folder = Path(model.path)
    if model.uri.startswith(HUB_SCHEME):
        fetch(model, folder)
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


def fetch(model: ModelConfig, folder: Path) -> None:
    """Download a model of a hub into `folder`, which appears only when complete; a broken-off download is continued.

    With a cache the files lie there, and `folder` is a link to them.
    Raises StageError (SecretMissing, ModelNotFound, ModelAccessDenied, ArgumentRefused).
    """
    if (folder / _SOURCE_FILE).is_file():
        return
    hub = _Hub(model, _hub_token(model))
    # the commit is resolved first, so that a branch that moves during the download cannot mix two versions
    commit = hub.commit()
    if model.cache:
        _link(folder, _cached(hub, commit))
        return
    draft = _draft_of(folder)
    draft.mkdir(parents=True, exist_ok=True)
    hub.download(commit, draft)
    draft.replace(folder)


def downloaded(model: ModelConfig) -> str:
    """How much of a model has been fetched so far, for people."""
    repository = model.uri.removeprefix(HUB_SCHEME)
    drafts = ModelCache(Path(model.cache)).drafts(repository) if model.cache else (_draft_of(Path(model.path)),)
    size = sum(path.stat().st_size for draft in drafts for path in draft.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB of {model.uri} so far" if size else model.uri


def _draft_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _cached(hub: _Hub, commit: str) -> Path:
    try:
        return ModelCache(Path(hub.model.cache)).entry(hub.repository, commit, partial(hub.download, commit))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        message = f"the claim of storage.modelCache cannot be written: {error.strerror}"
        advice = "name a claim that pods of this namespace can write, or remove storage.modelCache"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice, hub.model.cache) from None


def _link(folder: Path, entry: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.link")
    draft.unlink(missing_ok=True)
    draft.symlink_to(entry)
    draft.replace(folder)


@dataclass(frozen=True)
class _Hub:
    """One model of a hub, with what the hub's errors mean."""

    model: ModelConfig
    token: str | None

    @property
    def repository(self) -> str:
        return self.model.uri.removeprefix(HUB_SCHEME)

    def commit(self) -> str:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=_endpoint(), token=self.token or False)
        with _explained(self.model):
            return str(api.model_info(self.repository, revision=self.model.revision).sha)

    def download(self, commit: str, folder: Path) -> None:
        from huggingface_hub import snapshot_download

        with _explained(self.model):
            snapshot_download(
                self.repository,
                revision=commit,
                local_dir=folder,
                token=self.token or False,
                endpoint=_endpoint(),
                allow_patterns=_ALLOWED_FILES,
            )
        source = {"uri": self.model.uri, "revision": self.model.revision, "commit": commit}
        write_json(folder / _SOURCE_FILE, source)


def _endpoint() -> str | None:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def _explained(model: ModelConfig) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise _denied(model, error) from None
    except RepositoryNotFoundError as error:
        if _status(error) in (401, 403):
            raise _denied(model, error) from None
        advice = "check the spelling: hf://<organisation>/<model>; for a private model name a Secret with HF_TOKEN"
        raise StageError(StageFailure.MODEL_NOT_FOUND, f"{model.uri} does not exist", advice) from None
    except RevisionNotFoundError:
        message = f"{model.uri} has no revision {model.revision}"
        advice = "write a branch, tag or commit of the model in model.revision"
        raise StageError(StageFailure.MODEL_NOT_FOUND, message, advice) from None
    except Exception as error:
        if _status(error) in (401, 403):
            raise _denied(model, error) from None
        raise


def _hub_token(model: ModelConfig) -> str | None:
    if not model.credentials_name:
        return None
    file = Path(model.credentials_path) / "HF_TOKEN"
    if not file.is_file() or not (token := file.read_text().strip()):
        message = f"the Secret {model.credentials_name} of model.credentials has no key HF_TOKEN"
        advice = f"kubectl create secret generic {model.credentials_name} --from-literal=HF_TOKEN=<token>"
        raise StageError(StageFailure.SECRET_MISSING, message, advice)
    return token


def _denied(model: ModelConfig, error: Exception) -> StageError:
    who = f"with the token of the Secret {model.credentials_name}" if model.credentials_name else "without a token"
    advice = "accept the model's terms on its page, and name a Secret with the key HF_TOKEN in model.credentials"
    evidence = f"HTTP {_status(error)}"
    message = f"{model.uri} may not be read {who}"
    return StageError(StageFailure.MODEL_ACCESS_DENIED, message, advice, evidence)


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


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
    source = folder / _SOURCE_FILE
    return str(json.loads(source.read_text())["commit"]) if source.is_file() else ""


def _unsupported(name: str, what: str) -> StageError:
    return StageError(StageFailure.MODEL_UNSUPPORTED, f"{name} {what}", _ALTERNATIVES)
