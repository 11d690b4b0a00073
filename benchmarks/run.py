"""One run: the options, the order of the measurements, and where the figures go."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from rich.console import Console

from figures import Figures, this_machine
from heliograph.plan.load import load_plan
from heliograph.settings import GatewaySettings
from instance_side import measure_instance
from limits import measure_decoding, measure_disk, measure_limits
from peer import measure_peer
from report import print_figures
from vendor_side import measure_gateway, measure_together
from workload import FORMATS, build_series, json_lines, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLAN: Final = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0; 1 when an event was not accepted, so that the figures mean nothing."""
    options = _parse(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(stderr=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".heliograph-benchmark-", dir=options.folder) as folder,
        console.status("building events") as status,
    ):
        figures = _measure(options, Path(folder), status.update)
    print_figures(Console(), figures)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    for problem in (problems := figures.problems()):
        console.print(f"[red]worthless:[/red] {problem}")
    return 1 if problems else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="throughput.py", description="Throughput of the whole path, beside the limits of this machine."
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is measured (default: 3)")
    parser.add_argument(
        "--events", type=int, default=90_000, help="events of an epoch that is delivered (default: 90000)"
    )
    parser.add_argument("--backlog", type=int, default=400_000, help="events of an outbox (default: 400000)")
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where to write, on the disk to be measured (default: here)"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> Figures:
    machine = this_machine()
    plan = load_plan(_PLAN)
    events = simulate(plan, options.events)
    all_series = [build_series(plan, events, kind, folder / f"ids-{number}") for number, kind in enumerate(FORMATS)]
    tell("the disk")
    disk = measure_disk(folder, options.seconds)
    tell("the limits")
    limits = measure_limits(plan, all_series[0], all_series[1], options.seconds / 3, options.rounds)
    tell("the peer")
    peer = measure_peer(folder / "peer", json_lines(all_series[1]), rounds=options.rounds)
    gateway = []
    for number, series in enumerate(all_series):
        tell(f"decoding: {series.format.name}")
        decoding = measure_decoding(plan, series, options.seconds / 3, options.rounds)
        tell(f"gateway and loader: {series.format.name}")
        gateway.append(
            measure_gateway(
                folder / f"vendor-{number}",
                plan,
                _PLAN,
                series,
                decoding,
                seconds=options.seconds,
                rounds=options.rounds,
            )
        )
    together = []
    for number, series in enumerate(all_series[:2] if "workers" in GatewaySettings.__struct_fields__ else []):
        tell(f"two workers: {series.format.name}")
        together.append(
            measure_together(
                folder / f"together-{number}", _PLAN, series, workers=2, seconds=options.seconds, rounds=options.rounds
            )
        )
    tell("recorder and exporter")
    backlog = simulate(plan, options.backlog)
    exporter, recorder = measure_instance(folder, plan, _PLAN, backlog, seconds=options.seconds, rounds=options.rounds)
    return Figures(
        machine=machine,
        plan=plan.label,
        disk=disk,
        limits=limits,
        peer=peer,
        together=together,
        gateway=gateway,
        exporter=exporter,
        recorder=recorder,
    )
