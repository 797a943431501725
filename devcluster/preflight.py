"""What the machine must have, found out before anything is started; each finding says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from devcluster import cgroups
from devcluster.errors import DevclusterError
from devcluster.host_network import check_ranges_are_free
from devcluster.lock import exclusive
from devcluster.node_config import CNI_PROGRAMS
from devcluster.shell import run

# program → Debian package
PACKAGES: Mapping[str, str] = {
    "openssl": "openssl",
    "containerd": "containerd",
    "runc": "runc",
    f"{CNI_PROGRAMS}/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
_APT_LOCK = Path("/run/devcluster-apt.lock")
CONTROL_PLANE_PROGRAMS = ("openssl",)


def present(program: str) -> bool:
    """A program on PATH, or any file by its absolute path."""
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


def missing_packages(programs: Mapping[str, str], exists: Callable[[str], bool] = present) -> list[str]:
    return sorted({package for program, package in programs.items() if not exists(program)})


def check_platform() -> None:
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}:
        raise DevclusterError("the dev cluster needs Linux on x86-64 or arm64: use a virtual machine")


def check_root() -> None:
    if os.geteuid() != 0:
        raise DevclusterError("root is needed to make namespaces, links and control groups: run it with sudo -E")


def ensure_programs(programs: Mapping[str, str]) -> None:
    """Install missing Debian packages when this is Debian or Ubuntu and we are root; otherwise say which ones."""
    packages = missing_packages(programs)
    if not packages:
        return
    wish = f"apt-get install -y {' '.join(packages)}"
    if not shutil.which("apt-get"):
        raise DevclusterError(f"missing programs; on Debian or Ubuntu: {wish}; elsewhere install the same programs")
    if os.geteuid() != 0:
        raise DevclusterError(f"missing programs; as root: {wish}")
    with exclusive(_APT_LOCK, "another command installs packages"):
        print(f"installing Debian packages: {' '.join(packages)}", flush=True)
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], env=env)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=env)
    left = missing_packages(programs)
    if left:
        raise DevclusterError(f"still missing after the installation: {', '.join(left)}")


def check_cgroups() -> None:
    if cgroups.is_v2():
        available = (cgroups.ROOT / "cgroup.controllers").read_text().split()
        lacking = {"cpu", "memory", "pids"} - set(available)
        if lacking:
            raise DevclusterError(
                f"cgroup controllers {', '.join(sorted(lacking))} are off; the kernel command line enables them"
            )
    elif not (cgroups.ROOT / "memory").is_dir():
        raise DevclusterError(f"no cgroup controllers under {cgroups.ROOT}; mount cgroup v2 there (systemd does it)")


def check_overlay() -> None:
    if "overlay" not in Path("/proc/filesystems").read_text():
        try:
            run(["modprobe", "overlay"])
        except DevclusterError as error:
            raise DevclusterError("the kernel has no overlay file system, which images need") from error


def for_control_plane() -> None:
    check_platform()
    ensure_programs({program: PACKAGES[program] for program in CONTROL_PLANE_PROGRAMS})


def for_images() -> None:
    check_platform()
    check_root()
    ensure_programs(PACKAGES)
    check_overlay()


def for_cluster() -> None:
    for_images()
    check_cgroups()
    check_ranges_are_free()
