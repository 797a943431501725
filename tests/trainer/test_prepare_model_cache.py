"""The shared model cache: real processes that want the same model at the same time, are killed, or come back late."""

from __future__ import annotations

import dataclasses
import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.hub_server import COMMIT, HubServer
from vernacular_trainer.contract import ModelConfig, StageFailure
from vernacular_trainer.data.base_model import provide
from vernacular_trainer.data.model_cache import ModelCache, Patience
from vernacular_trainer.errors import StageError

URI = "hf://acme/tiny"
ENTRY = Path("models") / "acme--tiny" / COMMIT

# cache folder, log of who fetched, seconds that a fetch takes, seconds until a silent lock counts as left behind
HOLDER = """
import sys, time
from pathlib import Path
from vernacular_trainer.data.model_cache import ModelCache, Patience

root, log, takes, stale = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

def fetch(folder):
    with log.open("a") as stream:
        stream.write("fetched\\n")
    if not (folder / "first").exists():
        (folder / "first.draft").write_text("1")
        (folder / "first.draft").rename(folder / "first")
        (folder / ".cache/huggingface/download").mkdir(parents=True)
        (folder / ".cache/huggingface/download/second.incomplete").write_text("half")
    time.sleep(takes)
    (folder / "second").write_text("2")

entry = ModelCache(root, Patience(beat=0.1, poll=0.05, stale=stale)).entry("acme/tiny", "c1", fetch)
print(sorted(path.name for path in entry.iterdir() if path.is_file()))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that wants the model; none outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*, takes: float, stale: float) -> subprocess.Popen[str]:
        arguments = [str(tmp_path / "cache"), str(tmp_path / "log"), str(takes), str(stale)]
        process = subprocess.Popen([sys.executable, "-c", HOLDER, *arguments], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def fetches(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_processes_fetch_once_and_all_get_it(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    processes = [start(takes=0.5, stale=30) for _ in range(5)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert set(outputs) == {"['first', 'second']\n"}
    assert fetches(tmp_path) == 1
    assert [path.name for path in (tmp_path / "cache" / "models" / "acme--tiny").iterdir()] == ["c1"]


def test_a_slow_holder_that_lives_is_waited_for(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    slow = start(takes=4, stale=1)
    until(lambda: fetches(tmp_path) == 1)
    waiting = start(takes=0, stale=1)

    assert waiting.communicate(timeout=60)[0] == slow.communicate(timeout=60)[0] == "['first', 'second']\n"
    assert fetches(tmp_path) == 1


def test_a_killed_holder_blocks_nobody_and_what_it_had_is_kept(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    killed = start(takes=60, stale=1)
    folder = tmp_path / "cache" / "models" / "acme--tiny"
    until(lambda: bool(list(folder.glob("c1.partial-*/.cache/huggingface/download/*"))))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = next(folder.glob("c1.partial-*/first")).stat().st_ino
    successors = [start(takes=0.2, stale=1) for _ in range(3)]

    assert {process.communicate(timeout=60)[0] for process in successors} == {"['first', 'second']\n"}
    assert fetches(tmp_path) == 2
    assert (folder / "c1" / "first").stat().st_ino == kept
    assert not list(folder.rglob("*.incomplete"))
    assert [path.name for path in folder.iterdir()] == ["c1"]


def test_one_that_comes_back_late_finds_the_entry_and_harms_nobody(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, Patience(beat=60, poll=0.01, stale=0.05))

    def fetch_while_another_takes_over(folder: Path) -> None:
        other = ModelCache(tmp_path, Patience(beat=60, poll=0.01, stale=0.05))
        (other.entry("acme/tiny", "c1", lambda place: (place / "a").write_text("other") and None) / "b").write_text("")
        (folder / "a").write_text("late")

    entry = cache.entry("acme/tiny", "c1", fetch_while_another_takes_over)

    assert {path.name: path.read_text() for path in entry.iterdir()} == {"a": "other", "b": ""}
    assert [path.name for path in entry.parent.iterdir()] == ["c1"]


def test_a_failed_fetch_leaves_no_lock_and_no_entry(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path, Patience(poll=0.01))

    def fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        cache.entry("acme/tiny", "c1", fail)
    entry = cache.entry("acme/tiny", "c1", lambda folder: (folder / "b").write_text("2") and None)

    assert {path.name for path in entry.iterdir()} == {"a", "b"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    folder = tmp_path / "hub"
    folder.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with HubServer("acme/tiny", folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def model_of(tmp_path: Path, job: str) -> ModelConfig:
    return ModelConfig(URI, str(tmp_path / job / "model"), cache=str(tmp_path / "cache"))


def test_two_jobs_download_a_hubs_model_once(tmp_path: Path, hub: HubServer) -> None:
    one, two = (provide(model_of(tmp_path, job)) for job in ("one", "two"))

    assert hub.downloads.count("model.safetensors") == 1
    assert one.folder.resolve() == two.folder.resolve() == tmp_path / "cache" / ENTRY
    assert one.commit == two.commit == COMMIT
    hub.requests.clear()
    assert provide(model_of(tmp_path, "one")).weights == {"a"}
    assert hub.requests == []


def test_a_cache_gives_nothing_to_those_that_have_not_accepted_the_terms(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token, hub.gated = "hf_right", True
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "HF_TOKEN").write_text("hf_right")
    allowed = {"credentials_name": "hub", "credentials_path": str(secret)}
    provide(dataclasses.replace(model_of(tmp_path, "one"), **allowed))

    with pytest.raises(StageError) as caught:
        provide(model_of(tmp_path, "two"))

    assert caught.value.code is StageFailure.MODEL_ACCESS_DENIED
    assert caught.value.message == f"{URI} may not be read without a token"
    assert not (tmp_path / "two" / "model").exists()


def test_a_repository_with_a_long_name_has_a_folder_of_its_own(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").touch()

    one, two = (ModelCache(tmp_path).entry("s3/models/" + "ü" * 500 + name, "c1", fill) for name in "ab")

    assert one != two
    assert (one / "a").is_file()


def test_a_cache_that_cannot_be_written_says_so(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(ModelCache, "entry", refuse)
    with pytest.raises(StageError) as caught:
        provide(model_of(tmp_path, "one"))

    assert caught.value.code == StageFailure.ARGUMENT_REFUSED
    assert caught.value.message == "the claim of storage.modelCache cannot be written: Read-only file system"
