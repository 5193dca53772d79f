"""A till's journal when things go wrong: damaged, missing, or full of slips that nobody knows."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.redemption.slip_texts import NOON, numbered
from tests.redemption.test_slip_checker import ask, spell_command, write_keys
from timebank.redemption.slip_checker import JournalDamagedError, Reason, main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "till.journal"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command of the checker; its exit code and what it printed."""
    words: Callable[..., list[str]] = partial(spell_command, write_keys(tmp_path))

    def run(name: str, journal: Path, *arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main(words(name, journal, *arguments))
        return code, capsys.readouterr().out

    return run


def exported(run: Run, path: Path, code: int = 0, *options: str) -> list[Any]:
    """The rows of an export."""
    answered, printed = run("export", path, *options)
    assert answered == code, printed
    rows: list[Any] = json.loads(printed)["slips"]
    return rows


# ---- Damaged -----------------------------------------------------------------------------------


def test_what_can_be_read_of_a_damaged_journal_is_told(run: Run, path: Path) -> None:
    texts = [numbered(number) for number in range(3)]
    for text in texts:
        assert ask(path, text) is Reason.ACCEPTED
    sound, rows = path.read_bytes(), exported(run, path)
    first, last = sound.index(b"\n") + 1, sound.rindex(b"\n", 0, -1)
    for place in range(first, last, 3):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        found = exported(run, path, 1)
        assert [row for row in found if row in rows[::2]] == rows[::2], place
        with pytest.raises(JournalDamagedError):
            ask(path, numbered(7))
        assert run("settle", path, path)[0] == 1
        assert path.read_bytes() == flipped


def test_a_damaged_journal_is_carried_into_a_new_one(run: Run, path: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    for number in range(4):
        assert ask(path, numbered(number)) is Reason.ACCEPTED
    rows = exported(run, path)
    told = {**rows[0], "result": "captured", "number": 0, "words": "ok"}
    answer.write_text(json.dumps({"data": [told]}))
    assert run("settle", path, answer)[0] == 0
    sound, new = path.read_bytes(), tmp_path / "new.journal"
    assert run("carry", path, new)[0] == 2  # a sound one is kept
    lines = sound.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"#" + lines[2], *lines[3:]]))
    assert exported(run, path, 1) == rows[1:]
    assert run("carry", path, new)[0] == 0
    assert exported(run, new) == rows[1:]
    assert [ask(new, numbered(number)) for number in range(5)] == ["replayed"] * 4 + ["accepted"]
    assert ask(new, numbered(9), now=NOON - 3600) is Reason.CLOCK_SET_BACK
    kept = new.read_bytes()
    assert run("carry", path, new)[0] == 2  # nothing is written over
    assert new.read_bytes() == kept
