"""离线凭单核验: checks offline slips at a till; one file for Python 3.11 and `cryptography` alone.

    python slip_checker.py init   --journal till.journal
    python slip_checker.py accept --keys keys.json --merchant ID --journal till.journal [SLIP]
    python slip_checker.py export --journal till.journal > sync.json
    python slip_checker.py settle --journal till.journal answer.json
    python slip_checker.py reset-clock --journal till.journal
    python slip_checker.py carry --journal till.journal new.journal

`accept` takes a slip, or without one reads a slip a line, as a scanner types them. What it says yes
to is on the disk before; nobody is told yes twice, however many processes use one journal, and
whenever they are killed. Two journals know nothing of one another: give each till its own, keep it,
and never copy it. `export` writes the body of POST /api/v1/slips/syncs, `settle` reads its answer.
`reset-clock` forgets a time that a wrong clock showed, and no slip. `carry` saves what can be read
of a damaged journal into a new one. Exit code 0 accepted or done, 1 refused, 2 misuse, 3 nothing
is left to tell.
"""

import argparse
import fcntl
import io
import json
import os
import re
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VERSION = 1
SKEW = 300
"""Seconds that the clocks of a till may be wrong, against the bank's and its own before."""

MOST_EXPORTED = 100
_NO_JOURNAL = "这里没有流水文件 no journal here (init makes one, once for each till)"

SIGNED_AS = b"timebank slip\n"
WIDTHS = (1, 8, 16, 5, 7, 5, 5)  # version, key, merchant, number, points, issued, expires
_HEAD = sum(WIDTHS)
_SIGNATURE = 64
_BANK = re.compile(rb"[a-z][a-z0-9-]{0,31}")
_LONGEST_TEXT = 1000
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: none is taken for another
_VALUES = {symbol: value for value, symbol in enumerate(SYMBOLS)}
_LIKE = str.maketrans("OIL", "011", " -")
_ENTRY = re.compile(rb'\{"[a-z]+":\[[^][{}]*\]\}')  # wherever in a damaged journal


class Reason(StrEnum):
    """Why a slip is taken or not."""

    ACCEPTED = "accepted"
    UNREADABLE = "unreadable"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"
    WRONG_MERCHANT = "wrong_merchant"
    REPLAYED = "replayed"
    CLOCK_SET_BACK = "clock_set_back"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


WORDS: Mapping[Reason, tuple[str, str]] = {
    Reason.ACCEPTED: ("可以兑换，请交付物品", "hand over the goods"),
    Reason.UNREADABLE: ("看不清，不是完整的凭单", "not a whole slip"),
    Reason.UNKNOWN_KEY: ("密钥未知，请联网更新密钥文件", "unknown key; fetch the bank's keys anew"),
    Reason.FORGED: ("凭单是伪造的或被改动过", "forged or altered"),
    Reason.WRONG_MERCHANT: ("凭单属于别的商家", "for another merchant"),
    Reason.REPLAYED: ("凭单已在本机用过", "taken here before"),
    Reason.CLOCK_SET_BACK: ("本机时钟被调回，请先校准", "this clock was set back; set it right"),
    Reason.NOT_YET_VALID: ("凭单未生效，或本机时钟慢了", "not valid yet, or this clock is slow"),
    Reason.EXPIRED: ("凭单已过期", "expired"),
}


class RefusedError(Exception):
    """The slip is not what a bank signed."""

    def __init__(self, reason: Reason) -> None:
        """`reason` is unreadable, unknown_key or forged."""
        super().__init__(reason)
        self.reason = reason


class JournalDamagedError(Exception):
    """流水文件已损坏，先 export 再 carry。 The journal is damaged: export, then carry."""


# ---- What stands on a slip ---------------------------------------------------------------------


class Facts(NamedTuple):
    """What is signed: whole seconds since 1970; a till takes it at issued_at <= t < expires_at."""

    key_id: str
    merchant_id: UUID
    number: int
    points: int
    issued_at: int
    expires_at: int
    bank: str


class Key(NamedTuple):
    """The public half of a bank's key."""

    bank: str
    public: bytes


def verify(text: str, keys: Mapping[str, Key]) -> Facts:
    """Return what a bank signed; RefusedError. It asks neither clock nor journal."""
    data = _read(text)
    payload, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
    facts = _unpack(payload)
    key = keys.get(facts.key_id)
    if key is None:
        raise RefusedError(Reason.UNKNOWN_KEY)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, SIGNED_AS + payload)
    except InvalidSignature:
        raise RefusedError(Reason.FORGED) from None
    if facts.bank != key.bank:
        raise RefusedError(Reason.FORGED)
    return facts


