"""Apache Spark: the engine of many machines. It needs the extra ``spark``, and Java.

Spark is given the files that Iceberg plans, so that it needs no catalog and no connector: what it reads is the very
snapshot that the embedded engine would have read.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import ibis
from ibis.formats.pyarrow import PyArrowData

from heliograph.engines.engine import EngineError
from heliograph.engines.staging import Staging

with warnings.catch_warnings():
    # Spark says so of pandas 3 whenever it is imported beside it; no data of ours goes through pandas.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    try:
        import pyspark.testing.utils  # noqa: F401 - a session imports it, and it warns
        from ibis.backends.pyspark import Backend
        from ibis.backends.pyspark.datatypes import PySparkSchema
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession, functions
        from pyspark.sql.types import StructField, StructType, TimestampNTZType
    except ImportError as error:
        raise EngineError(
            f"engine.kind is spark, and {error.name or 'pyspark'} is not installed. Install it with "
            '`pip install "heliograph[spark]"`, or set engine.kind to duckdb.'
        ) from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql import DataFrame

    from heliograph.engines.engine import Files, Stored
    from heliograph.settings import EngineSettings

_LOG: Final = Path(__file__).with_name("log4j2.properties")
_PATTERN: Final = re.compile(r"[\\*?\[\]{}]")
_ALWAYS: Final = {
    "spark.sql.session.timeZone": "UTC",
    # A timestamp without a zone, which is what the lake holds, in every literal and cast of a query too.
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    # Files are named one by one: there is no folder to be listed, and no job to be run for that.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000000",
}
_DEFAULTS: Final = {
    "spark.app.name": "heliograph",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOG.as_uri()}",
}
"""What `engine.options` may say otherwise."""


class _ArrowBackend(Backend):  # type: ignore[misc]  # Ibis has no types
    """Ibis's backend, whose rows come and go as Arrow: through pandas, whole numbers with nulls would be floats."""

    def to_pyarrow(self, expr: Any, /, *, params: Any = None, limit: Any = None, **_: Any) -> Any:
        table = expr.as_table()
        try:
            found = self.frame(table, params=params, limit=limit).toArrow()
        except PySparkException as error:
            raise _spoken(error) from None
        return expr.__pyarrow_result__(PyArrowData.convert_table(found, table.schema()))

    def frame(self, table: ibis.Table, **how: Any) -> DataFrame:
        """Return an expression as Spark's own table."""
        self._run_pre_execute_hooks(table)
        found: DataFrame = self._session.sql(self.compile(table, **how))
        return found

    def _register_in_memory_table(self, op: Any) -> None:
        rows = op.data.to_pyarrow(op.schema)
        self._session.createDataFrame(rows, _spark_schema(op.schema)).createOrReplaceTempView(op.name)


