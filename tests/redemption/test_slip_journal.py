"""A till's journal when things go wrong: damaged, missing, or full of slips that nobody knows."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.redemption.slip_texts import NOON, numbered
from tests.redemption.test_slip_checker import ask, spell_command, write_keys
from timebank.redemption.slip_checker import Journal, JournalDamagedError, Reason, main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal that knows nothing yet."""
    Journal(path := tmp_path / "till.journal", new=True).close()
    return path


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
    ends = [place for place, byte in enumerate(sound) if byte == ord("\n")]
    first, last = ends[1] + 1, ends[2] + 1  # the second slip
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
    path.write_bytes(b"".join([*lines[:3], b"#" + lines[3], *lines[4:]]))
    assert exported(run, path, 1) == rows[1:]
    assert run("carry", path, new)[0] == 0
    assert exported(run, new) == rows[1:]
    assert [ask(new, numbered(number)) for number in range(5)] == ["replayed"] * 4 + ["accepted"]
    assert ask(new, numbered(9), now=NOON - 3600) is Reason.CLOCK_SET_BACK
    kept = new.read_bytes()
    assert run("carry", path, new)[0] == 2  # nothing is written over
    assert new.read_bytes() == kept


# ---- Missing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["export", "settle", "accept", "reset-clock", "carry"])
def test_a_missing_journal_is_not_made_in_silence(run: Run, tmp_path: Path, name: str) -> None:
    """Or all that the one before knew could be taken again."""
    answer, gone = tmp_path / "answer.json", tmp_path / "gone.journal"
    answer.write_text('{"data": []}')
    given = {"settle": [answer], "accept": [numbered(1)], "carry": [tmp_path / "new.journal"]}
    for _ in range(2):
        code, printed = run(name, gone, *given.get(name, []))
        assert (code, "no journal here" in printed) == (2, True)
        assert gone.read_bytes() == b"" if gone.exists() else True
        gone.touch()  # emptied, it is gone as well
    assert [one.name for one in tmp_path.glob("*.journal*")] == ["gone.journal"]


def test_a_journal_is_begun_once(run: Run, path: Path, tmp_path: Path) -> None:
    assert run("init", path)[0] == 2
    assert ask(path) is Reason.ACCEPTED
    assert run("init", path)[0] == 2
    assert ask(path) is Reason.REPLAYED
    new = tmp_path / "new.journal"
    new.write_bytes(b"0123 {")  # the power went
    assert run("init", new)[0] == 0
    assert ask(new) is Reason.ACCEPTED


def test_telling_comes_to_an_end(run: Run, path: Path, tmp_path: Path) -> None:
    """As the loop of docs/slips.md sees it: until export says that nothing is left."""
    assert exported(run, path, 3) == []
    assert ask(path) is Reason.ACCEPTED
    [row] = exported(run, path)
    answer = tmp_path / "answer.json"
    told = {**row, "number": 1, "words": "ok", "hold_id": "0198f0c2-hold"}
    steps = [("unknown", 0), ("unknown", 3), ("captured", 0), ("captured", 3)]
    for count, (result, code) in enumerate(steps):
        answer.write_text(json.dumps({"data": [{**told, "result": result}]}))
        settled, printed = run("settle", path, answer)
        assert settled == code
        assert ("0198f0c2-hold" in printed) == (count < 3)
    assert exported(run, path, 3) == []


def test_what_nobody_knows_holds_up_nothing(run: Run, path: Path, tmp_path: Path) -> None:
    for number in range(101):
        assert ask(path, numbered(number)) is Reason.ACCEPTED
    answer, told = tmp_path / "answer.json", {"number": None, "words": "?", "result": "unknown"}
    seen: list[list[str]] = []
    codes = []
    for _ in range(3):
        ids = [row["acceptance_id"] for row in exported(run, path)]
        answer.write_text(json.dumps({"data": [{**told, "acceptance_id": one} for one in ids]}))
        codes.append(run("settle", path, answer)[0])
        seen.append(ids)
    assert [len(ids) for ids in seen] == [100, 100, 100]
    [last] = set(seen[1]) - set(seen[0])
    assert seen[1] == [last, *seen[0][:99]]
    assert seen[2][0] == seen[0][99]
    assert codes == [0, 0, 3]  # so that a loop ends