def spell_number(number: int) -> str:
    """Return the number as it is printed: 1234 5678 9012."""
    return " ".join(re.findall("....", f"{number:012}"))


def _read(text: str) -> bytes:
    """Return the bytes of a text as typed or scanned; there is one way to spell each symbol."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST_TEXT]).strip()
    if len(text) > _LONGEST_TEXT or not plain.isascii():
        raise RefusedError(Reason.UNREADABLE)
    symbols = plain.upper().translate(_LIKE)
    size = len(symbols) * 5 // 8
    spare = len(symbols) * 5 - size * 8
    value = 0
    for symbol in symbols:
        if symbol not in _VALUES:
            raise RefusedError(Reason.UNREADABLE)
        value = value << 5 | _VALUES[symbol]
    if size <= _HEAD + _SIGNATURE or spare > 4 or value & ((1 << spare) - 1):
        raise RefusedError(Reason.UNREADABLE)
    return (value >> spare).to_bytes(size, "big")


def _unpack(payload: bytes) -> Facts:
    parts, place = [], 0
    for width in WIDTHS:
        parts.append(int.from_bytes(payload[place : place + width], "big"))
        place += width
    version, key, merchant, number, points, issued, expires = parts
    if version != VERSION or not _BANK.fullmatch(payload[_HEAD:]):
        raise RefusedError(Reason.UNREADABLE)
    bank = payload[_HEAD:].decode()
    return Facts(f"{key:016x}", UUID(int=merchant), number, points, issued, expires, bank)


def read_keys(text: str) -> dict[str, Key]:
    """Return the keys of what the bank publishes; ValueError if it is something else."""
    try:
        published = json.loads(text)
        return {
            str(one["key_id"]): Key(str(published["bank"]), bytes.fromhex(one["public_key"]))
            for one in published["keys"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a list of keys") from error


# ---- What a till remembers ---------------------------------------------------------------------


class Taken(NamedTuple):
    """A slip that was accepted here; `acceptance_id` is the one name of this taking."""

    acceptance_id: str
    slip: str
    at: int


class Journal:
    """An append-only file of lines, each with the checksum of all before; locked while it is open.

    A last line without its end was being written when the power went: nobody was told of it.
    """

    def __init__(self, path: Path, *, new: bool = False, salvage: bool = False) -> None:
        """Wait until no other process has it open, and read it; JournalDamagedError.

        FileNotFoundError: one that is gone is not made anew in silence, or all of it could be taken
        again. `salvage` reads of a damaged one what it can, to tell the bank and to carry: no more.
        """
        self.damaged = False
        self.taken: dict[tuple[str, int], Taken] = {}
        self.settled: set[str] = set()
        self.tried: Counter[str] = Counter()
        self.latest = 0
        if not new and not path.exists():
            raise FileNotFoundError(_NO_JOURNAL)
        self._fd = os.open(path, os.O_RDWR | (new and os.O_CREAT) | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._load(path, salvage)
            if not self._end and not new:
                raise FileNotFoundError(_NO_JOURNAL)
            if new:
                self._begin(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the next process have it."""
        os.close(self._fd)

    def take(self, facts: Facts, slip: str, now: int) -> Taken:
        """Remember that this slip is taken, on the disk when this returns."""
        taken = Taken(str(uuid4()), slip, now)
        self._append({"taken": [facts.bank, facts.number, *taken]})
        return taken

    def notice(self, now: int) -> None:
        """Remember the time, a line a minute at most."""
        if now >= self.latest + 60:
            self._append({"seen": [now]})

    def reset_clock(self, now: int) -> None:
        """Believe the clock again, whatever it showed before; what was taken stays taken."""
        self._append({"clock": [now]})

    def settle(self, acceptance_id: str, result: str) -> None:
        """Remember that the bank was told of this taking, and what it answered."""
        self._append({"settled": [acceptance_id, result]})

    def note_unknown(self, acceptance_id: str) -> None:
        """Remember that it was told and nobody knew it: others go first when telling again."""
        self._append({"tried": [acceptance_id]})

    def list_unsettled(self, bank: str | None = None) -> list[Taken]:
        """Return what the bank, or every bank, is to be told of, least told and earliest first."""
        left = [
            one
            for (of, _), one in self.taken.items()
            if one.acceptance_id not in self.settled and bank in {None, of}
        ]
        return sorted(left, key=lambda one: self.tried[one.acceptance_id])

    def _load(self, path: Path, salvage: bool) -> None:
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read()
        whole, newline, torn = data.rpartition(b"\n")
        self._end, self._torn, self._sum = len(whole + newline), bool(torn), b""
        for line in whole.split(b"\n") if whole else []:
            checksum, _, entry = line.partition(b" ")
            if checksum != self._checksum(entry):
                self.damaged = True
                break
            self._sum = checksum
            self._apply(json.loads(entry))
        checksum, _, entry = torn[:-1].partition(b" ")
        if torn and checksum == self._checksum(entry):  # whole, and another byte where it ended
            self.damaged = True
        if self.damaged and not salvage:
            raise JournalDamagedError(JournalDamagedError.__doc__)
        for entry in _ENTRY.findall(data) if self.damaged else ():
            with suppress(ValueError, TypeError, LookupError):
                self._apply(json.loads(entry))

    def _begin(self, path: Path) -> None:
        if self._end:
            raise FileExistsError("这里已有流水文件 there is a journal here")
        folder = os.open(path.resolve().parent, os.O_RDONLY)  # its name outlives the power too
        os.fsync(folder)
        os.close(folder)
        self._append({"begun": [VERSION]})

    def carry(self, path: Path) -> None:
        """Write all that was read into a new journal, which is there whole or not at all."""
        if not self.damaged:
            raise ValueError("流水文件完好，继续使用 this journal is sound: keep it")
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with closing(Journal(part, new=True)) as journal:
            for (bank, number), one in self.taken.items():
                journal._append({"taken": [bank, number, *one]})
            for acceptance_id in self.settled:
                journal.settle(acceptance_id, "carried")
            journal.notice(self.latest)
        os.link(part, path)  # refused where there is one already
        part.unlink()

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self._torn:
            os.ftruncate(self._fd, self._end)
            self._torn = False
        text = json.dumps(entry, separators=(",", ":")).encode()
        checksum = self._checksum(text)
        line = checksum + b" " + text + b"\n"
        if os.write(self._fd, line) != len(line):  # a full disk; whoever opens it next cuts it off
            raise OSError("the journal was not written")
        os.fsync(self._fd)
        self._end, self._sum = self._end + len(line), checksum
        self._apply(entry)

    def _checksum(self, entry: bytes) -> bytes:
        return sha256(self._sum + entry).hexdigest()[:16].encode()

    def _apply(self, entry: Mapping[str, Any]) -> None:
        [(kind, said)] = entry.items()
        if kind == "taken":
            bank, number, *rest = said
            taken = Taken(*rest)
            if self.taken.get((bank, number), taken).acceptance_id != taken.acceptance_id:
                number = -len(self.taken)  # of one of them it was damaged
            self.taken[bank, number] = taken
        elif kind == "settled":
            self.settled.add(said[0])
        elif kind == "tried":
            self.tried[said[0]] += 1
        if kind == "clock":
            self.latest = said[0]
        elif kind in {"taken", "seen"}:
            self.latest = max(self.latest, said[-1])


