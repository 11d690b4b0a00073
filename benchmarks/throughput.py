"""Throughput of the whole path, beside the limits of the machine that it runs on; README.md in this folder says how.

Run it by ``make benchmark``; ``make benchmark ARGS="--seconds 5 --json figures.json"`` passes options on.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Not above: the processes of the load generators import this file as well, and need none of it.
    from run import main

    sys.exit(main())
