"""The JSON of what is given: gifts, what merchants give on, families, and what staff see of it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.people_wire import MemberNumber
from timebank.api.wire import Amount
from timebank.domain.redemption import CapScope, OverrideReason
from timebank.redemption.exchange import SaturationReason

CardText = Annotated[str, Meta(min_length=1, max_length=300)]
InvitationText = Annotated[
    str, Meta(min_length=1, max_length=200, description="As it was typed or scanned")
]


class GiftBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Points to give to kin, to one's family's pool or to the community's: exactly one of them."""

    points: Amount
    member_number: MemberNumber | UnsetType = UNSET
    card: CardText | UnsetType = UNSET
    resident_id: UUID | UnsetType = UNSET
    family_id: UUID | UnsetType = UNSET
    community: Literal[True] | UnsetType = UNSET
    override_id: UUID | None = None

    def __repr__(self) -> str:
        """Tell nobody's card."""
        return "GiftBody(…)"


class ReissueBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Points to give to a member or to the community's pool: exactly one of them."""

    points: Amount
    member_number: MemberNumber | UnsetType = UNSET
    card: CardText | UnsetType = UNSET
    community: Literal[True] | UnsetType = UNSET
    override_id: UUID | None = None

    def __repr__(self) -> str:
        """Tell nobody's card."""
        return "ReissueBody(…)"


# ---- Families ----------------------------------------------------------------------------------


class InviteBody(Struct, forbid_unknown_fields=True):
    """Whether who joins may also spend from the pool."""

    may_hold: bool = False


class InvitationView(Struct, frozen=True):
    """A token to hand over to one person; shown once."""

    token: str
    expires_at: datetime


class JoinBody(Struct, forbid_unknown_fields=True):
    """The token that one was given; with `resident_id`, for a minor whom one guards."""

    token: InvitationText
    resident_id: UUID | None = None

    def __repr__(self) -> str:
        """Tell nothing that opens anything."""
        return "JoinBody(…)"


class FamilyMemberView(Struct, frozen=True):
    """Who belongs to a family, and whether they spend from its pool."""

    member_id: UUID
    may_hold: bool
    joined_at: datetime


class FamilyView(Struct, frozen=True, kw_only=True):
    """A family, its pool and what is in it; `may_hold` is of the resident who was asked about."""

    family_id: UUID
    account_id: UUID
    points: int
    may_hold: bool
    members: list[FamilyMemberView]


class FamilyList(Struct, frozen=True):
    """The families of a resident, in the order of their ids."""

    data: list[FamilyView]


# ---- Oversight ---------------------------------------------------------------------------------


class OverrideView(Struct, frozen=True, kw_only=True):
    """Leave to pass one cap once, by two persons and for a reason; `used_by` is the act."""

    override_id: UUID
    scope: CapScope
    subject_id: UUID
    offer_id: UUID | None
    amount: int
    reason: OverrideReason
    maker_id: UUID
    checker_id: UUID
    granted_at: datetime
    expires_at: datetime
    used_by: UUID | None
    used_at: datetime | None


class OverridePage(Struct, frozen=True):
    """Overrides, those proposed last first."""

    data: list[OverrideView]
    next_cursor: str | None
    has_more: bool


class SaturationView(Struct, frozen=True, kw_only=True):
    """A shop that only fills up, and why in words: settle with it, or let it give points on."""

    reason: SaturationReason
    words: str
    merchant_id: UUID
    balance: int
    came_in: int
    went_out: int


class SaturationList(Struct, frozen=True, kw_only=True):
    """Shops that are full, the fullest first, and by which bounds they count as such.

    They have so many points, and of what came in during these days at most this percentage left.
    """

    days: int
    points: int
    percent_out: int
    data: list[SaturationView]
