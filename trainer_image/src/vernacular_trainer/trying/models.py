"""The base and the tuned model of a job in memory, asked one after the other, as the evaluation asks them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from vernacular_trainer.contract import JobConfig
from vernacular_trainer.data.chat import end_of_turn_ids, load_tokenizer, prompt_ids
from vernacular_trainer.data.rows import Message, RowError, with_system_prompt
from vernacular_trainer.model.base import load_to_ask
from vernacular_trainer.model_shape import max_length
from vernacular_trainer.trying.replies import Reply, Tell, UnaskableError, Which
from vernacular_trainer.workspace import Workspace


class ChatModels:
    """Both models; threads may ask, and wait for each other.

    `longest`: tokens of a prompt with its answer (0: no limit is known).
    """

    def __init__(
        self, models: dict[Which, Any], tokenizers: dict[Which, Any], system_prompt: str, longest: int
    ) -> None:
        self._models = models
        self._tokenizers = tokenizers
        self._system_prompt = system_prompt
        self._longest = longest
        self._turn = threading.Lock()

    @classmethod
    def load(cls, config: JobConfig, workspace: Workspace) -> ChatModels:
        """The models of a job that has been trained. Raises StageError (ModelUnsupported, ChatTemplateMissing)."""
        from peft import PeftModel

        folder = Path(config.model.path)
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        result = workspace.result / ("adapter" if config.method.makes_adapter else "model")
        base = load_to_ask(folder, quantized=config.method.quantizes)
        tokenizer = load_tokenizer(folder, config.model.uri)
        ships_tokenizer = (result / "tokenizer_config.json").exists()
        tokenizers = {
            Which.BASE: tokenizer,
            Which.TUNED: load_tokenizer(result, "the result") if ships_tokenizer else tokenizer,
        }
        tuned = PeftModel.from_pretrained(base, str(result)) if config.method.makes_adapter else load_to_ask(result)
        # an adapter changes the base in place, and is put aside while the base is asked
        models = {Which.BASE: tuned if config.method.makes_adapter else base, Which.TUNED: tuned}
        return cls(models, tokenizers, config.dataset.system_prompt, max_length(settings))

    def answer(self, which: Which, messages: Sequence[Message], most: int, tell: Tell) -> Reply:
        """The most likely answer, of at most `most` tokens; `tell` gets its text while it comes.

        Raises UnaskableError, and what `tell` raises.
        """
        tokenizer = self._tokenizers[which]
        try:
            prompt = prompt_ids(tokenizer, with_system_prompt(tuple(messages), self._system_prompt))
        except RowError:
            raise UnaskableError("the model's chat template refuses these messages") from None
        room = min(most, self._longest - len(prompt)) if self._longest else most
        if room < 1:
            raise UnaskableError(f"these messages have {len(prompt)} tokens, and the model reads {self._longest}")
        with self._turn, self._as(which) as model:
            return _generate(model, tokenizer, prompt, room, tell)

    @contextlib.contextmanager
    def _as(self, which: Which) -> Iterator[Any]:
        model = self._models[which]
        if which is Which.BASE and model is self._models[Which.TUNED]:
            with model.disable_adapter():
                yield model
        else:
            yield model


class _Teller(TextStreamer):  # type: ignore[misc]
    """Tells whole words as they come."""

    def __init__(self, tokenizer: Any, tell: Tell) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._tell = tell
        self.text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.text += text
            self._tell(text)


def _generate(model: Any, tokenizer: Any, prompt: list[int], room: int, tell: Tell) -> Reply:
    ends, teller = end_of_turn_ids(tokenizer), _Teller(tokenizer, tell)
    # sampling that the model's own settings ask for would make the two incomparable
    settings = GenerationConfig(max_new_tokens=room, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
    model.eval()
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings, streamer=teller
        )
    answer = output[0, len(prompt) :].tolist()
    ended = bool(answer) and answer[-1] in ends
    return Reply(teller.text.strip(), len(prompt), len(answer), ended)
