"""Base models: folders with something missing, and a hub that has them, hides them, or breaks off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.hub_server import COMMIT, HubServer
from vernacular_trainer.contract import ModelConfig, StageFailure
from vernacular_trainer.data.base_model import check, provide
from vernacular_trainer.errors import StageError

URI = "hf://acme/tiny"


def write_weights(path: Path, *names: str) -> None:
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in names}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 + 2_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as far as its files tell."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    write_weights(folder / "model.safetensors", "model.layers.0.self_attn.q_proj.weight")
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_weights(folder / "model-00001-of-00002.safetensors", "a")


def test_a_complete_model_is_described(folder: Path) -> None:
    model = check(folder, "pvc://models/tiny")

    assert (model.architecture, model.max_length, model.licence, model.commit) == (
        "LlamaForCausalLM",
        2048,
        "apache-2.0",
        "",
    )
    assert model.weights == {"model.layers.0.self_attn.q_proj.weight"}


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json that is not valid JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "config.json that is not a JSON object"),
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "has only pickled weights"),
    (lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs"), "is damaged: model.safetensors"),
    (shard, "is incomplete: model-00002-of-00002.safetensors is missing"),
    (lambda f: change_config(f, model_type="acme-llm"), "needs code of its own"),
    (lambda f: change_config(f, architectures=["BertForMaskedLM"]), "is not a language model (BertForMaskedLM)"),
    (lambda f: change_config(f, architectures=None), "is not a language model"),
    (lambda f: change_config(f, quantization_config={"quant_method": "gptq"}), "is quantised"),
]


@pytest.mark.parametrize(("damage", "what"), DAMAGES, ids=[what for _, what in DAMAGES])
def test_what_a_model_lacks_is_said(folder: Path, damage: Callable[[Path], object], what: str) -> None:
    damage(folder)

    with pytest.raises(StageError) as caught:
        check(folder, "pvc://models/tiny")

    assert caught.value.code is StageFailure.MODEL_UNSUPPORTED
    assert caught.value.message.startswith("pvc://models/tiny ")
    assert what in caught.value.message
    assert "safetensors" in caught.value.advice


def test_a_missing_folder_on_a_claim_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="pvc://models/typo does not exist") as caught:
        provide(ModelConfig("pvc://models/typo", str(tmp_path / "typo")))

    assert caught.value.code is StageFailure.MODEL_NOT_FOUND


def hub_model(tmp_path: Path, **changes: str) -> ModelConfig:
    return ModelConfig(**{"uri": URI, "path": str(tmp_path / "workspace" / "model"), **changes})


def secret(tmp_path: Path, **keys: str) -> str:
    path = tmp_path / "secret"
    path.mkdir()
    for key, value in keys.items():
        (path / key).write_text(value + "\n")
    return str(path)


def test_a_model_of_a_hub_is_fetched_once_without_pickles_and_code(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    with HubServer("acme/tiny", folder) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        model = provide(hub_model(tmp_path))
        asked = len(hub.requests)
        again = provide(hub_model(tmp_path))

        assert len(hub.requests) == asked

    assert again == model
    assert model.commit == COMMIT
    names = {path.name for path in model.folder.iterdir() if path.is_file()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "README.md", "vernacular_source.json"}
    assert (model.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_download_that_broke_off_is_continued_and_never_half_there(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer("acme/tiny", folder, broken=1000) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        config = hub_model(tmp_path)
        with pytest.raises(StageError) as caught:
            provide(config)
        assert caught.value.code is StageFailure.SOURCE_UNAVAILABLE
        assert not Path(config.path).exists()
        hub.broken = 0

        model = provide(config)

    assert (model.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_token_opens_a_private_model(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer("acme/tiny", folder, token="hf_right") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        path = secret(tmp_path, HF_TOKEN="hf_right")

        model = provide(hub_model(tmp_path, credentials_name="hf", credentials_path=path))

    assert model.commit == COMMIT


@pytest.mark.parametrize("keys", [{}, {"TOKEN": "x"}, {"HF_TOKEN": ""}])
def test_a_secret_without_the_key_is_named(tmp_path: Path, keys: dict[str, str]) -> None:
    config = hub_model(tmp_path, credentials_name="hf-token", credentials_path=secret(tmp_path, **keys))

    with pytest.raises(StageError, match=r"the Secret hf-token of hf://acme/tiny has no key HF_TOKEN") as caught:
        provide(config)

    assert caught.value.code is StageFailure.SECRET_MISSING
    assert "kubectl create secret generic hf-token" in caught.value.advice


@pytest.mark.parametrize(
    ("hub_changes", "model_changes", "code", "message"),
    [
        ({"gated": True}, {}, StageFailure.MODEL_ACCESS_DENIED, "hf://acme/tiny may not be read without a token"),
        ({"token": "hf_right"}, {}, StageFailure.MODEL_ACCESS_DENIED, "may not be read without a token"),
        ({"token": "hf_right"}, {"token": "hf_wrong"}, StageFailure.MODEL_ACCESS_DENIED, "token of the Secret hf"),
        ({}, {"uri": "hf://acme/typo"}, StageFailure.MODEL_NOT_FOUND, "hf://acme/typo does not exist"),
        ({}, {"revision": "v9"}, StageFailure.MODEL_NOT_FOUND, "hf://acme/tiny has no revision v9"),
    ],
)
def test_what_a_hub_refuses_is_explained(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub_changes: dict[str, Any],
    model_changes: dict[str, str],
    code: StageFailure,
    message: str,
) -> None:
    changes = dict(model_changes)
    if token := changes.pop("token", ""):
        changes |= {"credentials_name": "hf", "credentials_path": secret(tmp_path, HF_TOKEN=token)}
    with HubServer("acme/tiny", folder, **hub_changes) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(StageError) as caught:
            provide(hub_model(tmp_path, **changes))

    assert caught.value.code is code
    assert message in caught.value.message
    assert caught.value.advice
