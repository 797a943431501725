"""What each image is made of. Its tag is a hash over exactly that, so an unchanged image is never rebuilt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import REGISTRY_NAME


@dataclass(frozen=True)
class Image:
    """`inputs` are files and folders relative to the repository; folders count with all below them but byte code.

    `program` names a file that is alone in the build context; without it the context is the repository.
    """

    name: str
    containerfile: str
    inputs: tuple[str, ...] = ()
    target: str = ""
    program: str = ""
    on_base: bool = True


INFRASTRUCTURE = (
    Image("pause", "devcluster/images/pause/Containerfile", program="catatonit", on_base=False),
    Image("coredns", "devcluster/images/coredns/Containerfile", program="coredns", on_base=False),
)
_LOCK = ("pyproject.toml", "uv.lock")
_TRAINER = ("trainer_image/Containerfile", "trainer_image/src/vernacular_trainer", *_LOCK)
PROJECT = (
    Image("python", "devcluster/images/python/Containerfile"),
    Image("data", "trainer_image/Containerfile", _TRAINER, target="data"),
    Image("trainer", "trainer_image/Containerfile", (*_TRAINER, "trainer_image/prebuild_ops.py"), target="trainer"),
    Image(
        "operator",
        "operator/Containerfile",
        (
            "client/src/vernacular",
            "openai_api/src/vernacular_openai",
            "operator/src/vernacular_operator",
            "trainer_image/src/vernacular_trainer/__init__.py",
            "trainer_image/src/vernacular_trainer/contract.py",
            *_LOCK,
        ),
    ),
    Image("mlflow", "charts/mlflow-image/Containerfile", ("charts/mlflow-image/requirements.lock",)),
)


def select(names: Iterable[str]) -> tuple[Image, ...]:
    """The images of these names, all of the project when there are none. Raises DevclusterError for an unknown name."""
    wanted = tuple(names)
    unknown = sorted(set(wanted) - {image.name for image in PROJECT})
    if unknown:
        known = ", ".join(image.name for image in PROJECT)
        raise DevclusterError(f"no such image: {', '.join(unknown)}; there are {known}")
    return tuple(image for image in PROJECT if not wanted or image.name in wanted)


def input_files(repository: Path, image: Image) -> list[Path]:
    """Every file that goes into the hash, sorted. Raises DevclusterError when an input is missing."""
    files: set[Path] = {repository / image.containerfile}
    for name in image.inputs:
        path = repository / name
        if not path.exists():
            raise DevclusterError(f"image {image.name}: {name} is missing in the repository")
        files.update([path] if path.is_file() else _files_below(path))
    return sorted(files)


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def tag(repository: Path, image: Image, *, parts: Iterable[bytes]) -> str:
    """16 hexadecimal digits over the inputs, their names and `parts` (base, tool versions, program)."""
    digest = hashlib.sha256(image.target.encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    for file in input_files(repository, image):
        digest.update(f"{file.relative_to(repository)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def reference(image: Image, tag_text: str) -> str:
    return f"{REGISTRY_NAME}/{image.name}:{tag_text}"
