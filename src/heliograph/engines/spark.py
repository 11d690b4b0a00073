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
from collections.abc import Mapping, Sequence  # noqa: TC003 - a tuple with names reads its annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

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
        from pyspark.sql import Column, Observation, Row, SparkSession, functions
        from pyspark.sql.types import StructField, StructType, TimestampNTZType
    except ImportError as error:
        raise EngineError(
            f"engine.kind is spark, and {error.name or 'pyspark'} is not installed. Install it with "
            '`pip install "heliograph[spark]"`, or set engine.kind to duckdb.'
        ) from None

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    # On all machines, however they are configured: a lower level may tell what is looked for.
    "spark.executor.syncLogLevel.enabled": "true",
    # What rows leave on local disks on their way from one machine to another, nobody can read afterwards.
    "spark.io.encryption.enabled": "true",
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


class Written(NamedTuple):
    """How rows lie in the files that Spark writes."""

    order: Sequence[str] = ()
    """Columns by which rows are sorted, in each file; nulls come last."""
    part: str = ""
    """A column of whole numbers by which rows go to different files; it is not written."""
    parts: int = 0
    """How many such numbers there are, where all rows of one go to one file; 0: they may go to several, by `order`."""
    ids: Mapping[str, int] = {}
    """Iceberg's number of each column, by its name, which the files then tell."""
    options: Mapping[str, str] = {}
    """What the writer of Parquet is told, in its own words."""


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

    def open(self, stored: Mapping[str, Stored], *, path: str = "") -> dict[str, ibis.Table]:
        """Return tables by name; see `heliograph.engines.engine.Engine`.

        Args:
            stored: The tables.
            path: A column that each table gets besides: the path of the file that has a row. None, if it is empty.
        """
        near = self._near({file for each in stored.values() for file in each.files})
        try:
            return {name: self._open(name, each, near, path) for name, each in stored.items()}
        except PySparkException as error:
            raise _spoken(error) from None

    def _near(self, files: set[str]) -> dict[str, str]:
        """Return where Spark reads each file."""
        far = sorted(file for file in files if "://" in file)
        if not far:
            return {file: file for file in files}
        return {file: file for file in files} | self._stage().copy(far)

    def _open(self, name: str, stored: Stored, near: Mapping[str, str], path: str) -> ibis.Table:
        schema = ibis.Schema.from_pyarrow(stored.columns)
        columns = _spark_schema(schema)
        if stored.files:
            # With the columns given, a file that lacks some reads like all others.
            frame = self._session.read.schema(columns).parquet(*(_location(near[file]) for file in stored.files))
        else:
            frame = self._session.createDataFrame([], columns)
        if path:
            # As a path, where Spark has a URL.
            told = functions.expr("url_decode(replace(_metadata.file_path, '+', '%2B'))")
            frame = frame.select("*", functions.regexp_replace(told, "^file:(//)?", "").alias(path))
        view = ibis.util.gen_name(name)
        frame.createOrReplaceTempView(view)
        return self._connection.table(view)

    def write(
        self, rows: ibis.Table, folder: Path | None = None, *, how: Written | None = None
    ) -> dict[int, list[Path]]:
        """Write what an expression gives to Parquet files, on all machines of the cluster at once.

        What is read from them is held against what went into them, by the number of rows and a sum over all values.

        Args:
            rows: The expression.
            folder: Where; all machines see it. None: in `engine.copies`, and gone when the engine is closed.
            how: How they lie in the files.

        Returns:
            The files of each part, in the order of their rows; they are not forced to disk.

        Raises:
            EngineError: Spark could not, or a file does not hold what was written to it.
        """
        how = how or Written()
        place = (self._stage().folder if folder is None else folder) / uuid.uuid4().hex
        observed = Observation()
        columns = [name for name in rows.columns if name != how.part]
        try:
            # Iceberg knows a column by its number, which Spark writes beside the name.
            ids = {name: {"parquet.field.id": how.ids[name]} if name in how.ids else {} for name in columns}
            numbered = [functions.col(f"`{name}`").alias(name, metadata=ids[name]) for name in columns]
            frame = self._connection.frame(rows).select(*numbered, *([how.part] if how.part else []))
            keys = [functions.asc_nulls_last(f"`{name}`") for name in ([how.part] if how.part else []) + [*how.order]]
            if how.parts:
                frame = frame.repartition(how.parts, how.part)
            elif keys:
                frame = frame.repartitionByRange(*keys)
            frame = frame.observe(observed, *_sums(columns))
            if keys:
                frame = frame.sortWithinPartitions(*keys)
            writer = frame.write.options(compression="zstd", **how.options)
            (writer.partitionBy(how.part) if how.part else writer).parquet(f"file:{place}")
            files = _parts(place, how.part)
            self._check(files, frame.select(*columns), observed.get)
        except PySparkException as error:
            raise _spoken(error) from None
        return files

    def _check(self, files: Mapping[int, list[Path]], frame: DataFrame, expected: dict[str, Any]) -> None:
        paths = [_location(str(file)) for of_part in files.values() for file in of_part]
        if not paths and not expected.get("rows"):
            return
        read = self._session.read.schema(frame.schema).parquet(*paths) if paths else frame.limit(0)
        if read.select(*_sums(frame.columns)).first() != Row(**expected):
            raise EngineError("Spark has written files that do not hold what went into them: look at its machines.")

    def _stage(self) -> Staging:
        if self._staging is None:
            self._staging = Staging(self._copies, self._files)
        return self._staging

    @property
    def cores(self) -> int:
        """How many tasks the cluster does at once, as far as it is known by now."""
        return int(self._session.sparkContext.defaultParallelism)

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


def _sums(columns: Sequence[str]) -> list[Column]:
    """Return what tells rows from others, in whatever order they come."""
    whole = functions.xxhash64(*(f"`{name}`" for name in columns)).cast("decimal(38,0)")
    return [functions.count(functions.lit(1)).alias("rows"), functions.sum(whole).alias("digest")]


def _parts(place: Path, part: str) -> dict[int, list[Path]]:
    """Return the files that were written to a folder, by part."""
    if not part:
        return {0: sorted(place.glob("*.parquet"))}
    folders = {int(folder.name.rpartition("=")[2]): folder for folder in place.glob(f"{part}=*")}
    return {number: sorted(folder.glob("*.parquet")) for number, folder in sorted(folders.items())}


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
