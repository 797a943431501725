"""The tokenizers library alone, on as many threads as it takes, with the best of several sizes of batches:
`bare.py ROWS TOKENIZER COUNT`.
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

# the library is not equally fast with all
BATCHES = (100, 1000, 10_000)


def main(rows: Path, folder: Path, count: int) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with rows.open(encoding="utf-8") as stream:
        texts = [written(json.loads(line)["messages"]) for line in islice(stream, count)]
    tokenizer.encode_batch(texts[:100])
    print(json.dumps(min((measured(tokenizer, texts, batch) for batch in BATCHES), key=lambda found: found["seconds"])))


def measured(tokenizer: Tokenizer, texts: list[str], batch: int) -> dict[str, float]:
    started = time.monotonic()
    tokens = 0
    for begin in range(0, len(texts), batch):
        found = tokenizer.encode_batch(texts[begin : begin + batch], add_special_tokens=False)
        tokens += sum(len(encoding) for encoding in found)
    return {"seconds": time.monotonic() - started, "tokens": tokens}


def written(messages: list[dict[str, str]]) -> str:
    return "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
