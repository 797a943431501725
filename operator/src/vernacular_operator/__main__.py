"""Entry point of `python -m vernacular_operator`."""

from __future__ import annotations

import sys

from vernacular_operator.cli import main

if __name__ == "__main__":
    sys.exit(main())
