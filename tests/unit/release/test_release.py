"""The files of a release, made as the release workflow makes them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from release.__main__ import REPOSITORY, main
from release.artifacts import IMAGES
from support.helm import Helm

DIGESTS = {name: f"registry.example.com/{name}@sha256:{number:064x}" for number, name in enumerate(IMAGES)}
WORKFLOW = REPOSITORY / ".github/workflows/release.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    (folder / "images.json").write_text(json.dumps(DIGESTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(Helm.find().binary).parent), prepend=os.pathsep)
        code = main(["build", "--images", str(folder / "images.json"), "--output", str(folder / "dist")])
    assert code == 0
    return folder / "dist"


def one(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_the_wheel_has_every_package_and_the_programs(made: Path) -> None:
    with zipfile.ZipFile(one(made, "*.whl")) as wheel:
        names = wheel.namelist()
        programs = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    packages = ("vernacular", "vernacular_local", "vernacular_openai", "vernacular_operator", "vernacular_trainer")
    assert all(f"{package}/__init__.py" in names for package in packages)
    assert "kubectl-finetune" in programs
    assert one(made, "vernacular-*.tar.gz").stat().st_size > 100_000


def test_the_chart_names_its_images_by_digest(made: Path, tmp_path: Path) -> None:
    with tarfile.open(one(made, "vernacular-*.tgz")) as chart:
        chart.extractall(tmp_path, filter="data")
    values = yaml.safe_load((tmp_path / "vernacular/values.yaml").read_text())
    helm = Helm.find()
    rendered = helm.run(
        "template", "x", str(tmp_path / "vernacular"), "--kube-version=1.37.0", "--set", "mlflow.bundled.enabled=true"
    )

    assert {name: values["images"][name] for name in IMAGES[:3]} == {name: DIGESTS[name] for name in IMAGES[:3]}
    assert all(address in rendered for address in DIGESTS.values())


def components(made: Path, name: str) -> dict[str, Any]:
    document = json.loads((made / f"sbom-{name}.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    return {item["name"]: item["version"] for item in document["components"]}


def test_the_sboms_list_what_each_image_installs(made: Path) -> None:
    operator, data, trainer = (components(made, name) for name in IMAGES[:3])

    assert "kopf" in operator
    assert not {"torch", "transformers"} & operator.keys()
    assert "transformers" in data
    assert "torch" not in data
    assert {"torch", "deepspeed", "peft"} <= trainer.keys()


def test_checksums_are_those_of_all_files(made: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in (made / "SHA256SUMS").read_text().splitlines())

    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir() if path.name != "SHA256SUMS"
    }
    assert (made / "images.txt").read_text().split() == list(DIGESTS.values())


def test_a_folder_that_holds_something_is_not_released(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images.json").write_text(json.dumps(DIGESTS))

    assert main(["build", "--images", str(tmp_path / "images.json"), "--output", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("images", [{}, {**DIGESTS, "trainer": "registry.example.com/trainer:0.1.0"}, "no JSON"])
def test_images_without_a_digest_are_refused(images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images.json").write_text(images if isinstance(images, str) else json.dumps(images))

    assert main(["build", "--images", str(tmp_path / "images.json"), "--output", str(tmp_path / "dist")]) == 1
    assert re.search("by digest|cannot be read as JSON", capsys.readouterr().err)
    assert not (tmp_path / "dist").exists()


def test_a_tag_of_another_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "v9.9.9"]) == 1
    said = capsys.readouterr().err
    assert "the tag is v9.9.9, but pyproject.toml has 0.1.0" in said
    assert "images.trainer of the chart has 0.1.0" in said
    assert main(["check", "v0.1.0"]) == 0


def test_a_version_without_notes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "charts"):
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n\n## 0.0.9\n\n- something\n")
    monkeypatch.setattr("release.__main__.REPOSITORY", tmp_path)

    assert main(["check", "v0.1.0"]) == 1


def test_the_list_to_mirror_is_what_the_chart_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle"]) == 0
    listed = capsys.readouterr().out.split()
    values = {"mlflow": {"bundled": {"enabled": True}}}

    assert len(listed) == 4
    started = re.findall(r"image: \"?([^\s\"]+)", Helm.find().template(values))
    assert set(started) <= set(listed)


def test_the_workflow_runs_what_is_there() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    jobs = workflow["jobs"]
    targets = {item["name"]: item for item in jobs["image"]["strategy"]["matrix"]["include"]}
    runs = "\n".join(step["run"] for job in jobs.values() for step in job["steps"] if "run" in step)

    assert set(targets) == set(IMAGES)
    for item in targets.values():
        text = (REPOSITORY / item["file"]).read_text()
        assert not item["target"] or re.search(rf"^FROM .* AS {item['target']}$", text, re.MULTILINE)
    for command in re.findall(r"python -m release (\w+)", runs):
        done = subprocess.run([sys.executable, "-m", "release", command, "--help"], cwd=REPOSITORY, capture_output=True)
        assert done.returncode == 0
    # nothing is released that the checks have not passed, and what is pushed is signed
    assert jobs["image"]["needs"] == "check"
    assert jobs["release"]["needs"] == "image"
    assert runs.count("cosign sign ") == 2
