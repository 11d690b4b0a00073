"""The CSV file in the place of a CRM: what people keep in it stays, and what is malformed is told by line."""

from __future__ import annotations

import csv
import io
import stat
import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.registry.crm import Change, CrmError
from heliograph.registry.crm_file import CrmFile, _parsed
from heliograph.settings import CrmSettings

DAY = date(2026, 10, 9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "crm.csv"


def crm(file: Path, **changes: str) -> CrmFile:
    return CrmFile(CrmSettings(kind="csv", file=str(file), **changes))  # type: ignore[arg-type]


def change(name: str, *, add: bool = False) -> Change:
    return Change(reference=None if add else name, account=name, allowed=True, since=DAY)


def problems_of(file: Path) -> list[str]:
    with pytest.raises(CrmError) as caught:
        crm(file).read()
    return [problem.replace(f"{file}:", "") for problem in caught.value.problems]


def test_other_columns_their_order_and_the_form_of_the_file_stay(file: Path) -> None:
    content = (
        "\ufeffowner,date,account,value,note\r\n"
        'Ann,,acme,no,"=1+1, kept"\r\n'
        "\r\n"
        'Bob,2026-09-01,globex,YES,"two\nlines"\r\n'
    )
    file.write_bytes(content.encode())
    file.chmod(0o640)
    [outcome] = crm(file).write([change("acme")])
    assert outcome.problem is None
    assert file.read_bytes().decode() == content.replace("Ann,,acme,no", "Ann,2026-10-09,acme,Yes")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["crm.csv"]


def test_a_file_that_is_not_there_is_empty_and_is_made_by_the_first_record(file: Path) -> None:
    assert crm(file).read() == []
    crm(file).write([change("acme", add=True)])
    assert file.read_text(encoding="utf-8") == "account,value,date\nacme,Yes,2026-10-09\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    target = tmp_path / "shared" / "real.csv"
    target.write_text("account,value,date\nacme,No,\n", encoding="utf-8")
    file.symlink_to(target)
    crm(file).write([change("acme")])
    assert file.is_symlink()
    assert "acme,Yes,2026-10-09" in target.read_text(encoding="utf-8")


def test_all_malformed_lines_are_told_with_their_numbers(file: Path) -> None:
    file.write_text(
        "account,value,date,note\n"
        "acme,Yes,2026-10-01,\n"
        "globex,perhaps,soon,\n"
        ",Yes,,\n"
        "initech,Yes,2026-13-01\n"
        'umbrella,No,,"over\ntwo lines"\n'
        "acme,No,,\n",
        encoding="utf-8",
    )
    assert problems_of(file) == [
        "3: value 'perhaps' is neither Yes nor No; write one of them",
        "3: date 'soon' is no date; write it as 2026-10-01",
        "4: names no account; give the registry's name, or remove the line",
        "5: has 3 cells under 4 columns; mend its commas and quotes",
        "8: account 'acme' stands on line 2 already; keep one of them",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "1: has no columns 'account'"),
        (b"account;value;date\nacme;Yes;\n", "with commas between"),
        (b"account,value,value,date\n", "1: has 2 columns 'value'"),
        (b'account,value,date\nacme,"Yes" x,\n', "2: is not CSV"),
        (b"account,value,date\nacm\xe9,Yes,\n", "2: is not UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_ends_with_the_remedy(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    assert said in "\n".join(problems_of(file))
    with pytest.raises(CrmError):
        crm(file).write([change("acme")])
    assert file.read_bytes() == content


def test_a_file_that_cannot_be_read_or_written_is_as_it_was(file: Path, tmp_path: Path) -> None:
    file.mkdir()
    with pytest.raises(CrmError, match=r"cannot be read: Is a directory; look at crm\.file"):
        crm(file).read()
    nowhere = tmp_path / "nowhere" / "crm.csv"
    with pytest.raises(CrmError, match=r"cannot be written: No such file or directory; look at crm\.file"):
        crm(nowhere).write([change("acme", add=True)])


def test_the_words_for_yes_and_no_can_be_others(file: Path) -> None:
    file.write_text("account,value,date\nacme,Nein,\nglobex,ja,\n", encoding="utf-8")
    other = crm(file, yes="Ja", no="Nein")
    assert [record.allowed for record in other.read()] == [False, True]
    other.write([change("acme")])
    assert "acme,Ja,2026-10-09" in file.read_text(encoding="utf-8")
    with pytest.raises(CrmError, match=r"crm\.yes, crm\.no: must be two different words"):
        crm(file, yes="ja", no="JA ")


CELLS = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_whatever_people_keep_in_other_columns_is_there_after_a_change(notes: list[str], newline: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "crm.csv"
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator=newline, quoting=csv.QUOTE_ALL)
            writer.writerow(["account", "value", "date", "note"])
            writer.writerows([f"account-{number}", "No", "", note] for number, note in enumerate(notes))
        crm(file).write([change("account-0")])
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["note"] for row in rows] == notes
        assert [row["value"] for row in rows] == ["Yes", *["No"] * (len(notes) - 1)]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"account,value,date\n{text}".encode()))
def test_any_content_is_a_table_or_told_to_be_none(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    table, problems = _parsed(text)
    assert problems or {"account", "value", "date"} <= set(table.header)
    assert problems or len(table.rows) == len(list(csv.reader(io.StringIO(text, newline="")))) - 1
