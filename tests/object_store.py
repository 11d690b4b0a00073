"""A real object store for the tests: SeaweedFS, which speaks S3 over HTTP, on a port of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import s3fs

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESS_KEY = "tests-access-key"
SECRET_KEY = "tests-secret-key"
BUCKET = "heliograph"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.1
_PORTS_APART = 10_000
"""SeaweedFS takes for gRPC the port that is so much higher."""


class ObjectStore(NamedTuple):
    """A running store with one empty bucket."""

    endpoint: str

    def lake_settings(self, prefix: str) -> dict[str, str]:
        """The fields of `heliograph.settings.LakeSettings` for a lake under a prefix of the bucket."""
        return {
            "warehouse": f"s3://{BUCKET}/{prefix}",
            "store_endpoint": self.endpoint,
            "store_region": "us-east-1",
            "store_access_key": ACCESS_KEY,
            "store_secret_key": SECRET_KEY,
        }

    def environment(self) -> dict[str, str]:
        """The variables by which a process of Heliograph gets to it; the warehouse is for the settings file."""
        return {
            "HELIOGRAPH_LAKE_STORE_ENDPOINT": self.endpoint,
            "HELIOGRAPH_LAKE_STORE_REGION": "us-east-1",
            "HELIOGRAPH_LAKE_STORE_ACCESS_KEY": ACCESS_KEY,
            "HELIOGRAPH_LAKE_STORE_SECRET_KEY": SECRET_KEY,
        }

    def files(self) -> s3fs.S3FileSystem:
        """A way to its objects that has nothing to do with Heliograph's."""
        return s3fs.S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": "us-east-1"},
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@contextmanager
def running_object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run a store that keeps its data in `folder`, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _free_ports(4)
    program = Path(sys.executable).with_name("weed")
    command = [
        str(program if program.exists() else shutil.which("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=50",
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            store = ObjectStore(f"http://127.0.0.1:{s3}")
            _wait_until_it_answers(store, process, folder / "weed.log")
            yield store
        finally:
            process.kill()  # nobody needs its data any more, and it takes its time to close
            process.wait()


def _wait_until_it_answers(store: ObjectStore, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            files = store.files()
            if not files.exists(BUCKET):
                files.mkdir(BUCKET)
            files.pipe_file(f"{BUCKET}/probe", b"there")
            files.rm_file(f"{BUCKET}/probe")
        except Exception:  # noqa: BLE001 - whatever a store says that is just beginning
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the object store does not start: {log.read_text()[-2000:]}") from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _free_ports(count: int) -> list[int]:
    """Return free ports of which those for gRPC, which follow from them, are free, too."""
    found: list[int] = []
    with_sockets: list[socket.socket] = []
    try:
        while len(found) < count:
            port = _bind(0, with_sockets)
            if port is not None and port < 65_536 - _PORTS_APART and _bind(port + _PORTS_APART, with_sockets):
                found.append(port)
    finally:
        for each in with_sockets:
            each.close()
    return found


def _bind(port: int, sockets: list[socket.socket]) -> int | None:
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    sockets.append(probe)
    return int(probe.getsockname()[1])
