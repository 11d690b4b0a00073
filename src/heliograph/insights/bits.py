"""Small sets as the bits of a whole number, by functions that both engines have under one name."""

from __future__ import annotations

from typing import Final

import ibis

BITS: Final = 62
"""Members of a set that one number holds, none of which is its sign."""


@ibis.udf.agg.builtin(name="bit_or")  # type: ignore[untyped-decorator]  # Ibis's, which has no types
def bit_or(bits: int) -> int:  # type: ignore[empty-body]  # the engine has it
    """Return the union of the sets of all rows; null if none has one."""


@ibis.udf.scalar.builtin(name="bit_count", signature=(("int64",), "int8"))  # type: ignore[untyped-decorator]  # likewise
def _bit_count(bits: int) -> int: ...  # type: ignore[empty-body]  # the engine has it


def bits_set(bits: ibis.Value) -> ibis.Value:
    """Return how many members a set has, as an int64."""
    return _bit_count(bits).cast("int64")
