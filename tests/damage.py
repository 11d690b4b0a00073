"""Damage to bytes, of every kind that a test goes through one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def count_passing_flips(right: bytes, lets_pass: Callable[[bytes], bool]) -> int:
    """Flip each bit of some bytes, one at a time, and return how often what they are then passes."""
    content = bytearray(right)
    passed = 0
    for place in range(len(content)):
        for bit in range(8):
            content[place] ^= 1 << bit
            passed += lets_pass(bytes(content))
            content[place] ^= 1 << bit
    return passed
