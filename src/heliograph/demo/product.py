"""A simulated product: records weeks of past use, then live use, until it is told to stop.

It counts its own calls of `record` and writes the counts down, so that the demonstration has figures to compare with
that no part of Heliograph made.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from heliograph import Recorder
from heliograph.demo.simulation import Simulation
from heliograph.plan.load import load_plan
from heliograph.settings import load_settings


def main() -> None:
    """Run the product; the entry point of ``python -m heliograph.demo.product``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--rate", type=float, default=20.0, help="live events a second")
    parser.add_argument("--counts", type=Path, required=True, help="where to write the counts of calls, at the end")
    options = parser.parse_args()

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(options.config)
    plan = load_plan(settings.plan.file)
    source = random.Random(options.seed)  # noqa: S311 - a simulation
    simulation = Simulation(plan, people=options.people, days=options.days, source=source)
    recorder = Recorder(settings.recorder, version="6.1.0", source=plan.sources[0])
    calls: Counter[str] = Counter()
    for event in simulation.past(datetime.now(UTC)):
        if stop.is_set():
            break
        calls[event.name] += 1
        recorder.record(
            event.name,
            user=event.user,
            session=event.session,
            outcome=event.outcome,
            time=event.time,
            **event.properties,
        )
    for event in simulation.live():
        if stop.wait(source.expovariate(options.rate)):
            break
        calls[event.name] += 1
        recorder.record(event.name, user=event.user, session=event.session, outcome=event.outcome, **event.properties)
    recorder.close()
    options.counts.write_text(json.dumps(calls))


if __name__ == "__main__":
    main()
