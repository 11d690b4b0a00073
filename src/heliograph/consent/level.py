"""The three levels, and the one function that decides between those who have a say."""

from __future__ import annotations
