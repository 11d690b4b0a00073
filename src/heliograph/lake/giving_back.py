"""Giving memory back to the system that what runs for months has let go of: allocators keep it, each for itself.

A loader's commits take memory in many threads, for moments. What Arrow and the C library keep of it afterwards differs
from commit to commit, and hides whether anything grows.
"""

from __future__ import annotations

import ctypes
from typing import Final

import pyarrow as pa

_C_LIBRARY: Final = ctypes.CDLL(None)


def give_back() -> None:
    """Let Arrow's pool and the C library return what they keep and nobody uses."""
    pa.default_memory_pool().release_unused()
    if hasattr(_C_LIBRARY, "malloc_trim"):  # the GNU one has it
        _C_LIBRARY.malloc_trim(0)
