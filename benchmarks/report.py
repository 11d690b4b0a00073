"""The figures as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from figures import (
        DiskFigures,
        ExporterFigures,
        Figures,
        GatewayFigures,
        Latency,
        LimitFigures,
        PeerFigures,
        RecorderFigures,
        Spread,
        TogetherFigures,
    )


def print_figures(console: Console, figures: Figures) -> None:
    """Print everything; figures that were measured several times as the median and half of their range."""
    machine = figures.machine
    console.print(
        f"{machine.processor}, {machine.cores} cores, Python {machine.python}, plan {figures.plan}; "
        f"load before the run {machine.load_before}",
        highlight=False,
        soft_wrap=True,
    )
    for table in (
        _disk_table(figures.disk),
        _limit_table(figures.limits),
        _peer_table(figures.peer),
        _gateway_table(figures.gateway),
        _together_table(figures.together),
        _exporter_table(figures.exporter),
        _recorder_table(figures.recorder),
    ):
        console.print(table)


def _disk_table(disk: DiskFigures) -> Table:
    table = _table(f"The disk: {disk.block_bytes >> 10} KiB and fdatasync", "writing", "p50", "p99")
    table.add_row("at the end of a file", *_latency(disk.append))
    table.add_row("over what was written before", *_latency(disk.overwrite))
    return table


def _limit_table(limits: LimitFigures) -> Table:
    table = _table("What nobody can leave out", "", "per CPU-second")
    table.add_row("bytes copied", _rate(limits.copy_bytes_per_cpu_second))
    table.add_row("bytes of TLS 1.3 decrypted", _rate(limits.tls_bytes_per_cpu_second))
    table.add_row("bytes that zstd gives", _rate(limits.zstd_bytes_per_cpu_second))
    table.add_row("events: zstd, read by Arrow, validated", _rate(limits.arrow_per_cpu_second))
    table.add_row("events: zstd, decoded by msgspec", _rate(limits.json_per_cpu_second))
    return table


def _peer_table(peer: PeerFigures | None) -> Table:
    table = _table("A peer: lines over TLS, forced to disk, neither validated nor acknowledged", "", "")
    if peer is None:
        table.add_row("rsyslog with its TLS driver is not installed", "apt-get install rsyslog rsyslog-openssl")
    else:
        table.add_row(f"{peer.name}, events/CPU-s", _rate(peer.events_per_cpu_second))
        table.add_row("events/s", _rate(peer.events_per_second))
    return table


def _together_table(formats: list[TogetherFigures]) -> Table:
    table = _table("Two workers, and the load on the same machine", "", *(each.format for each in formats))
    table.add_row("events/s, together", *(_rate(each.events_per_second) for each in formats))
    table.add_row("events/CPU-s, of all processes", *(_rate(each.events_per_cpu_second) for each in formats))
    return table


def _gateway_table(formats: list[GatewayFigures]) -> Table:
    table = _table("The gateway: durable, validated, over TLS", "", *(each.format for each in formats))
    rows = {
        "events a body": [f"{each.batch_events:,}" for each in formats],
        "bytes/event, inflated": [f"{each.event_bytes:,.0f}" for each in formats],
        "bytes/event, as sent": [f"{each.body_bytes / each.batch_events:,.1f}" for each in formats],
        "limit: decoder, events/CPU-s": [_rate(each.decode_per_cpu_second) for each in formats],
        "gateway, events/CPU-s": [_rate(each.events_per_cpu_second) for each in formats],
        "gateway / limit": [f"{each.share_of_limit:.0%}" for each in formats],
        "events/s": [_rate(each.events_per_second) for each in formats],
        "cores that it kept busy": [f"{each.busy.median:.2f}" for each in formats],
        "a delivery, p50": [_latency(each.delivery)[0] for each in formats],
        "a delivery, p99": [_latency(each.delivery)[1] for each in formats],
        "events sent": [f"{each.sent:,}" for each in formats],
        "of them accepted": [f"{each.accepted:,}" for each in formats],
        "log to lake, rows/CPU-s": [_rate(each.loaded_per_cpu_second) for each in formats],
    }
    for heading, cells in rows.items():
        table.add_row(heading, *cells)
    return table


def _exporter_table(exporter: ExporterFigures) -> Table:
    table = _table("The exporter: an outbox drained into a gateway", "", f"{exporter.events:,} events")
    table.add_row("limit: read and build, events/CPU-s", _rate(exporter.read_and_build_per_cpu_second))
    table.add_row("exporter, events/CPU-s", _rate(exporter.events_per_cpu_second))
    table.add_row("exporter / limit", f"{exporter.share_of_limit:.0%}")
    table.add_row("events/s", _rate(exporter.events_per_second))
    return table


def _recorder_table(recorder: RecorderFigures) -> Table:
    table = _table("One call of record", "recording", "p50", "p99")
    speed = f"one thread, at full speed ({recorder.full_speed_per_second:,.0f} a second)"
    table.add_row(speed, *_latency(recorder.full_speed))
    table.add_row("four threads, 500 a second together", *_latency(recorder.steady))
    table.add_row("  a call that does nothing, likewise", *_latency(recorder.steady_call))
    table.add_row("  a pwrite of as many bytes, likewise", *_latency(recorder.steady_write))
    table.add_row("  a call that does such a pwrite, likewise", *_latency(recorder.steady_both))
    table.add_row("the same, each after a request's other work", *_latency(recorder.working))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _rate(rate: Spread) -> str:
    return f"{rate.median:,.0f} ± {rate.noise:.0%}"


def _latency(latency: Latency) -> tuple[str, str]:
    p50, p99 = (f"{seconds * 1000:,.3f} ms" for seconds in (latency.p50, latency.p99))
    return p50, p99
