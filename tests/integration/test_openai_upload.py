"""A file of 512 MiB goes through the OpenAI-compatible API, and its memory stays small."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.openai_api import RIGHTS, OpenAiApi, key_of

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SIZE = 512 * 2**20
MOST_MEMORY = 200_000_000


def digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_a_large_file_is_streamed(api_server: ApiServer, tmp_path: Path) -> None:
    line = b'{"messages": [{"role": "user", "content": "%07d"}, {"role": "assistant", "content": "Hello"}]}\n'
    rows = tmp_path / "large.jsonl"
    with rows.open("wb") as stream:
        for number in range(SIZE // 2**20):
            stream.write((line % number * (2**20 // 80))[: 2**20])
    team = api_server.new_namespace("large")

    with OpenAiApi(api_server, tmp_path / "service", {}) as service:
        sdk = service.sdk(key_of(api_server, team, "tuner", RIGHTS))
        before = service.memory_peak()
        with rows.open("rb") as stream:
            file = sdk.files.create(file=stream, purpose="fine-tune")
        copy = tmp_path / "copy"
        with sdk.files.with_streaming_response.content(file.id) as answer:
            answer.stream_to_file(copy)
        peak = service.memory_peak()

    assert file.bytes == SIZE
    assert digest_of(copy) == digest_of(rows)
    print(f"memory of the service: {before / 1e6:.0f} MB at its start, {peak / 1e6:.0f} MB at most")
    assert peak <= MOST_MEMORY
