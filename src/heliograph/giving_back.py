"""Giving memory back to the system that what runs for months has let go of: allocators keep it, each for itself.

Commits and deliveries take memory in many threads, for moments. What Arrow and the C library keep of it afterwards
differs from one to the next, and hides whether anything grows. What PyIceberg makes of a snapshot refers to itself, and
holds what it was read from: Python looks for that only once there is a quarter more of everything.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

import pyarrow as pa

_C_LIBRARY: Final = ctypes.CDLL(None)


def give_back() -> None:
    """Let Python, Arrow's pool and the C library return what they keep and nobody uses."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if hasattr(_C_LIBRARY, "malloc_trim"):  # the GNU one has it
        _C_LIBRARY.malloc_trim(0)
