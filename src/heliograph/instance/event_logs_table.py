"""The `event_logs` table as it is reached: a gentle connection, a check of what is there, and the three statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, TypeAlias

import psycopg
import structlog
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from heliograph.instance.event_rows import MAXIMUM_ARGUMENT_BYTES
from heliograph.instance.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.instance.id_ranges import Ranges
    from heliograph.settings import EventLogsSettings

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Row: TypeAlias = tuple[Any, ...]

_INTEGERS: Final = ("smallint", "integer", "bigint")
_TIMES: Final = ("timestamp with time zone", "timestamp without time zone")
_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "id": _INTEGERS,
    "name": (),
    "user_id": _INTEGERS,
    "anonymous_user_id": (),
    "source": (),
    "public_argument": (),
    "version": (),
    "timestamp": _TIMES,
}
COLUMNS: Final = tuple(_TYPES)
"""All that is ever read of the table. What holds private content, such as ``url`` and ``argument``, is not here."""

_OPTIONS: Final = {
    "application_name": "heliograph",
    "default_transaction_read_only": "on",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "1s",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    # Rows that a policy hides would be skipped without a word: an error is better.
    "row_security": "off",
    # One range of the primary key a statement, also when the planner's statistics are stale; on one core.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_LINK: Final = {
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Each text is cut just above the longest that could be of use, so that no row costs much.
_COLUMN_LIST: Final[LiteralString] = """
    id,
    left(name::text, 65),
    user_id,
    left(anonymous_user_id::text, 256),
    left(source::text, 65),
    CASE WHEN pg_column_size(public_argument) <= {most} THEN
        CASE WHEN octet_length(public_argument::text) <= {most} THEN public_argument::text ELSE '"too long"' END
    WHEN public_argument IS NOT NULL THEN '"too long"' END,
    left(version::text, 24),
    "timestamp"::timestamptz::text
