"""The files of a release: wheel and source, the chart with its images by digest, SBOMs, what to mirror, checksums."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from release.errors import ReleaseError

IMAGES = ("operator", "data", "trainer", "mlflow")
_CHART = Path("charts") / "vernacular"
_BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
# extras of the package that each image installs, as its Containerfile has them
_EXTRAS = {"operator": ("operator",), "data": ("data", "weights-and-biases"), "trainer": ("trainer",)}


def read_images(path: Path) -> dict[str, str]:
    """Addresses of the images. Raises ReleaseError when one is missing or is not named by digest."""
    try:
        images = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} cannot be read as JSON: {error}") from None
    for name in IMAGES:
        if not _BY_DIGEST.fullmatch(str(images.get(name, ""))):
            raise ReleaseError(f"{path}: give {name} by digest, like registry.example.com/{name}@sha256:...")
    return {name: images[name] for name in IMAGES}


def images_of_chart(repository: Path) -> list[str]:
    """Every image that the chart names in its values."""
    values = yaml.safe_load((repository / _CHART / "values.yaml").read_text("utf-8"))
    return [*(values["images"][name] for name in _EXTRAS), values["mlflow"]["bundled"]["image"]]


def build(repository: Path, images: Mapping[str, str], output: Path) -> list[Path]:
    """Write everything into `output`, SHA256SUMS last. Raises ReleaseError when it is not empty, or a program fails."""
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise ReleaseError(f"{output} is not empty: give a new folder, or what lies there would be released too")
    output = output.resolve()
    _run(_uv(repository), "build", "--quiet", "--out-dir", str(output), cwd=repository)
    (output / ".gitignore").unlink(missing_ok=True)
    _package_chart(repository, images, output)
    for name, extras in _EXTRAS.items():
        (output / f"sbom-{name}.cdx.json").write_text(_sbom(repository, extras), "utf-8")
    (output / "images.txt").write_text("".join(f"{images[name]}\n" for name in IMAGES), "utf-8")
    files = sorted(output.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (output / "SHA256SUMS").write_text(sums, "utf-8")
    return [*files, output / "SHA256SUMS"]


def _package_chart(repository: Path, images: Mapping[str, str], output: Path) -> None:
    """The chart, with the images of this release by digest as its defaults."""
    named = dict(zip(images_of_chart(repository), IMAGES, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / _CHART.name
        shutil.copytree(repository / _CHART, chart)
        for file in ("values.yaml", "README.md"):
            text = (chart / file).read_text("utf-8")
            for address, name in named.items():
                if address not in text:
                    raise ReleaseError(f"{_CHART / file} does not name {address}")
                text = text.replace(address, images[name])
            (chart / file).write_text(text, "utf-8")
        _run("helm", "package", str(chart), "--destination", str(output), cwd=repository)


def _sbom(repository: Path, extras: tuple[str, ...]) -> str:
    """CycloneDX, from the lock: what the image of these extras installs, with versions and hashes."""
    flags = [part for extra in extras for part in ("--extra", extra)]
    form = ("--format", "cyclonedx1.5", "--preview-features", "sbom-export")
    return _run(_uv(repository), "export", "--quiet", "--frozen", "--no-default-groups", *form, *flags, cwd=repository)


def _uv(repository: Path) -> str:
    """The pinned uv of the dev cluster."""
    return _run(sys.executable, "-m", "devcluster", "tools", "uv", cwd=repository).strip()


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout
