"""The file of the opt-outs: several processes append, nobody's word is lost, and what cannot be read is noticed."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.instance.opt_outs import OPT_OUTS_FILE, OptOutsFile, user_keys

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def minutes(number: int) -> datetime:
    return NOW + timedelta(minutes=number)


def test_a_product_id_stands_for_the_same_user_of_the_table() -> None:
    assert user_keys("42") == ("42", "u:42")
    assert user_keys("u:42") == ("u:42",)
    assert user_keys("a:7f31") == ("a:7f31",)


def test_what_a_user_said_last_counts(tmp_path: Path) -> None:
    file = OptOutsFile(tmp_path)
    for number, (user, out) in enumerate([("1", True), ("2", True), ("1", False), ("3", True), ("3", True)]):
        file.append(user, out=out, now=minutes(number))
    found = file.read()
    assert found.out == {"2": minutes(1), "3": minutes(3)}
    assert found.back == {"1": minutes(2)}
    assert found.keys_out() == {"2", "u:2", "3", "u:3"}
    assert found.keys_back() == {"1": minutes(2), "u:1": minutes(2)}


def test_a_clock_that_was_set_back_does_not_shorten_the_time_out(tmp_path: Path) -> None:
    file = OptOutsFile(tmp_path)
    file.append("1", out=True, now=minutes(10))
    file.append("1", out=False, now=minutes(0))
    assert file.read().back == {"1": minutes(10)}
    file.append("1", out=True, now=minutes(5))
    file.append("1", out=False, now=minutes(6))
    assert file.read().back == {"1": minutes(10)}


def append_many(folder: Path, process: int) -> None:
    for number in range(50):
        OptOutsFile(folder).append(f"{process}-{number}", out=True, now=NOW)


def test_many_processes_append_and_compact_and_no_line_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append_many, args=(tmp_path, process)) for process in range(4)]
    noise = OptOutsFile(tmp_path)
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        for _ in range(60):
            noise.append("noise", out=True, now=NOW)
        noise.read()
        noise.compact()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = OptOutsFile(tmp_path).read()
    assert set(found.out) == {f"{process}-{number}" for process in range(4) for number in range(50)} | {"noise"}
    assert not found.damaged


words = st.tuples(st.sampled_from(["1", "2", "ü\n7"]), st.booleans(), st.integers(-5, 5))


@settings(deadline=None, max_examples=60)
@given(said=st.lists(words, max_size=12))
def test_a_compacted_file_says_the_same_in_one_line_for_each_user(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    file = OptOutsFile(folder)
    for user, out, moment in [*said, *([("noise", True, 0)] * 102)]:
        file.append(user, out=out, now=minutes(moment))
    before = file.read()
    assert file.compact()
    after = file.read()
    assert (after.out, after.back) == (before.out, before.back)
    assert len((folder / OPT_OUTS_FILE).read_bytes().splitlines()) == len({user for user, *_ in said} | {"noise"})
    assert not file.compact()


def damage_a_letter(content: bytes) -> bytes:
    return content.replace(b'"2"', b'"9"')


def tear(content: bytes) -> bytes:
    return content[:-5]


def tear_off_the_newline(content: bytes) -> bytes:
    return content[:-1]


def zero(content: bytes) -> bytes:
    return content[:-20] + bytes(20)


@pytest.mark.parametrize("damage", [damage_a_letter, tear, tear_off_the_newline, zero])
def test_a_damaged_line_is_noticed_and_stays_alone(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    file = OptOutsFile(tmp_path)
    for user in ("1", "2"):
        file.append(user, out=True, now=NOW)
    file.path.write_bytes(damage(file.path.read_bytes()))
    found = file.read()
    assert found.damaged == (2,)
    assert "1" in found.out
    file.append("3", out=True, now=NOW)
    found = file.read()
    assert {"1", "3"} <= set(found.out)
    if damage is not tear_off_the_newline:  # nothing but the newline was missing, which is there again
        assert found.damaged == (2,)


def test_a_damaged_file_is_not_compacted(tmp_path: Path) -> None:
    file = OptOutsFile(tmp_path)
    for _ in range(200):
        file.append("1", out=True, now=NOW)
    content = file.path.read_bytes() + b"torn"
    file.path.write_bytes(content)
    file.read()
    assert not file.compact()
    assert file.path.read_bytes() == content
