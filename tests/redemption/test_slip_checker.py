"""The till's checker: what it refuses, what it remembers, and that nobody is told yes twice."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.redemption.slip_texts import (
    CHECKER,
    FACTS,
    KEY_ID,
    KEYS,
    MERCHANT,
    NOON,
    PUBLIC,
    TEXT,
    numbered,
)
from timebank.redemption.slip_checker import (
    SKEW,
    Journal,
    JournalDamagedError,
    Reason,
    accept,
    main,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal that knows nothing yet."""
    Journal(path := tmp_path / "till.journal", new=True).close()
    return path


def ask(path: Path, text: str = TEXT, now: int = NOON, merchant: UUID = MERCHANT) -> Reason:
    """Show a slip to a till that opens its journal for it."""
    with closing(Journal(path)) as journal:
        return accept(journal, text, KEYS, merchant, now).reason


# ---- What a till remembers ---------------------------------------------------------------------


def test_a_slip_is_taken_once(path: Path) -> None:
    assert [ask(path), ask(path), ask(path, TEXT.lower())] == ["accepted", "replayed", "replayed"]
    assert ask(path, numbered(5)) is Reason.ACCEPTED


def test_the_same_number_signed_again_is_the_same_slip(path: Path) -> None:
    assert ask(path) is Reason.ACCEPTED
    assert ask(path, numbered(FACTS.number, points=31)) is Reason.REPLAYED


def test_another_merchants_slip_is_refused(path: Path) -> None:
    assert ask(path, merchant=uuid4()) is Reason.WRONG_MERCHANT
    assert ask(path) is Reason.ACCEPTED


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOON - SKEW - 1, Reason.NOT_YET_VALID),
        (NOON - SKEW, Reason.ACCEPTED),
        (FACTS.expires_at - 1, Reason.ACCEPTED),
        (FACTS.expires_at, Reason.EXPIRED),
        (2**40, Reason.EXPIRED),
        (0, Reason.NOT_YET_VALID),
    ],
)
def test_a_slip_has_its_time(path: Path, now: int, reason: Reason) -> None:
    assert ask(path, now=now) is reason


def test_a_clock_set_back_takes_nothing(path: Path) -> None:
    """Even when all that was seen of the later time was a slip that had expired by then."""
    assert ask(path, now=FACTS.expires_at) is Reason.EXPIRED
    assert ask(path, now=NOON) is Reason.CLOCK_SET_BACK
    assert ask(path, now=FACTS.expires_at - 1) is Reason.EXPIRED  # within the skew, and expired
    later = numbered(7, issued_at=NOON, expires_at=NOON + 2 * 86_400)
    assert ask(path, later, now=FACTS.expires_at - SKEW - 1) is Reason.CLOCK_SET_BACK
    assert ask(path, later, now=FACTS.expires_at - SKEW) is Reason.ACCEPTED


def test_garbage_tells_the_time_too(path: Path) -> None:
    assert ask(path, "garbage", now=NOON + 3600) is Reason.UNREADABLE
    assert ask(path, now=NOON) is Reason.CLOCK_SET_BACK


def test_what_was_taken_stays_taken_when_a_wrong_clock_is_set_right(
    words: Callable[..., list[str]], path: Path
) -> None:
    """The remedy of docs/slips.md: set the clock right, then say so to the same journal."""
    text, now = fresh(9), int(time.time())
    assert ask(path, text, now=now) is Reason.ACCEPTED
    assert ask(path, now=now + 400 * 86_400) is Reason.EXPIRED  # the clock jumped
    assert ask(path, fresh(10), now=now) is Reason.CLOCK_SET_BACK
    assert main(words("reset-clock", path)) == 0
    assert ask(path, text, now=now) is Reason.REPLAYED
    assert ask(path, fresh(10), now=now) is Reason.ACCEPTED
    assert ask(path, fresh(11), now=now - SKEW - 60) is Reason.CLOCK_SET_BACK


def test_a_genuine_slip_tells_a_slow_till_the_time(path: Path) -> None:
    """Even another merchant's: issued today, it shows that what ended before has expired."""
    day, slow = 86_400, NOON - 5 * 86_400
    old = numbered(1, issued_at=NOON - 9 * day, expires_at=NOON - 2 * day)
    before = numbered(2, issued_at=NOON - 9 * day, expires_at=NOON - 2 * day)
    assert ask(path, old, now=slow) is Reason.ACCEPTED
    assert ask(path, merchant=uuid4(), now=slow) is Reason.WRONG_MERCHANT
    assert ask(path, before, now=slow) is Reason.CLOCK_SET_BACK
    assert ask(path, before, now=NOON) is Reason.EXPIRED
    assert ask(path, now=NOON) is Reason.ACCEPTED


