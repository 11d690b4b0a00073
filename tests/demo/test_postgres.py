"""A server of our own: it starts anywhere, keeps its data when asked, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from heliograph.demo import postgres as module
from heliograph.demo.postgres import PostgresCluster, PostgresError, find_binaries, install_server

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster as Cluster


def test_data_are_kept_when_asked(tmp_path: Path) -> None:
    said: list[str] = []
    with PostgresCluster(tmp_path / "kept", keep=True, progress=said.append) as cluster, cluster.connect() as admin:
        admin.execute("CREATE TABLE kept ()")
        assert admin.execute("SELECT current_setting('fsync'), current_setting('listen_addresses')").fetchone() == (
            "on",
            "",
        )
    assert "making a PostgreSQL cluster" in said
    said.clear()
    with PostgresCluster(tmp_path / "kept", progress=said.append) as cluster, cluster.connect() as admin:
        admin.execute("SELECT FROM kept")
    assert "making a PostgreSQL cluster" not in said


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with PostgresCluster(tmp_path / "gone") as cluster:
        socket, data = cluster._socket, cluster._data
        assert data.exists()
    assert not os.path.exists(socket)  # noqa: PTH110 - a text
    assert not data.exists()
    assert not (tmp_path / "gone").exists()


def test_only_the_owner_may_enter_the_socket(postgres: Cluster) -> None:
    assert os.stat(postgres._socket).st_mode & 0o777 == 0o700  # noqa: PTH116 - a text


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        PostgresCluster(tmp_path / "one") as first,
        pytest.raises(PostgresError, match="in use by another run"),
        PostgresCluster(tmp_path / "one"),
    ):
        pass
    assert not first._data.exists()


def test_the_server_of_a_killed_run_is_stopped_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    program = (
        "import sys; from pathlib import Path; from heliograph.demo.postgres import PostgresCluster\n"
        f"with PostgresCluster(Path({str(folder)!r}), keep=True) as cluster:\n"
        "    cluster.connect().execute('CREATE TABLE kept ()'); print(cluster.dsn(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        old = run.stdout.readline().strip()
        run.send_signal(signal.SIGKILL)
    psycopg.connect(old).close()
    with PostgresCluster(folder) as cluster, cluster.connect() as admin:
        admin.execute("SELECT FROM kept")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(old)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(PostgresError, match="something else"), PostgresCluster(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has a user of its own")
def test_where_the_servers_user_cannot_go_the_server_is_elsewhere_and_it_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    said: list[str] = []
    with PostgresCluster(tmp_path / "hidden", progress=said.append) as cluster, cluster.connect() as admin:
        admin.execute("SELECT 1")
        assert not cluster._data.is_relative_to(tmp_path)
        assert any(str(cluster._data.parent) in text for text in said)
    assert not cluster._data.exists()


def test_settings_that_the_server_refuses_are_said(tmp_path: Path) -> None:
    with (
        pytest.raises(PostgresError, match="pg_ctl failed"),
        PostgresCluster(tmp_path / "refused", settings={"no_such_setting": "1"}),
    ):
        pass
    assert not (tmp_path / "refused").exists()


def test_the_newest_server_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "14", "15", "2"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for program in ("initdb", "pg_ctl", "postgres"):
            (folder / program).touch()
    (tmp_path / "16" / "bin").mkdir(parents=True)
    (tmp_path / "16" / "bin" / "psql").touch()
    assert find_binaries(tmp_path) == tmp_path / "15" / "bin"
    assert find_binaries(tmp_path / "none") is None


def test_a_missing_server_is_installed_from_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    said: list[str] = []
    monkeypatch.setattr(module, "_run", lambda command, **_: ran.append(command))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    install_server(said.append)
    assert [command[2] for command in ran] == ["update", "install"]
    assert ran[1][-1] == "postgresql"
    assert len(said) == 2


def test_without_root_a_missing_server_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PostgresError, match="apt-get install postgresql"):
        install_server(print)
