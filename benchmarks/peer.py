"""A peer in the same run: rsyslog, which takes the same lines over TLS, and forces them to disk.

It does less than the gateway. It validates nothing, keeps no account and knows no repetition, and its client gets no
acknowledgement, so that what is under way when it dies is lost without anyone's notice. Its figures say what receiving
over TLS and writing to a disk alone take in a well-kept C program.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final

import trustme

from figures import CPU_TICK, PeerFigures, Spread, process_cpu_seconds
from heliograph.demo.home import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CONNECTIONS: Final = 4
_START_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 60.0
_CONFIGURATION: Final = """
global(workDirectory="{folder}" net.enableDNS="off" parser.escapeControlCharactersOnReceive="off"
  DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{folder}/authority.pem"
  DefaultNetstreamDriverCertFile="{folder}/server.pem" DefaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="as_is" type="string" string="%rawmsg%\\n")
main_queue(queue.size="200000" queue.dequeueBatchSize="5000" queue.workerThreads="1")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/events" template="as_is" sync="on" ioBufferSize="1m")
"""


def measure_peer(folder: Path, lines: Sequence[bytes], *, rounds: int) -> PeerFigures | None:
    """Send `lines` over several connections, `rounds` times, until all are in its file; None where it is not installed.

    Args:
        folder: Where it writes, on the disk to be measured.
        lines: Events in JSON, with their ends of line.
        rounds: How often.
    """
    program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if program is None:
        return None
    folder = folder.absolute()
    folder.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    port = free_port()
    (folder / "rsyslog.conf").write_text(_CONFIGURATION.format(folder=folder, port=port))
    command = [program, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            connections = _connect(folder, port)
            rates = [_round(process.pid, folder / "events", connections, lines) for _ in range(rounds)]
            for connection in connections:
                connection.close()
        except (OSError, TimeoutError):
            return None  # it was built without TLS, or does not answer
        finally:
            process.terminate()
    per_cpu, per_second = zip(*rates, strict=True)
    return PeerFigures(
        name="rsyslog",
        events=len(lines),
        events_per_cpu_second=Spread.of(per_cpu),
        events_per_second=Spread.of(per_second),
    )


def _connect(folder: Path, port: int) -> list[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            return [
                context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
                for _ in range(_CONNECTIONS)
            ]
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK_SECONDS)


def _round(
    process: int, file: Path, connections: Sequence[ssl.SSLSocket], lines: Sequence[bytes]
) -> tuple[float, float]:
    """Send all lines once, and return events per second of its processor and of the clock."""
    goal = (file.stat().st_size if file.exists() else 0) + sum(map(len, lines))
    before, start = process_cpu_seconds(process), time.monotonic()
    threads = [
        threading.Thread(target=connection.sendall, args=(b"".join(lines[number::_CONNECTIONS]),))
        for number, connection in enumerate(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not file.exists() or file.stat().st_size < goal:
        if time.monotonic() > start + _WAIT_SECONDS:
            raise TimeoutError
        time.sleep(_LOOK_SECONDS)
    end, after = time.monotonic(), process_cpu_seconds(process)
    return len(lines) / max(after - before, CPU_TICK), len(lines) / (end - start)
