"""The engines that run questions: DuckDB in process, or Apache Spark on many machines.

Both are given the same thing, the files of each table at one snapshot, and give the same thing back, Ibis tables of one
connection: whoever asks writes an expression once, and the settings say what runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.engines.embedded import EmbeddedEngine
from heliograph.engines.engine import Engine, EngineError, Files, Stored

if TYPE_CHECKING:
    from heliograph.settings import EngineSettings

__all__ = ["EmbeddedEngine", "Engine", "EngineError", "Files", "Stored", "open_engine"]


def open_engine(settings: EngineSettings, files: Files | None = None) -> Engine:
    """Return the engine that the settings name, to be closed by the caller.

    Args:
        settings: Which one.
        files: How it comes to files that are elsewhere; None: all are on this machine.

    Raises:
        EngineError: It cannot be had on this machine; the message says what is missing.
    """
    if settings.kind == "duckdb":
        return EmbeddedEngine(files)
    from heliograph.engines.spark import SparkEngine  # noqa: PLC0415 - needs what not everybody has installed

    return SparkEngine(settings, files)
