"""``python -m heliograph.cli``: the command line, for whoever starts it with an interpreter of their choice."""

from heliograph.cli import main

main()
