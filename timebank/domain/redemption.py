"""The words of redemption: merchants, offers, holds, what becomes of them, caps and codes.

Quantities are units of an offer; of an open amount they are the points themselves. Ranges of
time are half-open. A day is the bank's local day.
"""

import re
import unicodedata
from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.errors import InvalidInputError
from timebank.domain.ledger import LARGEST_AMOUNT

EVERYONE = UUID(int=0)
"""The subject of a cap that is for all who have none of their own."""


class HoldState(StrEnum):
    """How far a redemption came; all but `open` are final."""

    OPEN = "open"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"

    @property
    def next_states(self) -> Set["HoldState"]:
        """What may become of a hold in this state; a refund leaves it captured."""
        return frozenset(HoldState) - {self} if self is HoldState.OPEN else frozenset()


class ActKind(StrEnum):
    """What is done to a hold, to the stock of an offer, or with points that are given."""

    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    EXPIRE = "expire"
    REFUND = "refund"
    RESTOCK = "restock"
    GIFT = "gift"
    REISSUE = "reissue"
    ALLOCATE = "allocate"


class Channel(StrEnum):
    """How the resident agreed: logged in, by a payment code, by card and PIN, or by a slip."""

    SESSION = "session"
    CODE = "code"
    CARD = "card"
    SLIP = "slip"


class CapScope(StrEnum):
    """What a cap counts: points, units of an offer, or slips that stand open."""

    PERSON_DAY = "person_day"
    CARD_DAY = "card_day"
    MERCHANT_DAY = "merchant_day"
    CLERK_DAY = "clerk_day"
    OFFER_PERSON_DAY = "offer_person_day"
    OFFER_PERSON = "offer_person"
    GIFT_DAY = "gift_day"
    REISSUE_DAY = "reissue_day"
    SLIP = "slip"
    SLIPS_OPEN = "slips_open"


class RedemptionStatus(StrEnum):
    """The answer to an act; everything but `done` had no effect."""

    DONE = "done"
    ID_CONFLICT = "id_conflict"
    HOLD_NOT_FOUND = "hold_not_found"
    TOO_MANY_WRONG_CODES = "too_many_wrong_codes"
    CODE_NOT_VALID = "code_not_valid"
    HOLD_ALREADY_CAPTURED = "hold_already_captured"
    HOLD_RELEASED = "hold_released"
    HOLD_EXPIRED = "hold_expired"
    HOLD_NOT_CAPTURED = "hold_not_captured"
    MERCHANT_NOT_ACTIVE = "merchant_not_active"
    OFFER_NOT_VALID = "offer_not_valid"
    PLACE_NOT_VALID = "place_not_valid"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    ACCOUNT_NOT_FOUND = "account_not_found"
    CAPTURE_EXCEEDS_HOLD = "capture_exceeds_hold"
    REFUND_EXCEEDS_CAPTURED = "refund_exceeds_captured"
    RETURN_EXCEEDS_CAPTURED = "return_exceeds_captured"
    OVERRIDE_NOT_VALID = "override_not_valid"
    OUT_OF_STOCK = "out_of_stock"
    CAP_EXCEEDED = "cap_exceeded"
    INSUFFICIENT_POINTS = "insufficient_points"
    POINTS_BLOCKED = "points_blocked"
    MERCHANT_LACKS_POINTS = "merchant_lacks_points"
    SLIP_OUTSTANDING = "slip_outstanding"


class ActReason(StrEnum):
    """Why there was a release, a refund or a restock: a code, so that nobody writes a name."""

    CHANGED_MIND = "changed_mind"
    GOODS_RETURNED = "goods_returned"
    GOODS_FAULTY = "goods_faulty"
    NOT_HANDED_OVER = "not_handed_over"
    CHARGED_WRONGLY = "charged_wrongly"
    OPENING = "opening"
    DELIVERY = "delivery"
    LOSS = "loss"
    RECOUNT = "recount"


REASONS: Mapping[ActKind, Set[ActReason]] = {
    ActKind.RELEASE: {
        ActReason.CHANGED_MIND,
        ActReason.NOT_HANDED_OVER,
        ActReason.CHARGED_WRONGLY,
    },
    ActKind.REFUND: {
        ActReason.GOODS_RETURNED,
        ActReason.GOODS_FAULTY,
        ActReason.NOT_HANDED_OVER,
        ActReason.CHARGED_WRONGLY,
    },
    ActKind.RESTOCK: {ActReason.OPENING, ActReason.DELIVERY, ActReason.LOSS, ActReason.RECOUNT},
}
"""Which reasons an act may have."""


class OverrideReason(StrEnum):
    """Why one act may pass a cap."""

    HARDSHIP = "hardship"
    BULK_FOR_HOUSEHOLD = "bulk_for_household"
    EVENT = "event"
    CORRECTION = "correction"


class Merchant(Struct, frozen=True):
    """Who takes points for goods; `agreed_until` is None when no agreement is in force."""

    merchant_id: UUID
    name: str
    enrolled_at: datetime
    agreed_until: datetime | None


class Agreement(Struct, frozen=True, kw_only=True):
    """What binds a merchant to take points; `valid_until` None has no end."""

    merchant_id: UUID
    reference: str
    valid_from: datetime
    valid_until: datetime | None
    recorded_by: UUID
    recorded_at: datetime
    ended_at: datetime | None


class Shop(Struct, frozen=True, kw_only=True):
    """A place where goods are handed over; `branch_id` is the service point it stands at."""

    shop_id: UUID
    merchant_id: UUID
    name: str
    branch_id: UUID | None
    closed_at: datetime | None


