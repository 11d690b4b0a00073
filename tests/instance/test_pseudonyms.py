"""Random ids come from the generator alone, and none that looks derived is given."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest

from heliograph.instance.pseudonyms import USER, Pseudonyms
from heliograph.instance.state import State

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "3b9f1c70a2d84e56f7081d2c9ab4e635"
OTHER = "c5d3a7108e4f92b6d0e17f3a5b8c2946"


def test_what_looks_derived_is_drawn_again(tmp_path: Path) -> None:
    drawn = iter(["0" * 32 + GOOD, "12345678901234567890123456789012", OTHER])
    with closing(State(tmp_path)) as state:
        pseudonyms = Pseudonyms(state, random_bytes=lambda count: bytes.fromhex(next(drawn))[:count])
        assert pseudonyms.ids(USER, ["42", "43", "42"]) == [GOOD, OTHER, GOOD]
        assert [each[1:] for each in pseudonyms.fresh()] == [("42", GOOD), ("43", OTHER)]


def test_a_generator_that_only_counts_gives_nobody_an_id(tmp_path: Path) -> None:
    numbers = count()
    with closing(State(tmp_path)) as state:
        pseudonyms = Pseudonyms(state, random_bytes=lambda size: next(numbers).to_bytes(size, "big"))
        with pytest.raises(RuntimeError, match="no random ids"):
            pseudonyms.ids(USER, ["42"])
        assert pseudonyms.fresh() == []