def test_a_torn_last_line_was_never_answered(path: Path) -> None:
    assert ask(path) is Reason.ACCEPTED
    whole = path.read_bytes()
    assert ask(path, numbered(5)) is Reason.ACCEPTED
    for cut in range(len(whole), len(path.read_bytes())):
        torn = path.with_suffix(f".{cut}")
        torn.write_bytes(path.read_bytes()[:cut])
        assert ask(torn) is Reason.REPLAYED
        assert ask(torn, numbered(5)) is Reason.ACCEPTED
        assert ask(torn, numbered(5)) is Reason.REPLAYED


def test_a_changed_journal_is_not_trusted(path: Path) -> None:
    for number in range(3):
        ask(path, numbered(number))
    sound = path.read_bytes()
    lines = sound.splitlines(keepends=True)
    for place in (*range(0, len(sound), 7), len(sound) - 1):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(JournalDamagedError):
            ask(path)
    for wrong in (lines[1:], [lines[0], lines[2]], [*lines, lines[0]], [lines[1], lines[0]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(JournalDamagedError):
            ask(path)
    path.write_bytes(sound)
    assert ask(path, numbered(1)) is Reason.REPLAYED


def write_keys(folder: Path) -> Path:
    """What the bank publishes, as a file."""
    keys = folder / "keys.json"
    row = {"key_id": KEY_ID, "public_key": PUBLIC.hex()}
    keys.write_text(json.dumps({"bank": "jianxi", "keys": [row]}))
    return keys


def spell_command(keys: Path, name: str, journal: Path, *arguments: object) -> list[str]:
    """The words of a command of the checker."""
    given = ["--keys", str(keys), "--merchant", str(MERCHANT)] if name == "accept" else []
    return [name, *given, "--journal", str(journal), *map(str, arguments)]


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[str]]:
    """Spells commands with the keys of the bank."""
    return partial(spell_command, write_keys(tmp_path))


def fresh(number: int) -> str:
    """The text of a slip that is valid now."""
    now = int(time.time())
    return numbered(number, issued_at=now - 60, expires_at=now + 3600)


# ---- Killed, and two at once -------------------------------------------------------------------


@dataclass
class Death:
    """Kills the process at the n-th call of one of these functions, before or after it."""

    name: str
    after: bool
    part: int | None = None

    def arm(self) -> None:
        """Put death in the place of the function, in this process."""
        real: Callable[..., Any] = getattr(os, self.name)

        def deadly(*arguments: Any) -> None:
            if self.after:
                real(*arguments)
            elif self.part is not None:
                real(arguments[0], arguments[1][: self.part])
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, self.name, deadly)


DEATHS = {
    "before the write": Death("write", after=False),
    "in the write": Death("write", after=False, part=20),
    "after all but the newline": Death("write", after=False, part=-1),
    "after the write": Death("write", after=True),
    "before the sync": Death("fsync", after=False),
    "after the sync": Death("fsync", after=True),
}


