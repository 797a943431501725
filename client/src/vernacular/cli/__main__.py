"""`python -m vernacular.cli`."""

from __future__ import annotations

import sys

from vernacular.cli.main import main

sys.exit(main())
