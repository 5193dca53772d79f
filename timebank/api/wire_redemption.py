"""The JSON of redemption. A till is told a masked name, and whether there is enough: no balance."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.people_wire import PaperBody
from timebank.api.wire import LINE, Amount, Instant
from timebank.domain.redemption import (
    ActReason,
    CapScope,
    Channel,
    HoldState,
    RedemptionStatus,
)
from timebank.redemption.anomalies import AnomalyReason

Name = Annotated[str, Meta(min_length=1, max_length=80, pattern=LINE)]
CodeText = Annotated[
    str, Meta(min_length=1, max_length=200, description="As it was typed or scanned")
]
Units = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]


# ---- Merchants ---------------------------------------------------------------------------------


class AgreementBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What binds a merchant; without an end it holds until it is ended."""

    reference: Name
    valid_from: Instant
    valid_until: Instant | None = None


class EnrolMerchantBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new merchant with its first agreement; without a branch it hangs on the caller's."""

    name: Name
    agreement: AgreementBody
    branch_id: UUID | None = None


class EndAgreementBody(Struct, forbid_unknown_fields=True):
    """Which agreement ends now."""

    reference: Name


class OpenShopBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A shop, or (with a branch) a stand at a service point."""

    name: Name
    branch_id: UUID | None = None


class EmptyBody(Struct, forbid_unknown_fields=True):
    """Nothing more to say."""


class MerchantView(Struct, frozen=True, kw_only=True):
    """A merchant; `is_active` says whether an agreement is in force."""

    merchant_id: UUID
    name: str
    is_active: bool


class MerchantPage(Struct, frozen=True):
    """Merchants in the order of their ids."""

    data: list[MerchantView]
    next_cursor: str | None
    has_more: bool


class AgreementView(Struct, frozen=True, kw_only=True):
    """An agreement on record."""

    merchant_id: UUID
    reference: str
    valid_from: datetime
    valid_until: datetime | None
    recorded_at: datetime
    ended_at: datetime | None


class AgreementList(Struct, frozen=True):
    """Agreements, the earliest first."""

    data: list[AgreementView]


class ShopView(Struct, frozen=True, kw_only=True):
    """A place where goods are handed over."""

    shop_id: UUID
    merchant_id: UUID
    name: str
    branch_id: UUID | None
    closed_at: datetime | None


class ShopList(Struct, frozen=True):
    """Shops of a merchant, closed ones too."""

    data: list[ShopView]


class TakingsView(Struct, frozen=True, kw_only=True):
    """What was taken and given back today, the bank's local day."""

    taken_on: date
    captures: int
    points_captured: int
    refunds: int
    points_refunded: int


# ---- Offers ------------------------------------------------------------------------------------


class OfferBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new offer; a merchant's own system may leave out `merchant_id`."""

    title: Name
    price: Amount
    is_stocked: bool
    merchant_id: UUID | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    per_person_day: Amount | None = None
    per_person: Amount | None = None
    shop_ids: Annotated[list[UUID], Meta(max_length=100)] = []


class OfferView(Struct, frozen=True, kw_only=True):
    """An offer: `price` in points; `available` is null where stock is not counted."""

    offer_id: UUID
    merchant_id: UUID
    title: str
    price: int
    is_stocked: bool
    available: int | None
    per_person_day: int | None
    per_person: int | None
    valid_from: datetime
    valid_until: datetime | None
    withdrawn_at: datetime | None
    shop_ids: list[UUID]


class OfferPage(Struct, frozen=True):
    """Offers in force, in the order of their ids."""

    data: list[OfferView]
    next_cursor: str | None
    has_more: bool


class RestockBody(Struct, forbid_unknown_fields=True):
    """Units that came, or (below 0) that are lost."""

    units: Annotated[int, Meta(ge=-(1 << 53) + 1, le=(1 << 53) - 1)]
    reason: ActReason


# ---- Holds -------------------------------------------------------------------------------------


