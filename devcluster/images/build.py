"""buildah, with its storage in the project's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devcluster import tools
from devcluster.errors import DevclusterError
from devcluster.images.specs import Image
from devcluster.paths import Paths
from devcluster.shell import run

SUITE = "bookworm"
PACKAGES = ("python3", "ca-certificates")
MIRROR = "http://deb.debian.org/debian"
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def storage(paths: Paths) -> Path:
    return paths.image_store / "storage"


def buildah(paths: Paths) -> list[str]:
    folders = ["--root", str(storage(paths)), "--runroot", str(paths.image_store / "run")]
    return ["buildah", *folders, "--storage-driver", "overlay"]


def base_key() -> str:
    """Names the operating system under the Python images."""
    text = "\0".join((SUITE, *PACKAGES, platform.machine()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def base_reference() -> str:
    return f"localhost/devcluster-base:{base_key()}"


def build_base(paths: Paths, environment: Mapping[str, str]) -> None:
    """A minimal Debian with Python, bootstrapped from packages: no image registry is needed."""
    archive = paths.cache / "base" / f"{SUITE}-{base_key()}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
            root, unfinished = Path(temporary) / "root", Path(temporary) / "base.tar"
            mirror = environment.get("DEBIAN_MIRROR", MIRROR)
            log = archive.with_suffix(".log")
            run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, mirror], log=log)
            for removable in ("var/cache/apt/archives", "var/lib/apt/lists"):
                shutil.rmtree(root / removable, ignore_errors=True)
                (root / removable / "partial").mkdir(parents=True)
            run(["tar", "--create", "--numeric-owner", "--file", unfinished, "--directory", root, "."])
            unfinished.rename(archive)
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        context = Path(temporary)
        os.link(archive, context / "rootfs.tar")
        (context / "Containerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
        _bud(paths, ["--tag", base_reference(), "--file", str(context / "Containerfile"), str(context)], "base")


def build(paths: Paths, image: Image, reference: str, program: Path | None, environment: Mapping[str, str]) -> None:
    """Build one image under `reference`. Raises DevclusterError with the end of buildah's output."""
    containerfile = paths.repository / image.containerfile
    options = ["--tag", reference, "--file", str(containerfile)]
    if program is not None:
        with tempfile.TemporaryDirectory() as context:
            shutil.copy2(program, Path(context) / image.program)
            _bud(paths, [*options, context], image.name)
        return
    ignore = paths.repository / "devcluster" / "images" / "containerignore"
    options += ["--ignorefile", str(ignore), "--build-arg", f"BASE_IMAGE={base_reference()}"]
    if image.target:
        options += ["--target", image.target]
    options += _python_options(paths, environment)
    _bud(paths, [*options, str(paths.repository)], image.name)


def push(paths: Paths, reference: str, target: str) -> None:
    """Copy a built image to a real registry, with the credentials that `buildah login` or docker stored."""
    run([*buildah(paths), "push", "--signature-policy", _policy(paths), reference, f"docker://{target}"])


def _python_options(paths: Paths, environment: Mapping[str, str]) -> list[str]:
    """uv and its cache come from this machine; so do its certificates when they are not the usual ones."""
    paths.uv_cache.mkdir(parents=True, exist_ok=True)
    options = [
        "--volume", f"{tools.uv(paths)}:/opt/uv/uv:ro", "--volume", f"{paths.uv_cache}:/uv-cache:rw",
        "--build-arg", "UV_CACHE_DIR=/uv-cache",
    ]  # fmt: skip
    certificates = environment.get("SSL_CERT_FILE")
    if certificates:
        if not Path(certificates).is_file():
            raise DevclusterError(f"SSL_CERT_FILE={certificates}: no such file; unset it or name your certificates")
        options += ["--volume", f"{certificates}:{certificates}:ro", "--build-arg", f"SSL_CERT_FILE={certificates}"]
    return options


def _bud(paths: Paths, options: list[str], name: str) -> None:
    paths.image_store.mkdir(parents=True, exist_ok=True)
    log = paths.image_store / f"{name}.log"
    log.unlink(missing_ok=True)
    how = ["--isolation", "chroot", "--layers", "--format", "oci", "--pull-never"]
    run([*buildah(paths), "bud", "--signature-policy", _policy(paths), *how, *options], log=log)


def _policy(paths: Paths) -> str:
    policy = paths.image_store / "policy.json"
    if not policy.exists():
        policy.write_text(_POLICY)
    return str(policy)
