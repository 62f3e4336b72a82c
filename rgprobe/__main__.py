"""`python -m rgprobe` is `rgprobe`."""

from __future__ import annotations

import sys

from rgprobe.cli import main

if __name__ == "__main__":
    sys.exit(main())