# ---- Deciding ----------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What a slip is answered; of one that a bank signed, also what stands on it."""

    reason: Reason
    facts: Facts | None = None
    taken: Taken | None = None


def judge(facts: Facts, journal: Journal, merchant_id: UUID, now: int) -> Reason:
    """Return what a genuine slip is answered; it changes nothing."""
    if facts.merchant_id != merchant_id:
        return Reason.WRONG_MERCHANT
    if (facts.bank, facts.number) in journal.taken:
        return Reason.REPLAYED
    if now < journal.latest - SKEW:
        return Reason.CLOCK_SET_BACK
    if now < facts.issued_at - SKEW:
        return Reason.NOT_YET_VALID
    if max(now, journal.latest) >= facts.expires_at:
        return Reason.EXPIRED
    return Reason.ACCEPTED


def accept(
    journal: Journal, text: str, keys: Mapping[str, Key], merchant_id: UUID, now: int
) -> Verdict:
    """Take a slip or say why not; either way the journal knows before anybody is told."""
    facts = None
    try:
        facts = verify(text, keys)
        reason = judge(facts, journal, merchant_id, now)
    except RefusedError as refused:
        reason = refused.reason
    if facts is not None and reason is Reason.ACCEPTED:
        return Verdict(reason, facts, journal.take(facts, text.strip(), now))
    # A genuine slip tells, signed by the bank, that it is no earlier than when it was issued.
    journal.notice(max(now, facts.issued_at - SKEW) if facts else now)
    return Verdict(reason, facts, facts and journal.taken.get((facts.bank, facts.number)))


