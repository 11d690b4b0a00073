"""Who does the heavy work of a lake on rows: this process, or a cluster of Apache Spark.

Both are given files and what is to become of their rows, and give back files that nothing refers to yet. What is worked
on, when, and what is committed is decided elsewhere, in the same way for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from heliograph.engines import EngineError
from heliograph.lake.storage import is_remote
from heliograph.lake.writers.embedded import EmbeddedWriter
from heliograph.lake.writers.writer import Change, Days, Writer

if TYPE_CHECKING:
    from heliograph.settings import Settings

__all__ = ["Change", "Days", "EmbeddedWriter", "Writer", "loader_writer", "open_writer"]

_log: Final = structlog.get_logger("heliograph.loader")


def open_writer(settings: Settings) -> Writer:
    """Return the writer of the engine that the settings name, to be closed by the caller.

    Raises:
        EngineError: It cannot be had here; the message says what to do.
    """
    if settings.engine.kind == "duckdb":
        return EmbeddedWriter(settings.lake)
    if is_remote(settings.lake):
        raise EngineError(
            f"engine.kind is spark, and the lake is in an object store ({settings.lake.warehouse}), into which Spark "
            "cannot write from here: it has no connector to one. Set engine.kind to duckdb for this verb "
            "(HELIOGRAPH_ENGINE_KIND=duckdb), or keep the lake in a folder that all machines of the cluster see."
        )
    from heliograph.lake.writers.spark import SparkWriter  # noqa: PLC0415 - needs what not everybody has installed

    return SparkWriter(settings)


def loader_writer(settings: Settings) -> Writer:
    """Return the writer for a loader, which has to go on whether the engine can be had or not."""
    try:
        return open_writer(settings)
    except EngineError as error:
        _log.warning("the loader does the heavy work itself", why=str(error))
        return EmbeddedWriter(settings.lake)
