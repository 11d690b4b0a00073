"""Random ids come from the generator alone, and none that looks derived is given."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from heliograph.instance.pseudonyms import USER, Pseudonyms
from heliograph.instance.state import State

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "3b9f1c70a2d84e56f7081d2c9ab4e635"


def test_what_looks_derived_is_drawn_again(tmp_path: Path) -> None:
    drawn = iter(["0" * 32, "12345678901234567890123456789012", GOOD])
    with closing(State(tmp_path)) as state:
        assert Pseudonyms(state, random_id=lambda: next(drawn)).ids(USER, ["42"]) == [GOOD]


def test_a_generator_that_only_counts_gives_nobody_an_id(tmp_path: Path) -> None:
    numbers = iter(range(100))
    with closing(State(tmp_path)) as state:
        pseudonyms = Pseudonyms(state, random_id=lambda: f"{next(numbers):032x}")
        with pytest.raises(RuntimeError, match="no random ids"):
            pseudonyms.ids(USER, ["42"])
        assert pseudonyms.fresh() == []
