"""Locked Python environments outside the repository: one for each peer, and the packages of an image."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from devcluster import tools
from devcluster.paths import from_environment

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "bench/environments"
# LLaMA-Factory imports torchaudio, whose newest release is built for another CUDA than torch and refuses to load; no
# sound is trained on here
_EMPTY_MODULES = {"llamafactory": ("torchaudio",)}


def interpreter(name: str) -> Path:
    """The Python of a peer's environment, which is made or brought up to its lock first."""
    return _environment(name, (LOCKS / f"{name}.txt").read_bytes())


def image_interpreter(extra: str) -> Path:
    """A Python with the packages of an image, as the lock of the repository has them."""
    uv = str(tools.uv(from_environment()))
    export = (uv, "export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project", "--no-header")
    lock = subprocess.run((*export, "--extra", extra), cwd=ROOT, check=True, capture_output=True).stdout
    return _environment(f"image-{extra}", lock)


def _environment(name: str, lock: bytes) -> Path:
    paths = from_environment()
    folder = paths.cache / "bench" / name
    stamp, python = folder / ".lock", folder / "bin/python"
    digest = hashlib.sha256(lock).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    uv = str(tools.uv(paths))
    subprocess.run((uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)), check=True)
    requirements = folder / "requirements.txt"
    requirements.write_bytes(lock)
    subprocess.run((uv, "pip", "sync", "--quiet", "--python", str(python), str(requirements)), check=True)
    for module in _EMPTY_MODULES.get(name, ()):
        subprocess.run((uv, "pip", "uninstall", "--quiet", "--python", str(python), module), check=True)
        (folder / "lib/python3.11/site-packages" / f"{module}.py").write_text("")
    stamp.write_text(digest)
    return python