class Wanted(Struct, forbid_unknown_fields=True, kw_only=True):
    """A quantity of an offer, or points where there is no offer."""

    offer_id: UUID | None = None
    quantity: Amount | None = None
    points: Amount | None = None
    shop_id: UUID | None = None
    override_id: UUID | None = None


class HoldBody(Wanted, forbid_unknown_fields=True, kw_only=True):
    """Reserve at a merchant, paid from this wallet; at a service point by a signed sheet."""

    merchant_id: UUID
    account_id: UUID
    paper: PaperBody | None = None


class ChargeBody(Wanted, forbid_unknown_fields=True, kw_only=True):
    """Take points by the payment code that a resident shows."""

    code: CodeText


class PickupBody(Struct, forbid_unknown_fields=True):
    """The pick-up code that a resident shows."""

    code: CodeText


class CaptureBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Hand the goods over: all, or a quantity; the rest goes back at once."""

    code: CodeText | None = None
    quantity: Amount | None = None
    override_id: UUID | None = None


class ReleaseBody(Struct, forbid_unknown_fields=True):
    """Why it does not take place."""

    reason: ActReason = ActReason.CHANGED_MIND


class RefundBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Points to give back, and how many units of the goods came back."""

    points: Amount
    reason: ActReason
    returned: Units = 0


class QuoteView(Struct, frozen=True, kw_only=True):
    """What a hold would be answered now: `done` is yes; `cap` is the one in the way."""

    status: RedemptionStatus
    cap: CapScope | None
    points: int | None
    expires_at: datetime | None


class HoldView(Struct, frozen=True, kw_only=True):
    """A hold and how far it came; `captured` and `returned` are quantities.

    A till sees `resident_name`, masked, where the vault has one, and neither person nor account.
    """

    hold_id: UUID
    state: HoldState
    channel: Channel
    merchant_id: UUID
    offer_id: UUID | None
    shop_id: UUID | None
    quantity: int
    points: int
    captured: int
    points_captured: int
    refunded: int
    returned: int
    placed_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    resident_id: UUID | UnsetType = UNSET
    account_id: UUID | UnsetType = UNSET
    resident_name: str | UnsetType = UNSET


class HoldPage(Struct, frozen=True):
    """Holds, newest first."""

    data: list[HoldView]
    next_cursor: str | None
    has_more: bool


class CodeView(Struct, frozen=True):
    """Digits to type, the token, and the text for a QR code; shown once.

    `qr` is an https address that a phone's camera opens, `<our address>/pickup#<token>`; the token
    alone where the service does not know its address.
    """

    digits: str
    token: str
    qr: str


class PaymentCodeView(Struct, frozen=True, kw_only=True):
    """A code that pays once; its `qr` is `<our address>/pay#<token>`."""

    digits: str
    token: str
    qr: str
    expires_at: datetime


class ActView(Struct, frozen=True, kw_only=True):
    """What was done, and the hold after it.

    `pickup` is shown once: a repeat of the request is answered without, and a new one may be had.
    """

    act_id: UUID
    status: RedemptionStatus
    cap: CapScope | None
    quantity: int | None
    points: int | None
    recorded_at: datetime | None
    hold: HoldView | None
    pickup: CodeView | UnsetType = UNSET


# ---- Oversight ---------------------------------------------------------------------------------


class CapView(Struct, frozen=True, kw_only=True):
    """A version of a cap; the nil id is all without one of their own, null points are no cap."""

    scope: CapScope
    subject_id: UUID
    points: int | None
    in_force_from: datetime
    set_by: UUID


class MinorCapView(Struct, frozen=True):
    """What minors may redeem alone."""

    points_at_once: int
    points_a_day: int


class CapList(Struct, frozen=True):
    """All versions of all caps."""

    data: list[CapView]


class AnomalyView(Struct, frozen=True, kw_only=True):
    """What a human should look at, and why in words."""

    reason: AnomalyReason
    words: str
    subject_id: UUID
    other_id: UUID | None
    times: int


class AnomalyList(Struct, frozen=True):
    """Anomalies, the worst of each reason first."""

    data: list[AnomalyView]
