"""The JSON of login: what people and systems show, and what they are given once."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import END
from timebank.people.access import Action, Role, SessionMethod

BankCode = Annotated[str, Meta(min_length=1, max_length=32, description="The code of the bank")]
CardToken = Annotated[
    str, Meta(min_length=1, max_length=200, description="The card's code, or all its QR says")
]
Pin = Annotated[str, Meta(pattern="^[0-9]{6}" + END, max_length=6)]
SixDigits = Annotated[str, Meta(pattern="^[0-9]{6}" + END, max_length=6)]
Password = Annotated[str, Meta(min_length=1, max_length=400)]
EnrolmentCode = Annotated[str, Meta(min_length=1, max_length=64)]

Delivery: TypeAlias = Literal["token", "cookie"]


class CardPinBody(Struct, tag_field="type", tag="card_pin", forbid_unknown_fields=True):
    """A resident's card and its PIN: good for looking, and little more."""

    bank: BankCode
    card: CardToken
    pin: Pin
    deliver: Delivery = "token"


class OneTimeCodeBody(Struct, tag_field="type", tag="one_time_code", forbid_unknown_fields=True):
    """A resident's card and a code from a service point: good for all a resident may."""

    bank: BankCode
    card: CardToken
    code: Annotated[str, Meta(pattern="^[0-9]{8}" + END, max_length=8)]
    deliver: Delivery = "token"


class PasswordBody(Struct, tag_field="type", tag="password", forbid_unknown_fields=True):
    """Staff: number (工号), password, and the six digits of the authenticator program.

    `grant_id` chooses among several roles; the first that was granted counts without it.
    """

    bank: BankCode
    staff_number: Annotated[str, Meta(pattern="^[0-9]{8}" + END, max_length=8)]
    password: Password
    totp: SixDigits
    grant_id: UUID | None = None
    deliver: Delivery = "token"


class SessionView(Struct, frozen=True, kw_only=True):
    """A session; `token` stands in the answer to a login only, and only if it asked for one."""

    session_id: UUID
    party_id: UUID
    role: Role
    method: SessionMethod
    branch_id: UUID | None
    merchant_id: UUID | None
    scopes: list[str] | None
    expires_at: datetime
    idle_seconds: int | None
    token: str | UnsetType = UNSET


class IssueCodeBody(Struct, forbid_unknown_fields=True):
    """For whom."""

    resident_id: UUID


class CodeView(Struct, frozen=True):
    """A one-time code; say it to its person alone. It is shown once."""

    code: str
    expires_at: datetime


class SetPinBody(Struct, forbid_unknown_fields=True):
    """One's own new PIN, or (at a counter) that of the resident who typed it."""

    pin: Pin
    resident_id: UUID | None = None


class ChangePasswordBody(Struct, forbid_unknown_fields=True):
    """The password so far, and the new one."""

    old_password: Password
    new_password: Password


class InviteBody(Struct, forbid_unknown_fields=True):
    """Whom: somebody who works for a merchant, and for nobody else."""

    party_id: UUID


class InvitationView(Struct, frozen=True):
    """A code for one enrolment, and how long it counts. It is shown once."""

    code: str
    seconds: int


class ConfirmationBody(Struct, forbid_unknown_fields=True):
    """The number that was shown to who enrolled."""

    staff_number: Annotated[str, Meta(pattern="^[0-9]{8}" + END, max_length=8)]


class EnrolmentBody(Struct, forbid_unknown_fields=True):
    """The code of an invitation."""

    bank: BankCode
    code: EnrolmentCode


class SecondFactorView(Struct, frozen=True):
    """What an authenticator program takes: as a link for a QR code, or typed in."""

    otpauth_uri: str
    secret: str
    expires_at: datetime


class CompletionBody(Struct, forbid_unknown_fields=True):
    """The code, the six digits of now, and the password that one chose."""

    bank: BankCode
    code: EnrolmentCode
    totp: SixDigits
    password: Password


class EnrolledView(Struct, frozen=True):
    """The number to log in with."""

    staff_number: str


class IssueKeyBody(Struct, forbid_unknown_fields=True):
    """For the system that was granted the role `merchant`: what it may do, and how long."""

    grant_id: UUID
    scopes: Annotated[list[Action], Meta(min_length=1, max_length=40)]
    days: Annotated[int, Meta(ge=1, le=366)] = 90


class ListedKeyView(Struct, frozen=True, kw_only=True):
    """A key in force, without its token."""

    api_key_id: UUID
    grant_id: UUID
    merchant_id: UUID
    scopes: list[Action]
    issued_by: UUID
    issued_at: datetime
    rotated_at: datetime | None
    rotated_by: UUID | None
    expires_at: datetime


class KeyList(Struct, frozen=True):
    """Keys in force, oldest first."""

    data: list[ListedKeyView]


class SystemView(Struct, frozen=True):
    """A system that may be granted a role."""

    party_id: UUID


class NothingBody(Struct, forbid_unknown_fields=True):
    """`{}`: all is said by the path."""


class KeyView(Struct, frozen=True):
    """An API key; its token is shown once."""

    api_key_id: UUID
    token: str
    scopes: list[Action]
    expires_at: datetime
