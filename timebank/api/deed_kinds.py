"""The deeds that need four eyes, as they are proposed: what is to be done, and no more."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import Amount, AwardBody, BatchBody, ReversalBody, TransferBody
from timebank.api.wire_service import RecordReversalBody
from timebank.domain.ledger import LARGEST_AMOUNT
from timebank.domain.rates import HIGHEST_RATE
from timebank.domain.redemption import EVERYONE, CapScope, OverrideReason
from timebank.domain.stars import StarRule
from timebank.people.access import Action, Role
from timebank.people.import_approval import PeopleImport
from timebank.redemption.caps import OverrideTerms
from timebank.redemption.exchange import SaturationBounds

CapMinutes = Annotated[int, Meta(ge=0, le=24 * 60)]
CapPoints = Annotated[int, Meta(ge=0, le=LARGEST_AMOUNT)]


class AwardDeed(AwardBody, tag_field="deed", tag="award", forbid_unknown_fields=True):
    """An award by hand."""


class PoolTransferDeed(
    TransferBody, tag_field="deed", tag="pool_transfer", forbid_unknown_fields=True
):
    """Give from a pool."""


class BatchDeed(BatchBody, tag_field="deed", tag="batch", forbid_unknown_fields=True):
    """Post many rows: all of them, or none."""


class ReversalDeed(
    ReversalBody, tag_field="deed", tag="reversal", forbid_unknown_fields=True, kw_only=True
):
    """Reverse a transfer with its chain."""

    transfer_id: UUID


class RoleGrantDeed(
    Struct, tag_field="deed", tag="role_grant", forbid_unknown_fields=True, kw_only=True
):
    """Give a party a role for a branch and all below it; no branch is the whole bank."""

    party_id: UUID
    role: Role
    branch_id: UUID | None = None
    merchant_id: UUID | None = None


class CapRuleDeed(
    Struct, tag_field="deed", tag="cap_rule", forbid_unknown_fields=True, kw_only=True
):
    """Put a cap in force, for one subject or for all without one of their own; null is no cap."""

    scope: CapScope
    points: CapPoints | None
    subject_id: UUID | None = None


class MinorCapDeed(
    Struct, tag_field="deed", tag="minor_cap", forbid_unknown_fields=True, kw_only=True
):
    """Say what residents from 14 to 17 may redeem without their guardian; 0 is nothing."""

    points_at_once: CapPoints
    points_a_day: CapPoints


class PassCapDeed(
    Struct, tag_field="deed", tag="pass_cap", forbid_unknown_fields=True, kw_only=True
):
    """Let one act pass one cap, once and within a day; the approval's id is the override's."""

    scope: CapScope
    subject_id: UUID
    amount: Amount
    reason: OverrideReason
    offer_id: UUID | None = None

    def terms(self) -> OverrideTerms:
        """Return what is to be granted."""
        return OverrideTerms(
            scope=self.scope,
            subject_id=self.subject_id,
            amount=self.amount,
            reason=self.reason,
            offer_id=self.offer_id or EVERYONE,
        )


class AllocationDeed(
    Struct, tag_field="deed", tag="allocation", forbid_unknown_fields=True, kw_only=True
):
    """Give points of a community's pool to a household in need: a resident, or a family's pool."""

    branch_id: UUID
    points: Amount
    resident_id: UUID | UnsetType = UNSET
    family_id: UUID | UnsetType = UNSET


class SaturationDeed(
    Struct, tag_field="deed", tag="saturation", forbid_unknown_fields=True, kw_only=True
):
    """Say when a shop counts as full: it has so many points, and little went out."""

    days: Annotated[int, Meta(ge=1, le=3660)]
    points: Amount
    percent_out: Annotated[int, Meta(ge=0, le=100)]

    def bounds(self) -> SaturationBounds:
        """Return what is to be set."""
        return SaturationBounds(days=self.days, balance=self.points, percent_out=self.percent_out)


class ErasureDeed(
    Struct, tag_field="deed", tag="erasure", forbid_unknown_fields=True, kw_only=True
):
    """Destroy the key to a person's data, for good; the ledger keeps its ids and points."""

    person_id: UUID


class RateDeed(Struct, tag_field="deed", tag="rate", forbid_unknown_fields=True, kw_only=True):
    """Let a category earn so many points for an hour from a local day on."""

    category_id: UUID
    points_per_hour: Annotated[int, Meta(ge=0, le=HIGHEST_RATE)]
    effective_on: date


class CapsDeed(
    Struct, tag_field="deed", tag="service_caps", forbid_unknown_fields=True, kw_only=True
):
    """Cap what is confirmed of a day, from a local day on; none is no cap."""

    effective_on: date
    minutes_per_activity: CapMinutes | None = None
    minutes_per_day: CapMinutes | None = None


class StarRuleDeed(
    Struct, tag_field="deed", tag="star_rule", forbid_unknown_fields=True, kw_only=True
):
    """Say what stars take from a local day on: the nth so many hours and such a mean grade.

    Grades are in hundredths of 1 to 5; 0 asks for none.
    """

    effective_on: date
    hours: Annotated[list[Annotated[int, Meta(ge=1, le=1_000_000)]], Meta(max_length=10)]
    grades: Annotated[list[Annotated[int, Meta(ge=0, le=500)]], Meta(max_length=10)]

    def rule(self) -> StarRule:
        """Return the rule that is meant."""
        return StarRule(
            effective_on=self.effective_on, hours=tuple(self.hours), grades=tuple(self.grades)
        )


class RecordReversalDeed(
    RecordReversalBody,
    tag_field="deed",
    tag="record_reversal",
    forbid_unknown_fields=True,
    kw_only=True,
):
    """Take a confirmed record back with its hours and points."""

    record_id: UUID


Deed: TypeAlias = (
    AwardDeed
    | PoolTransferDeed
    | BatchDeed
    | ReversalDeed
    | RoleGrantDeed
    | CapRuleDeed
    | MinorCapDeed
    | PassCapDeed
    | RateDeed
    | CapsDeed
    | StarRuleDeed
    | RecordReversalDeed
    | AllocationDeed
    | SaturationDeed
    | ErasureDeed
)


StoredDeed: TypeAlias = Deed | PeopleImport
"""What a proposal may hold: a list of people is proposed and approved by command."""


ACTIONS: Mapping[type[StoredDeed], Action] = {
    AwardDeed: Action.AWARD_BY_HAND,
    PoolTransferDeed: Action.GIVE_BY_HAND,
    BatchDeed: Action.POST_IN_BULK,
    ReversalDeed: Action.REVERSE,
    RoleGrantDeed: Action.GRANT_ROLE,
    CapRuleDeed: Action.SET_CAP,
    MinorCapDeed: Action.SET_CAP,
    PassCapDeed: Action.PASS_CAP,
    RateDeed: Action.SET_RATE,
    CapsDeed: Action.SET_RATE,
    StarRuleDeed: Action.SET_STAR_RULE,
    RecordReversalDeed: Action.REVERSE_RECORD,
    AllocationDeed: Action.ALLOCATE,
    SaturationDeed: Action.SET_CAP,
    ErasureDeed: Action.ERASE,
    PeopleImport: Action.IMPORT_PEOPLE,
}
"""What proposing and deciding a deed amounts to."""
