"""Fuzz one target, led by coverage: ``make fuzz ARGS="lines -max_total_time=600"``.

Inputs that reach something new are kept in ``corpus/TARGET`` while it runs; ``-merge=1`` keeps the fewest that reach as
much. What fails is written beside it as ``crash-…``, to be mended and kept in ``corpus/TARGET`` as well.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import atheris

from heliograph.gateway import line_loops
from heliograph.gateway.machine_code import compiled_line_loop

compiled_line_loop()  # Numba cannot compile what is instrumented
for _, function in inspect.getmembers(line_loops, inspect.isfunction):
    atheris.instrument_func(function)

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

with atheris.instrument_imports(include=["heliograph", "jwt"], enable_loader_override=False):
    import heliograph.frames
    import heliograph.gateway.arrow_messages
    import heliograph.gateway.authentication
    import heliograph.gateway.bodies
    import heliograph.gateway.intake
    import heliograph.plan.canonical
    import heliograph.plan.columns
    import heliograph.plan.lines  # noqa: F401 - instrumented by being imported here

from fuzz_targets import TARGETS  # noqa: E402 - after what it imports is instrumented

CORPUS = FOLDER / "corpus"


def main() -> None:
    """Fuzz."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"which target? one of: {', '.join(TARGETS)}; then options of libFuzzer")
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    folder = CORPUS / name
    if all(option.startswith("-") for option in options):
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            for number, seed in enumerate(target.seeds()):
                (folder / f"seed-{number}").write_bytes(seed)
        options.append(str(folder))
    arguments = [sys.argv[0], f"-artifact_prefix={folder}-", *options]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
