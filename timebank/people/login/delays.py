"""Delays: who guesses waits longer and longer, and nobody is locked out for ever.

Attempts are counted by what was shown (a card, a staff number), known or not, in the database, so
that all workers count together. An attempt counts as failed before it is looked at. Locks the row
of what was shown, then that of the bank's PINs.
"""

from hashlib import sha256

from msgspec import Struct

from timebank.db import Connection, load_queries
from timebank.domain.errors import TooManyAttemptsError
from timebank.domain.secrets import SPRAYING_WINDOW, WAITS, gap_when_spraying
from timebank.people.access import SessionMethod

_QUERIES = load_queries(__package__)

_ALL_CARDS = sha256(b"all cards").digest()
"""Stands for the whole bank where PINs are sprayed; no card hashes to it."""


class Subject(Struct, frozen=True):
    """What was shown at an attempt; `is_known`: it is somebody's."""

    bank_id: int
    method: SessionMethod
    shown_hash: bytes
    is_known: bool


async def charge(connection: Connection, subject: Subject) -> None:
    """Count an attempt as failed; TooManyAttemptsError, and nothing counted, if it is too early.

    The counts stand only when the caller's transaction commits: look at the secret after that.
    """
    wait = await connection.fetchval(
        _QUERIES["charge_login"],
        subject.bank_id,
        subject.method,
        subject.shown_hash,
        subject.is_known,
        WAITS,
    )
    if wait:
        raise TooManyAttemptsError(wait)
    if subject.method is SessionMethod.PIN:
        await _slow_down_spraying(connection, subject)


async def _slow_down_spraying(connection: Connection, subject: Subject) -> None:
    """Look at PINs one by one while many cards fail; an unknown card takes no turn from others."""
    failing = await connection.fetchval(
        _QUERIES["count_failing_cards"], subject.bank_id, SPRAYING_WINDOW
    )
    gap = gap_when_spraying(failing)
    if gap is None:
        return
    if subject.is_known:
        wait = await connection.fetchval(
            _QUERIES["charge_login"],
            subject.bank_id,
            SessionMethod.PIN,
            _ALL_CARDS,
            False,
            [int(gap.total_seconds())],
        )
    else:
        wait = await connection.fetchval(
            _QUERIES["find_wait"], subject.bank_id, SessionMethod.PIN, _ALL_CARDS
        )
    if wait:
        raise TooManyAttemptsError(wait)


async def forget(connection: Connection, subject: Subject) -> None:
    """Begin again at nothing: the holder has proved who they are."""
    await connection.execute(
        _QUERIES["forget_failures"], subject.bank_id, subject.method, subject.shown_hash
    )
