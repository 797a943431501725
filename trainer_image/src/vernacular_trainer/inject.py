"""`python -m vernacular_trainer.inject FOLDER`: puts the supervisor where an image without this package finds it.

Only the modules of the package itself are copied: they need nothing but the standard library.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def inject(target: Path) -> None:
    """Copy the package without its subpackages into `target`, which becomes a folder for PYTHONPATH."""
    source = Path(__file__).resolve().parent
    folder = target / source.name
    folder.mkdir(parents=True, exist_ok=True)
    for module in source.glob("*.py"):
        shutil.copyfile(module, folder / module.name)


if __name__ == "__main__":
    inject(Path(sys.argv[1]))
