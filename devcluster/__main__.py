from __future__ import annotations

import sys

# The minimum is checked before anything is imported that an older Python could not even read.
if sys.version_info < (3, 11):  # noqa: UP036 (a machine's own Python may well be older)
    sys.exit("devcluster: Python 3.11 or newer is needed")

from devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
