"""Enrolment: an invited person chooses a password and takes a second factor into their telephone.

Nobody else ever sees either. The invitation counts until both are in force, and then no more. Who
invites has the code, and could enrol in the place of the invited. A merchant's people handle
points, which the programme's staff must not: so they log in once somebody else has heard from them,
face to face, the number that was shown to who enrolled. That is another number at every enrolment,
and until it is heard, the login before stays in force: who invites again gains nothing by it, and
shuts nobody out.
"""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, LoginFailedError, NotFoundError
from timebank.people.access import Role, SessionMethod
from timebank.people.grants import list_grants
from timebank.people.login.delays import Subject, forget
from timebank.people.login.hashing import Hasher
from timebank.people.login.logins import hash_staff_number, place_of
from timebank.people.login.second_factor import find_step, new_secret

_QUERIES = load_queries(__package__)

INVITATION_LIFETIME = timedelta(hours=24)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH = 26  # of 32 characters: 130 bits, so that nobody needs to be slowed down
_MISREAD = str.maketrans("OIL", "011", "- ")


class Invitation(Struct, frozen=True, kw_only=True):
    """An invitation that still counts; `staff_number` is the one that the person will keep."""

    code_hash: bytes
    party_id: UUID
    sealed_secret: bytes | None
    staff_number: str | None
    expires_at: datetime
    now: datetime


async def invite(connection: Connection, bank_id: int, party_id: UUID, invited_by: UUID) -> str:
    """Return a code good for one enrolment of this person; it is shown once."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
    await connection.execute(
        _QUERIES["invite"], bank_id, hash_code(code), party_id, invited_by, INVITATION_LIFETIME
    )
    return "-".join((code[:5], code[5:10], code[10:15], code[15:20], code[20:]))


async def list_merchants_of(connection: Connection, bank_id: int, party_id: UUID) -> list[UUID]:
    """Return for whom somebody works; NotFoundError unless that is merchants, and nobody else.

    Staff of the programme are invited on the machine itself: by a new invitation one takes over a
    login, and so its role.
    """
    grants = await list_grants(connection, bank_id, party_id)
    merchants = [one.merchant_id for one in grants if one.role in {Role.CLERK, Role.MERCHANT}]
    if not grants or len(merchants) < len(grants):
        raise NotFoundError
    return [merchant_id for merchant_id in merchants if merchant_id]


async def confirm(connection: Connection, bank_id: int, staff_number: str, by_id: UUID) -> None:
    """Put the login of this number in force, whose person `by_id` has seen; nothing if it is.

    Their sessions by the login before end. NotFoundError if nobody has the number any more;
    SecondPersonNeededError for oneself and for who invited them.
    """
    if not await connection.fetchval(_QUERIES["confirm_enrolment"], bank_id, staff_number, by_id):
        raise NotFoundError


def hash_code(code: str) -> bytes:
    """Return what the database keeps of an enrolment code, however it was copied by hand."""
    return sha256(code.upper().translate(_MISREAD).encode()).digest()


async def get_invitation(connection: Connection, bank_id: int, code: str) -> Invitation:
    """Return the invitation of a code; LoginFailedError if it does not count (any more)."""
    record = await connection.fetchrow(_QUERIES["find_invitation"], bank_id, hash_code(code))
    if record is None:
        raise LoginFailedError
    return as_struct(record, Invitation)


async def show_second_factor(
    connection: Connection, hasher: Hasher, bank_id: int, invitation: Invitation
) -> str:
    """Return a new secret of the second factor, the only one that counts now; LoginFailedError.

    Never one that was shown before, since that may have been to whoever made the invitation.
    """
    secret = new_secret()
    place = place_of(bank_id, invitation.party_id, "second factor")
    shown = await connection.fetchval(
        _QUERIES["show_second_factor"],
        bank_id,
        invitation.code_hash,
        hasher.seal.close(secret.encode(), place),
    )
    if shown is None:
        raise LoginFailedError
    return secret


def check_second_factor(hasher: Hasher, bank_id: int, invitation: Invitation, digits: str) -> int:
    """Return the time step of the digits; InvalidInputError unless the telephone shows them now."""
    step = None
    if invitation.sealed_secret is not None:
        place = place_of(bank_id, invitation.party_id, "second factor")
        secret = hasher.seal.open(invitation.sealed_secret, place).decode()
        step = find_step(secret, digits, invitation.now)
    if step is None:
        raise InvalidInputError(
            "These are not the six digits of now. Look at the clock of the telephone.",
            pointer="/totp",
        )
    return step


async def complete(
    connection: Connection, bank_id: int, invitation: Invitation, step: int, kept: bytes
) -> str:
    """Enrol with the second factor of `invitation`; return the staff number.

    It is in force, and all sessions end, if the operator invited; else it waits for `confirm`.
    LoginFailedError if the invitation was spent meanwhile, or showed another second factor. A
    UniqueViolationError, for a number that is taken, is worth repeating.
    """
    staff_number: str | None = await connection.fetchval(
        _QUERIES["complete_enrolment"],
        bank_id,
        invitation.code_hash,
        invitation.sealed_secret,
        f"{secrets.randbelow(10**8):08}",
        step,
        kept,
    )
    if staff_number is None:
        raise LoginFailedError
    shown = hash_staff_number(staff_number)
    await forget(connection, Subject(bank_id, SessionMethod.PASSWORD, shown, is_known=True))
    return staff_number