def killed_at(death: Death, till: Callable[..., list[str]], path: Path, text: str) -> str:
    """What a till that is killed there said before."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        sys.stdout = os.fdopen(tell, "w")
        death.arm()
        os._exit(main(till("accept", path, text)))
    os.close(tell)
    with os.fdopen(hear) as told:
        said = told.read()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    return said


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_a_killed_till_says_yes_to_nobody_twice(
    words: Callable[..., list[str]], path: Path, death: Death
) -> None:
    first, second = (fresh(number) for number in (3, 9))
    now = int(time.time())
    assert ask(path, first, now=now) is Reason.ACCEPTED
    assert killed_at(death, words, path, second) == ""
    assert ask(path, second, now=now) in {Reason.ACCEPTED, Reason.REPLAYED}
    assert ask(path, second, now=now) is Reason.REPLAYED
    assert ask(path, first, now=now) is Reason.REPLAYED


def test_who_comes_second_waits_for_the_journal(
    words: Callable[..., list[str]], path: Path
) -> None:
    """One till looks whether the slip was taken; it is taken before the other looks."""
    text = fresh(9)
    with closing(Journal(path)) as journal:
        line = [sys.executable, "-I", str(CHECKER), *words("accept", path, text)]
        other = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.5)
        assert accept(journal, text, KEYS, MERCHANT, int(time.time())).taken
    said, _ = other.communicate(timeout=10)
    assert (other.returncode, "已在本机用过" in said) == (1, True)


def test_a_till_killed_after_its_yes_remembers(path: Path) -> None:
    child = os.fork()
    if child == 0:
        ask(path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert ask(path) is Reason.REPLAYED


def test_a_full_disk_is_no_yes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(path, numbered(3)) is Reason.ACCEPTED
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, line: real(fd, line[:9]))
        with pytest.raises(OSError, match="not written"):
            ask(path)
    assert ask(path) is Reason.ACCEPTED


@pytest.fixture
def till(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A lone copy of the checker in a folder of its own, and nothing of this package in reach."""
    lone = tmp_path / "lone"
    lone.mkdir()
    checker = shutil.copy(CHECKER, lone / "slip_checker.py")
    Journal(lone / "till.journal", new=True).close()
    keys = write_keys(lone)  # once: while it is written, a till that starts reads half of it

    def start(name: str, *arguments: object) -> subprocess.Popen[str]:
        given = spell_command(keys, name, lone / "till.journal", *arguments)
        return subprocess.Popen(
            [sys.executable, "-I", checker, *given],
            cwd=lone,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    return start


def test_processes_on_one_journal_say_yes_once(till: Callable[..., Any]) -> None:
    text = fresh(9)
    crowd = [till("accept", text) for _ in range(8)]
    said = [process.communicate()[0] for process in crowd]
    assert sorted(process.returncode for process in crowd) == [0] + [1] * 7
    assert sum("✓ 可以兑换" in one and "ACCEPTED" in one for one in said) == 1
    assert sum("✗ 凭单已在本机用过" in one for one in said) == 7
    out, _ = (process := till("accept")).communicate(f"{text}\n\ngarbage\n")
    assert (out.count("✗"), process.returncode) == (2, 1)
    for nothing in ((till("accept"), "\n"), (till("accept", ""), "")):
        nothing[0].communicate(nothing[1])
        assert nothing[0].returncode == 1  # what was not asked is no yes


def test_what_was_told_is_not_exported_again(
    till: Callable[..., Any], tmp_path: Path, path: Path
) -> None:
    texts = [fresh(number) for number in (11, 12)]
    till("accept").communicate("\n".join(texts))
    exported = json.loads(till("export").communicate()[0])["slips"]
    assert [one["slip"] for one in exported] == texts
    row = {"acceptance_id": exported[0]["acceptance_id"], "result": "captured", "number": 11}
    answer = tmp_path / "answer.json"
    unknown = {**row, "result": "unknown", "words": "本店查无此单"}
    answer.write_text(json.dumps({"data": [unknown]}))
    out, _ = till("settle", answer).communicate()
    assert "2 张待上报" in out  # told as another merchant, it is to be told again
    answer.write_text(json.dumps({"data": [{**row, "words": "已入账"}, {**row, "words": "x"}]}))
    out, _ = till("settle", answer).communicate()
    assert "已入账" in out
    assert "1 张待上报" in out
    left = json.loads(till("export").communicate()[0])["slips"]
    assert [one["slip"] for one in left] == texts[1:]


def test_misuse_is_told_apart(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    keys = tmp_path / "keys.json"
    given = ["accept", "--journal", str(path), "--merchant", str(MERCHANT), "--keys", str(keys)]
    assert main([*given, TEXT]) == 2
    for wrong in ("", "[]", "{}", '{"bank": "b", "keys": [{}]}', '{"bank": "b", "keys": [1]}'):
        keys.write_text(wrong)
        assert main([*given, TEXT]) == 2
    keys.write_text('{"bank": "jianxi", "keys": []}')
    assert main([*given, TEXT]) == 1
    path.write_text("not ours\n")
    assert main([*given, TEXT]) == 1
    assert "JournalDamaged" not in capsys.readouterr().out


def test_it_needs_python_and_cryptography_alone() -> None:
    names = set()
    for node in ast.walk(ast.parse(CHECKER.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    tops = {name.partition(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"cryptography"}