"""
_log: Final = structlog.get_logger("heliograph.event_logs")


class _Sequence(NamedTuple):
    """What is known of the sequence that gives the ids."""

    cache: int
    increment: int
    last: int | None
    """None when this role may not know it, or when no id was given yet."""


def grant_statement(table: str, role: str) -> str:
    """Return the statement that lets `role` read what is needed of `table`, and nothing else."""
    return f"GRANT SELECT ({', '.join(COLUMNS)}) ON {table} TO {role}"


def connect_gently(settings: EventLogsSettings) -> Connection:
    """Return a read-only connection, each statement of which is its own transaction and ends by itself in time.

    Raises:
        SourceError: The connection string is not one.
        psycopg.Error: There is no connection to be had.
    """
    try:
        given = conninfo_to_dict(settings.dsn)
    except psycopg.Error:
        raise SourceError(  # the cause would quote the password
            "event_logs.dsn is not a connection string; write it as postgresql://ROLE:PASSWORD@HOST:5432/DATABASE"
        ) from None
    options = _OPTIONS | {"statement_timeout": f"{max(round(settings.statement_timeout_seconds * 1000), 1)}ms"}
    words = [str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in options.items())]
    wanted: dict[str, Any] = _LINK | given | {"options": " ".join(words).strip()}
    # No statement is prepared under a name: the product's migrations may change the table at any time.
    return psycopg.connect(**wanted, autocommit=True, prepare_threshold=None)


class EventLogsTable:
    """The table behind a connection, once it is known to be what is expected.

    Raises:
        SourceError: It is not; says all that is wrong.
        psycopg.Error: The database failed.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._oid, self._name = self._find(name)
        problems = [*self._check_server(), *self._check_columns(name), *self._check_index()]
        sequence = self._sequence()
        if sequence is not None and sequence.increment < 0:
            problems.append("its ids count downwards, and are read upwards")
        if problems:
            raise SourceError("\n".join(f"table {name}: {problem}" for problem in problems))
        self.last_given = sequence.last if sequence is not None else None
        """The last id that its sequence gave, where that may be known."""
        self._warn(name, sequence)
        columns = sql.SQL(_COLUMN_LIST).format(most=MAXIMUM_ARGUMENT_BYTES)
        self.range_query: Final = sql.SQL(
            "SELECT {columns} FROM {table} WHERE id > %s ORDER BY id LIMIT %s",
        ).format(columns=columns, table=self._name)
        self.holes_query: Final = sql.SQL(
            "SELECT found.* FROM unnest(%s::bigint[], %s::bigint[]) AS hole (first, last) CROSS JOIN LATERAL ("
            "SELECT {columns} FROM {table} WHERE id BETWEEN hole.first AND hole.last ORDER BY id LIMIT %s"
            ") AS found LIMIT %s"
        ).format(columns=columns, table=self._name)

    def read_range(self, high: int, limit: int) -> list[Row]:
        """Return the first `limit` rows above `high`, in the order of their ids."""
        return self._fetch(self.range_query, (high, limit))

    def read_holes(self, ranges: Ranges, limit: int) -> list[Row]:
        """Return at most `limit` rows of `ranges`, in the order of their ids."""
        firsts, lasts = [first for first, _ in ranges], [last for _, last in ranges]
        return sorted(self._fetch(self.holes_query, (firsts, lasts, limit, limit)), key=_row_id)

    def read_writers(self) -> frozenset[str]:
        """Return the transactions, prepared ones too, that now hold an id or a row which is not visible yet.

        `nextval` locks its sequence, and an insert its table, until the transaction has ended, in this mode. The
        locks of sequences of other tables count too: whose ids come from where is the product's business.
        """
        rows = self._fetch(
            sql.SQL(
                "SELECT DISTINCT held.virtualtransaction FROM pg_locks AS held JOIN pg_class ON oid = held.relation "
                "WHERE held.locktype = 'relation' AND held.mode = 'RowExclusiveLock' AND (relkind = 'S' OR oid = %s) "
                "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            (self._oid,),
        )
        return frozenset(writer for (writer,) in rows)

    def _fetch(self, query: sql.SQL | sql.Composed, parameters: Iterable[Any]) -> list[Row]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(query, tuple(parameters)).fetchall()

    def _find(self, name: str) -> tuple[int, sql.Identifier]:
        found = self._fetch(
            sql.SQL(
                "SELECT pg_class.oid, nspname, relname FROM pg_class "
                "JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass(%s)"
            ),
            (name,),
        )
        if not found:
            raise SourceError(
                f"table {name}: there is none in database {self._connection.info.dbname}; "
                "set event_logs.table, with its schema if it is not on the search path, or another database in the dsn"
            )
        [(oid, schema, table)] = found
        return oid, sql.Identifier(schema, table)

    def _check_server(self) -> list[str]:
        [(standby, encoding)] = self._fetch(
            sql.SQL("SELECT pg_is_in_recovery(), current_setting('server_encoding')"), ()
        )
        problems = []
        if standby:
            problems.append(
                "this server is a standby, which does not know the writers of the rows that it lacks; "
                "give the address of the primary"
            )
        if encoding == "SQL_ASCII":
            problems.append("the database has no encoding (SQL_ASCII), so that its text cannot be read for sure")
        return problems

    def _check_columns(self, name: str) -> list[str]:
        found = {
            column: (kind, permitted)
            for column, kind, permitted in self._fetch(
                sql.SQL(
                    "SELECT attname, format_type(atttypid, NULL), has_column_privilege(attrelid, attnum, 'SELECT') "
                    "FROM pg_attribute WHERE attrelid = %s AND attname = ANY(%s) AND NOT attisdropped"
                ),
                (self._oid, list(COLUMNS)),
            )
        }
        problems = [f"it has no column {column}" for column in COLUMNS if column not in found]
        problems += [
            f"column {column} is of type {found[column][0]}, and not {' or '.join(kinds)}"
            for column, kinds in _TYPES.items()
            if kinds and column in found and found[column][0] not in kinds
        ]
        denied = [column for column, (_, permitted) in found.items() if not permitted]
        if denied:
            role = self._connection.info.user
            remedy = grant_statement(name, role)
            problems.append(f"role {role} may not read {', '.join(sorted(denied))}; its owner can run: {remedy}")
        return problems

    def _check_index(self) -> list[str]:
        unique = self._fetch(
            sql.SQL(
                "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
                "WHERE indrelid = %s AND attname = 'id' AND indisunique AND indisvalid AND indnkeyatts = 1 "
                "AND indpred IS NULL"
            ),
            (self._oid,),
        )
        return [] if unique else ["column id has no unique index, such as a primary key: each look would read it all"]

    def _sequence(self) -> _Sequence | None:
        found = self._fetch(
            sql.SQL(
                "SELECT seqcache, seqincrement, CASE WHEN has_sequence_privilege(seqrelid, 'SELECT') "
                "THEN pg_sequence_last_value(seqrelid) END FROM pg_sequence "
                "JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i') "
                "JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid "
                "WHERE refclassid = 'pg_class'::regclass AND refobjid = %s AND attname = 'id'"
            ),
            (self._oid,),
        )
        return _Sequence(*found[0]) if found else None

    @staticmethod
    def _warn(name: str, sequence: _Sequence | None) -> None:
        remedy = "rows that become visible later than event_logs.linger_seconds after the next ones are not read"
        if sequence is None:
            _log.warning("the ids do not come from a sequence of the table's own", table=name, note=remedy)
        elif sequence.cache > 1:
            _log.warning(
                "sessions keep ids of the sequence for later transactions",
                table=name,
                cache=sequence.cache,
                note=remedy,
                remedy="ALTER SEQUENCE ... CACHE 1",
            )


def _row_id(row: Row) -> int:
    return int(row[0])


def explain(error: psycopg.Error, settings: EventLogsSettings) -> SourceError:
    """Return what went wrong with the database, and what to do; without anything of its rows or of the password."""
    place = _place(settings)
    said = (error.diag.message_primary or str(error)).strip().replace("\n", " ")
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        said = type(error).__name__  # the message quotes a value
    if isinstance(error, errors.QueryCanceled):
        return SourceError(
            f"{place}: {said}; if that happens again, lower event_logs.rows, "
            f"or raise event_logs.statement_timeout_seconds, which is {settings.statement_timeout_seconds:g}"
        )
    if isinstance(error, errors.LockNotAvailable):
        return SourceError(f"{place}: table {settings.table} is locked, as in a migration; it is tried again later")
    if isinstance(error, errors.InsufficientPrivilege):
        role = conninfo_to_dict(settings.dsn).get("user", "ROLE")
        return SourceError(f"{place}: {said}; the owner can run: {grant_statement(settings.table, str(role))}")
    if isinstance(error, psycopg.OperationalError):
        return SourceError(f"{place}: no connection, or it was lost ({said}); is it up, and is event_logs.dsn right?")
    return SourceError(f"{place}: {said}; is event_logs.table {settings.table!r} the product's table?")


def _place(settings: EventLogsSettings) -> str:
    given = conninfo_to_dict(settings.dsn)
    host, database = given.get("host") or given.get("hostaddr") or "the local server", given.get("dbname")
    return f"database {database or '(default)'} at {host}"
