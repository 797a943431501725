"""Compile DeepSpeed's CPU collectives into $TORCH_EXTENSIONS_DIR. Runs in the image's build, where a compiler is.

At run time the same torch finds the result there and needs no compiler, but a writable copy: it locks a file in it.
"""

from __future__ import annotations

from deepspeed.accelerator import get_accelerator

get_accelerator().create_op_builder("ShareMemCommBuilder").load()
