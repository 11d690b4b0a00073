"""When loops are compiled: what is compiled is tested where it is used."""

from __future__ import annotations

from threading import Event

from heliograph.machine_code import MachineCode


def test_a_trickle_compiles_nothing_and_a_flood_does() -> None:
    compiled = Event()
    now = 0.0

    def compile_loops() -> str:
        compiled.set()
        return "loops"

    def hindered() -> None:
        raise AssertionError("nothing hinders it")

    code = MachineCode(compile_loops, hindered=hindered, pays_after=10, ticks=lambda: now)
    for _ in range(1_000):
        code.worked(5)
        now += 30
    assert not compiled.is_set()
    code.worked(5)
    assert not compiled.is_set()
    code.worked(6)
    assert compiled.wait(60)