class SparkEngine:
    """A session of Spark's, on the master that the settings name.

    Args:
        settings: Where it runs.
        files: How to come to files that are elsewhere; the wheel of Spark has no connector to an object store.

    Raises:
        EngineError: There is no Java, or the session does not start.
    """

    def __init__(self, settings: EngineSettings, files: Files | None = None) -> None:
        self._files = files
        self._copies = settings.copies
        self._staging: Staging | None = None
        self._is_ours = SparkSession.getActiveSession() is None
        self._session = _start(settings)
        _ = ibis.pyspark  # which sets up the options that its compiler reads
        self._connection = _ArrowBackend().connect(self._session)

    @property
    def session(self) -> SparkSession:
        """The session, for what Ibis has no word for."""
        return self._session

    def open(self, stored: Mapping[str, Stored]) -> dict[str, ibis.Table]:
        """Return tables by name; see `heliograph.engines.engine.Engine`."""
        near = self._near({file for each in stored.values() for file in each.files})
        return {name: self._open(name, each, near) for name, each in stored.items()}

    def _near(self, files: set[str]) -> dict[str, str]:
        """Return where Spark reads each file."""
        far = sorted(file for file in files if "://" in file)
        if not far:
            return {file: file for file in files}
        return {file: file for file in files} | self._stage().copy(far)

    def _open(self, name: str, stored: Stored, near: Mapping[str, str]) -> ibis.Table:
        schema = ibis.Schema.from_pyarrow(stored.columns)
        columns = _spark_schema(schema)
        if stored.files:
            # With the columns given, a file that lacks some reads like all others.
            frame = self._session.read.schema(columns).parquet(*(_location(near[file]) for file in stored.files))
        else:
            frame = self._session.createDataFrame([], columns)
        view = ibis.util.gen_name(name)
        frame.createOrReplaceTempView(view)
        return self._connection.table(view)

    def write(
        self, rows: ibis.Table, *, order: Sequence[str] = (), ids: Mapping[str, int] | None = None, most: int = 0
    ) -> list[Path]:
        """Write what an expression gives to Parquet files, on all machines of the cluster at once.

        Args:
            rows: The expression.
            order: Columns by which rows are sorted, over all files and in each; nulls come last.
            ids: Iceberg's number of each column, by its name, which the files then tell.
            most: Rows of a file; 0: no bound.

        Returns:
            The files in `engine.copies`, in the order of their rows; they are gone when the engine is closed.

        Raises:
            EngineError: Spark could not.
        """
        folder = self._stage().folder / uuid.uuid4().hex
        ids = ids or {}
        try:
            frame = self._connection.frame(rows)
            if order:
                frame = frame.sort(*(functions.asc_nulls_last(name) for name in order))
            numbered = [
                functions.col(f"`{name}`").alias(name, metadata={"parquet.field.id": ids[name]} if name in ids else {})
                for name in rows.columns
            ]
            writer = frame.select(*numbered).write.option("compression", "zstd")
            if most:
                writer = writer.option("maxRecordsPerFile", most)
            writer.parquet(f"file:{folder}")
        except PySparkException as error:
            raise _spoken(error) from None
        return sorted(folder.glob("*.parquet"))

    def _stage(self) -> Staging:
        if self._staging is None:
            self._staging = Staging(self._copies, self._files)
        return self._staging

    def close(self) -> None:
        """End the session, unless it was there before, and delete the copies."""
        if self._staging is not None:
            self._staging.close()
        if self._is_ours:
            self._session.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def _spoken(error: PySparkException) -> EngineError:
    """Return what Spark says, without its own words, which may repeat a value."""
    return EngineError(f"Spark could not do this: {error.getCondition() or type(error).__name__}.")


def _start(settings: EngineSettings) -> SparkSession:
    if (session := SparkSession.getActiveSession()) is not None:
        return _set(session.newSession())
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise EngineError(
            "engine.kind is spark, and there is no Java here. Install Java 17 or later (on Debian: "
            "`apt-get install openjdk-17-jre-headless`), or name one by JAVA_HOME; or set engine.kind to duckdb."
        )
    builder = SparkSession.builder.master(settings.master)
    for key, value in {**_DEFAULTS, **_given(settings.options), **_ALWAYS}.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise EngineError(
            f"Spark does not start with engine.master {settings.master}: {type(error).__name__}. What it says itself "
            "stands above; see that the master runs, and that engine.options are settings of Spark's."
        ) from None


def _given(options: Iterable[str]) -> dict[str, str]:
    given = {}
    for option in options:
        key, sign, value = option.partition("=")
        if not sign or not key.startswith("spark."):
            raise EngineError(f"engine.options: {key!r} is no option of Spark's. Write spark.executor.memory=4g.")
        given[key.strip()] = value.strip()
    return given


def _set(session: SparkSession) -> SparkSession:
    for key, value in _ALWAYS.items():
        session.conf.set(key, value)
    return session


def _spark_schema(schema: ibis.Schema) -> StructType:
    """Return Spark's columns; a timestamp is one without a zone, for which Ibis takes Spark's with one."""
    return StructType(
        [
            StructField(each.name, TimestampNTZType() if schema[each.name].is_timestamp() else each.dataType)
            for each in PySparkSchema.from_ibis(schema).fields
        ]
    )


def _location(file: str) -> str:
    """Return a file's name as Spark takes it: not escaped as a URL is, but as a pattern that matches itself alone."""
    return _PATTERN.sub(r"\\\g<0>", f"file:{Path(file).absolute()}")
