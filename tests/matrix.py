"""`make test-matrix`: the integration suite against the API server of every pinned version of Kubernetes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from devcluster.binaries import go_folder, kubernetes_versions
from devcluster.paths import from_environment

SUITE = ("tests/integration", "tests/chart", "-m", "integration and not long")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubernetes", action="append", metavar="MINOR", help="only this version; may be repeated")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, instead of the whole suite")
    arguments = parser.parse_args()
    paths = from_environment()
    results = []
    for version in arguments.kubernetes or sorted(kubernetes_versions(go_folder(paths))):
        started = time.monotonic()
        print(f"==> Kubernetes {version}", flush=True)
        environment = {**os.environ, "VERNACULAR_TEST_KUBERNETES": version}
        command = [sys.executable, "-m", "pytest", *(arguments.pytest or SUITE)]
        code = subprocess.run(command, cwd=paths.repository, env=environment, check=False).returncode
        results.append((version, code, time.monotonic() - started))
    print("\nKubernetes  seconds  result")
    for version, code, seconds in results:
        print(f"{version:<10}  {seconds:7.1f}  {'passed' if code == 0 else f'FAILED ({code})'}")
    return int(any(code for _, code, _ in results))


if __name__ == "__main__":
    sys.exit(main())
