"""One process that has imported everything, from which the others are forked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.world import Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery") / "log")
    yield nursery
    nursery.close()
