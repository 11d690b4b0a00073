"""Both ends on one machine, to look at and to check."""
