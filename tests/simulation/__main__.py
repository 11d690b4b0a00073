"""Search for a history in which a promise does not hold, or replay one: see CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from simulation.history import draw, find_failure, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one history, and tell each step")
    parser.add_argument("--histories", type=int, default=1_000, help="how many to search")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed of the search")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first failure")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return replay(arguments.seed)
    return search(arguments.first, arguments.histories, go_on=arguments.go_on)


def replay(seed: int) -> int:
    trace: list[str] = []
    error = play(draw(seed), trace)
    sys.stdout.write("\n".join([f"history {seed}", *trace, ""]))
    if error is None:
        sys.stdout.write("every promise holds\n")
        return 0
    traceback.print_exception(error, file=sys.stdout)
    return 1


def search(first: int, histories: int, *, go_on: bool) -> int:
    began, failed = time.process_time(), 0
    for done, seed in enumerate(range(first, first + histories), 1):
        failure = find_failure(seed)
        if failure is not None:
            failed += 1
            trace: list[str] = []
            play(failure.operations, trace)
            steps = "\n".join(trace)
            sys.stdout.write(f"history {seed} fails: {failure.error}\nmade small:\n{steps}\n")
            traceback.print_exception(failure.error, file=sys.stdout)
            if not go_on:
                return 1
        if done % 100 == 0:
            each = (time.process_time() - began) / done * 1000
            sys.stderr.write(f"{done:,} histories, {failed} failed, {each:.0f} ms of CPU each\n")
    sys.stdout.write(f"{histories:,} histories, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
