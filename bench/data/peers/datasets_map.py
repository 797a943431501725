"""The usual way, datasets.map in batches, without labels: `datasets_map.py ROWS TOKENIZER COUNT PROCESSES CACHE`."""

import json
import sys
import time
from typing import Any

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer


def main(rows: str, folder: str, count: int, processes: int, cache: str) -> None:
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokenise(batch: dict[str, Any]) -> dict[str, Any]:
        texts = tokenizer.apply_chat_template(batch["messages"], tokenize=False)
        return {"input_ids": tokenizer(texts, add_special_tokens=False)["input_ids"]}

    started = time.monotonic()
    dataset = load_dataset("json", data_files=rows, split="train", cache_dir=cache)
    loaded = time.monotonic()
    table = dataset.select(range(count)).map(
        tokenise, batched=True, num_proc=processes, remove_columns=dataset.column_names
    )
    ended = time.monotonic()
    tokens = sum(len(row) for row in table.data.column("input_ids"))
    print(json.dumps({"load": loaded - started, "seconds": ended - loaded, "tokens": tokens}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
