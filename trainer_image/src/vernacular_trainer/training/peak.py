"""The most memory that this rank has used so far: what a prediction is measured by."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_KIBIBYTE = 1024


def peak_bytes(device: torch.device) -> int:
    """Bytes. On a GPU everything that the device cannot give to others: what torch reserved at its highest, and what
    lies outside of it (the CUDA context, communication buffers). On processors the highest resident set of the process.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        outside = total - free - torch.cuda.memory_reserved(device)
        return torch.cuda.max_memory_reserved(device) + max(outside, 0)
    return _resident_peak(_STATUS.read_text())


def _resident_peak(status: str) -> int:
    # not ru_maxrss: that one survives exec, so it may be the launcher's
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * _KIBIBYTE