# ---- The command -------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="slip_checker", description=str(__doc__).split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("init", "accept", "export", "settle", "reset-clock", "carry"):
        command = commands.add_parser(name)
        command.add_argument("--journal", type=Path, required=True, help="this till's own file")
        if name == "accept":
            command.add_argument("--keys", type=Path, required=True, help="as the bank publishes")
            command.add_argument("--merchant", type=UUID, required=True, help="your id")
            command.add_argument("slip", nargs="?", help="without it, one a line is read")
        elif name == "settle":
            command.add_argument("answer", type=Path, help="what the bank answered")
        elif name == "export":
            command.add_argument("--bank", help="only slips of the bank with this code")
        elif name == "carry":
            command.add_argument("new", type=Path, help="the journal to use from now on")
    given = parser.parse_args(arguments)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        if given.command == "accept":
            keys = read_keys(given.keys.read_text("utf-8"))
            scanned = (line for line in sys.stdin if line.strip())
            lines = scanned if given.slip is None else [given.slip]
            return _accept_all(lines, given.journal, keys, given.merchant)
        return _use_journal(given)
    except (JournalDamagedError, OSError, ValueError, KeyError, TypeError) as error:
        _say(f"✗ {error}")
        return 1 if isinstance(error, JournalDamagedError) else 2


def _use_journal(given: argparse.Namespace) -> int:
    name, now = given.command, int(time.time())
    salvage = name in {"export", "carry"}
    with closing(Journal(given.journal, new=name == "init", salvage=salvage)) as journal:
        if name == "export":
            return _export(journal, given.bank)
        if name == "settle":
            return _settle(journal, json.loads(given.answer.read_text("utf-8")))
        if name == "carry":
            journal.carry(given.new)
        elif name == "reset-clock":
            journal.reset_clock(now)
            _say(f"现在是 it is {datetime.fromtimestamp(now, UTC).astimezone():%Y-%m-%d %H:%M:%S}")
    return 0


def _accept_all(
    lines: Iterable[str], path: Path, keys: Mapping[str, Key], merchant_id: UUID
) -> int:
    code = 1
    for line in lines:
        with closing(Journal(path)) as journal:
            verdict = accept(journal, line, keys, merchant_id, int(time.time()))
        _say(describe(verdict))
        code = int(verdict.reason is not Reason.ACCEPTED)
    return code


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def describe(verdict: Verdict) -> str:
    """Return what the cashier reads: Chinese first."""
    chinese, english = WORDS[verdict.reason]
    accepted = verdict.reason is Reason.ACCEPTED
    marks = ("✓", "ACCEPTED") if accepted else ("✗", "REFUSED")
    lines = [f"{marks[0]} {chinese}", f"  {marks[1]}: {english}"]
    if verdict.facts:
        points, number = verdict.facts.points, spell_number(verdict.facts.number)
        lines.append(f"  {points} 积分 points · 单号 No. {number}")
    if verdict.taken and not accepted:
        at = datetime.fromtimestamp(verdict.taken.at, UTC).astimezone()
        lines.append(f"  {at:%Y-%m-%d %H:%M:%S}")
    return "\n".join(lines)


def _export(journal: Journal, bank: str | None) -> int:
    told = journal.list_unsettled(bank)[:MOST_EXPORTED]
    rows = [{"slip": one.slip, "acceptance_id": one.acceptance_id} for one in told]
    _say(json.dumps({"slips": rows}, indent=1))
    if journal.damaged:
        sys.stderr.write(f"✗ {JournalDamagedError.__doc__}\n")
    elif not rows:
        sys.stderr.write("没有待上报的 nothing is left to tell\n")
    return 1 if journal.damaged else 0 if rows else 3


def _settle(journal: Journal, answer: Mapping[str, Any]) -> int:
    known = len(journal.settled) + len(journal.tried)
    waiting = {one.acceptance_id for one in journal.list_unsettled()}
    for row in answer["data"]:
        if row["acceptance_id"] in waiting:
            if row["result"] == "unknown":  # perhaps told to the wrong bank or as another merchant
                journal.note_unknown(row["acceptance_id"])
            else:
                journal.settle(row["acceptance_id"], row["result"])
            _say(f"{spell_number(row['number'] or 0)}  {row['words']}  {row.get('hold_id') or ''}")
    left = len(journal.list_unsettled())
    _say(f"还有 {left} 张待上报 left to tell: {left}")
    return 0 if len(journal.settled) + len(journal.tried) > known else 3


if __name__ == "__main__":
    sys.exit(main())
