"""Entry point of `python -m vernacular_openai`."""

from __future__ import annotations

import sys

from vernacular_openai.cli import main

if __name__ == "__main__":
    sys.exit(main())