class OfferTerms(Struct, frozen=True, kw_only=True):
    """What a merchant offers; a new price is a new offer.

    `per_person_day` and `per_person` cap the units for a resident; `shop_ids` are where it is
    picked up, at any shop if empty; `valid_until` None has no end.
    """

    merchant_id: UUID
    title: str
    price: int
    is_stocked: bool
    valid_from: datetime
    valid_until: datetime | None = None
    per_person_day: int | None = None
    per_person: int | None = None
    shop_ids: tuple[UUID, ...] = ()


class Offer(OfferTerms, frozen=True, kw_only=True):
    """An offer as it is listed; `available` is None where stock is not counted."""

    offer_id: UUID
    available: int | None
    withdrawn_at: datetime | None


class Wish(Struct, frozen=True, kw_only=True):
    """A redemption as asked for: `quantity` of an offer, or of points where `offer_id` is None.

    By a payment code, `code` is what was typed or scanned, and it says whose it is: `resident_id`
    and `source_account_id` are None.
    """

    merchant_id: UUID
    quantity: int
    lifetime: timedelta
    channel: Channel
    resident_id: UUID | None = None
    source_account_id: UUID | None = None
    offer_id: UUID | None = None
    shop_id: UUID | None = None
    override_id: UUID | None = None
    code: str | None = None


class Quote(Struct, frozen=True):
    """What a hold would be answered now."""

    status: RedemptionStatus
    cap: CapScope | None
    points: int | None
    expires_at: datetime | None


class Answer(Struct, frozen=True, kw_only=True):
    """What was decided about an act, the same at every repeat; `cap` is the one that stopped it.

    Of a conflict nothing is known but id and status.
    """

    act_id: UUID
    status: RedemptionStatus
    cap: CapScope | None
    hold_id: UUID | None
    quantity: int | None
    points: int | None
    expires_at: datetime | None
    recorded_at: datetime | None


class Hold(Struct, frozen=True, kw_only=True):
    """A redemption and how far it came.

    `captured` and `returned` are quantities; `refunded` is points.
    """

    hold_id: UUID
    resident_id: UUID
    source_account_id: UUID
    merchant_id: UUID
    offer_id: UUID | None
    shop_id: UUID | None
    channel: Channel
    quantity: int
    unit_price: int
    placed_at: datetime
    expires_at: datetime
    state: HoldState
    captured: int
    captured_by: UUID | None
    refunded: int
    returned: int
    ended_at: datetime | None

    @property
    def points(self) -> int:
        """What was held."""
        return self.quantity * self.unit_price

    @property
    def points_captured(self) -> int:
        """What the merchant was given."""
        return self.captured * self.unit_price

    @property
    def points_refundable(self) -> int:
        """What may still be given back."""
        return self.points_captured - self.refunded


# ---- Rules -------------------------------------------------------------------------------------

COUNTER_LIFETIME = timedelta(minutes=5)
"""For a hold at the counter: the goods are handed over at once."""

PICKUP_LIFETIME = timedelta(days=3)
"""For a hold from home: time to fetch the goods."""

LONGEST_LIFETIME = timedelta(days=30)

PAYMENT_CODE_LIFETIME = timedelta(seconds=60)

OVERRIDE_LIFETIME = timedelta(days=1)


def check_wish(wish: Wish) -> None:
    """Raise InvalidInputError for what no bank could hold."""
    if not timedelta(0) < wish.lifetime <= LONGEST_LIFETIME:
        raise InvalidInputError("A hold lives up to 30 days.", pointer="/lifetime")
    if abs(wish.quantity) > LARGEST_AMOUNT:
        raise InvalidInputError("The quantity is too large.", pointer="/quantity")
    by_code = wish.channel is Channel.CODE
    if by_code != (wish.code is not None):
        raise InvalidInputError("A code goes with the channel `code`.", pointer="/code")
    if by_code == (wish.resident_id is not None and wish.source_account_id is not None):
        raise InvalidInputError("The code says whose it is; else say it.", pointer="/resident_id")


def check_reason(kind: ActKind, reason: ActReason) -> None:
    """Raise InvalidInputError unless an act of this kind may have this reason."""
    if reason not in REASONS[kind]:
        raise InvalidInputError(f"A {kind} has another reason.", pointer="/reason")


# ---- Codes -------------------------------------------------------------------------------------


class CodeKind(StrEnum):
    """What a code is for; its value begins the token in a QR."""

    PAYMENT = "p"
    PICKUP = "h"


DIGITS: Mapping[CodeKind, int] = {CodeKind.PAYMENT: 8, CodeKind.PICKUP: 6}
"""How many digits are typed; so one field at the counter takes both."""

TOKEN_LENGTH = 23
"""The letter of the kind and 128 random bits as base64url."""

_PAGES = {CodeKind.PAYMENT: "pay", CodeKind.PICKUP: "pickup"}
_KINDS = {kind.value: kind for kind in CodeKind}


class Code(Struct, frozen=True):
    """A code as the resident sees it: digits to type, and the token that a QR holds."""

    kind: CodeKind
    digits: str
    token: str

    def address(self, base_url: str) -> str:
        """Return what the QR holds: an address that a phone's own camera opens.

        The token stands where no browser sends it: in no log, and in no address that is passed on.
        """
        return f"{base_url.rstrip('/')}/{_PAGES[self.kind]}#{self.token}"


def read_code(text: str) -> tuple[CodeKind, str] | None:
    """Return kind and plain form of what was typed or scanned; None if it is no code.

    Digits may be full-width and in groups; of an address, only the token counts.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    token = re.split("[/#]", plain)[-1]
    if len(token) == TOKEN_LENGTH and token[0] in _KINDS:
        return _KINDS[token[0]], token
    digits = plain.replace(" ", "").replace("-", "")
    if digits.isascii() and digits.isdigit():
        for kind, length in DIGITS.items():
            if len(digits) == length:
                return kind, digits
    return None
