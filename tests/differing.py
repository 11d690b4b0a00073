"""What differs between two engines' answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def differences(one: pa.Table, other: pa.Table) -> list[tuple[Any, Any]]:
    """Return what differs; fractions may in their last bits, as sums of them depend on the order."""
    if one.schema != other.schema or len(one) != len(other):
        return [(f"{len(one)} rows of {one.schema}", f"{len(other)} rows of {other.schema}")]
    pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
    return [(left, right) for left, right in pairs if not all(alike(left[name], right[name]) for name in left)]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    return bool(one == other)
