"""A PostgreSQL server of our own, for the demonstration and tests: Debian's binaries, a folder, a private socket."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import psycopg
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

ADMIN: Final = "postgres"
"""The superuser in the database; and who runs the server's processes when we are root, as PostgreSQL refuses root."""
_DEBIAN: Final = Path("/usr/lib/postgresql")
_HOME: Final = Path("/var/lib/postgresql")
"""The home of Debian's `postgres` user, which others cannot write to."""
_PROGRAMS: Final = ("initdb", "pg_ctl", "postgres")
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}


class PostgresError(Exception):
    """The server cannot be had; says why, and what to do."""


class _Account(NamedTuple):
    """Who runs the server."""

    user: int
    group: int


def find_binaries(root: Path = _DEBIAN) -> Path | None:
    """Return the folder of the newest server's binaries under `root`, as Debian lays them out; None for none."""
    found = [folder for folder in root.glob("*/bin") if all((folder / program).exists() for program in _PROGRAMS)]
    return max(found, key=_major, default=None)


def _major(binaries: Path) -> int:
    name = binaries.parent.name.split(".")[0]
    return int(name) if name.isdigit() else 0


def install_server(progress: Callable[[str], None]) -> None:
    """Install Debian's package `postgresql`.

    Raises:
        PostgresError: We are not root, there is no apt-get, or it failed.
    """
    if os.geteuid() != 0:
        raise PostgresError("PostgreSQL is not installed, and only root can do that; run: apt-get install postgresql")
    if shutil.which("apt-get") is None:
        raise PostgresError("PostgreSQL is not installed, and there is no apt-get; install its server by other means")
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        progress(f"installing PostgreSQL: apt-get {arguments[0]}")
        _run(["apt-get", "-qq", *arguments], environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def _run(
    command: Sequence[str], *, account: _Account | None = None, environment: Mapping[str, str] | None = None
) -> None:
    done = subprocess.run(  # noqa: S603 - commands of our own
        command,
        user=account.user if account else None,
        group=account.group if account else None,
        extra_groups=[] if account else None,
        cwd="/",  # the server's user may not be allowed into ours
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-10:])
        raise PostgresError(f"{Path(command[0]).name} failed with status {done.returncode}:\n{said}")


class PostgresCluster:
    """A running server, as a context manager.

    Whoever may enter the socket's folder is trusted, which only this user and root may; there is no TCP port. Commits
    are forced to disk, as in production.

    Args:
        folder: Where the server lives. When we are root and the server's user cannot get there, it lives in that
            user's home instead.
        keep: Whether the data stay when it is stopped, so that the next start finds them.
        settings: More settings of the server.
        progress: Is told what takes time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: bool = False,
        settings: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._wanted = folder.absolute()
        self._keep = keep
        self._settings = dict(settings or {})
        self._progress = progress
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Start the server, installing it and making its folder where that was not done before.

        Raises:
            PostgresError: It cannot be had.
        """
        with ExitStack() as stack:
            self._start(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._exit.close()

    def dsn(self, database: str = "postgres", *, user: str = ADMIN) -> str:
        """Return the connection string of a database."""
        return make_conninfo(host=self._socket, user=user, dbname=database)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the superuser, with autocommit."""
        return psycopg.connect(self.dsn(database), autocommit=True)

    def _start(self, stack: ExitStack) -> None:
        self._binaries = find_binaries() or self._install()
        self._account = _server_account()
        folder = self._make_folder(stack)
        self._data = folder / "data"
        socket = tempfile.mkdtemp(prefix="heliograph-", dir="/tmp")  # a socket's path must be short
        stack.callback(shutil.rmtree, socket, ignore_errors=True)
        self._own(Path(socket))
        self._socket = socket
        if (self._data / "postmaster.pid").exists():
            self._stop_leftover()
        if not (self._data / "PG_VERSION").exists():
            self._progress("making a PostgreSQL cluster")
            shutil.rmtree(self._data, ignore_errors=True)
            self._call("initdb", "--auth=trust", f"--username={ADMIN}", "--encoding=UTF8", "--locale=C.UTF-8")
        self._check_version()
        self._write_settings()
        self._call("pg_ctl", "--wait", f"--log={folder / 'server.log'}", "start")
        stack.callback(self._stop)

    def _install(self) -> Path:
        install_server(self._progress)
        binaries = find_binaries()
        if binaries is None:
            raise PostgresError(f"PostgreSQL was installed, and its server is not under {_DEBIAN}")
        return binaries

    def _make_folder(self, stack: ExitStack) -> Path:
        """Make and lock a folder that the server's user can use; have it removed at the end unless it is kept."""
        folder = self._wanted
        made = not folder.exists()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PostgresError(f"folder {folder}: {error.strerror}; name another") from None
        if any(folder.iterdir()) and not (folder / "lock").exists():
            raise PostgresError(f"folder {folder} holds something else; name an empty one")
        if not self._can_use(folder):
            if made:
                folder.rmdir()
            folder = _HOME / f"heliograph-{hashlib.sha256(os.fsencode(self._wanted)).hexdigest()[:12]}"
            folder.mkdir(mode=0o700, exist_ok=True)
            self._progress(f"PostgreSQL's user cannot get to {self._wanted}: its cluster is in {folder}")
        self._own(folder)
        lock = stack.enter_context((folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresError(f"folder {folder} is in use by another run; end that one, or name another") from None
        if not self._keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _can_use(self, folder: Path) -> bool:
        """Tell whether the server's user can get into `folder`, through all the folders above it."""
        if self._account is None:
            return True
        try:
            _run(["test", "-x", str(folder.parent)], account=self._account)
        except PostgresError:
            return False
        return True

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.user, self._account.group)

    def _call(self, program: str, *arguments: str) -> None:
        _run([str(self._binaries / program), f"--pgdata={self._data}", *arguments], account=self._account)

    def _stop_leftover(self) -> None:
        """Stop the server of a run that was killed: we hold the lock, so that it is nobody's."""
        try:
            self._call("pg_ctl", "status")
        except PostgresError:
            return  # it is not running, and what it left behind does no harm
        self._call("pg_ctl", "--wait", "--mode=fast", "stop")

    def _check_version(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if made_by != str(_major(self._binaries)):
            raise PostgresError(
                f"{self._data} was made by PostgreSQL {made_by}, and {_major(self._binaries)} is installed; remove it"
            )

    def _write_settings(self) -> None:
        path = self._data / "postgresql.conf"
        settings = {**_SETTINGS, "unix_socket_directories": self._socket, **self._settings}
        path.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        self._own(path)

    def _stop(self) -> None:
        try:
            self._call("pg_ctl", "--wait", "--mode=fast", "stop")
        except PostgresError:
            self._call("pg_ctl", "--wait", "--mode=immediate", "stop")


def _server_account() -> _Account | None:
    """Return who shall run the server; None for ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ADMIN)
    except KeyError:
        raise PostgresError(f"there is no user {ADMIN} to run the server; run: adduser --system {ADMIN}") from None
    return _Account(entry.pw_uid, entry.pw_gid)
