"""A locked Python environment for each peer, outside the repository."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from devcluster import tools
from devcluster.paths import from_environment

LOCKS = Path(__file__).resolve().parent / "environments"
# LLaMA-Factory imports torchaudio, whose newest release is built for another CUDA than torch and refuses to load; no
# sound is trained on here
_EMPTY_MODULES = {"llamafactory": ("torchaudio",)}


def interpreter(name: str) -> Path:
    """The Python of a peer's environment, which is made or brought up to its lock first."""
    lock = LOCKS / f"{name}.txt"
    paths = from_environment()
    folder = paths.cache / "bench" / name
    stamp, python = folder / ".lock", folder / "bin/python"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    uv = str(tools.uv(paths))
    subprocess.run((uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)), check=True)
    subprocess.run((uv, "pip", "sync", "--quiet", "--python", str(python), str(lock)), check=True)
    for module in _EMPTY_MODULES.get(name, ()):
        subprocess.run((uv, "pip", "uninstall", "--quiet", "--python", str(python), module), check=True)
        (folder / "lib/python3.11/site-packages" / f"{module}.py").write_text("")
    stamp.write_text(digest)
    return python
