"""A market for one test: residents with points, a merchant with an agreement, things to have."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from tests.book import STAFF, Book
from timebank.db import repeat_on_conflict
from timebank.domain.ledger import AccountKind, Unit
from timebank.domain.redemption import (
    ActReason,
    Answer,
    CapScope,
    Channel,
    Hold,
    OfferTerms,
    RedemptionStatus,
    Wish,
)
from timebank.ledger.accounts import find_account_of
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import get_balance
from timebank.redemption import caps, holds, merchants, offers
from timebank.redemption.holds import PlacedHold

T = TypeVar("T")

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
"""A hold of this lifetime is overdue when the answer comes."""

CLERK = new_id()


def noon_zone() -> str:
    """A time zone in which it is about noon, so that no midnight comes into a test."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+}"


@dataclass
class Market:
    """A bank with one merchant to begin with; `pickups` are the codes of holds in sessions.

    With one try, whatever comes between reaches the test.
    """

    book: Book
    merchant_id: UUID
    till: UUID
    pickups: dict[UUID, str] = field(default_factory=dict)
    tries: int = 5

    @classmethod
    async def open(cls, book: Book) -> "Market":
        """Open a market with a merchant who is active."""
        merchant_id, till = await open_merchant(book)
        return cls(book, merchant_id, till)

    @property
    def bank_id(self) -> int:
        return self.book.bank_id

    async def run(self, act: Any, *args: Any, **named: Any) -> Any:
        """Do an act in a transaction of its own, as the service does."""
        return await repeat_on_conflict(
            self.book.pool, lambda c: act(c, self.bank_id, *args, **named), tries=self.tries
        )

    async def resident(self, points: int = 0) -> tuple[UUID, UUID]:
        """A new resident and their wallet."""
        resident_id = new_id()
        wallet = await self.book.open_account(balance=points, owner_id=resident_id)
        return resident_id, wallet

    async def offer(self, price: int = 1, stock: int | None = None, **terms: Any) -> UUID:
        """A new offer; its stock is counted where `stock` says how much there is."""
        offered = OfferTerms(
            merchant_id=terms.pop("merchant_id", self.merchant_id),
            title="香皂",
            price=price,
            is_stocked=stock is not None,
            valid_from=terms.pop("valid_from", LONG_AGO),
            **terms,
        )
        offer_id: UUID = await self.run(offers.open_offer, offered)
        if stock:
            answer = await self.restock(offer_id, stock)
            assert answer.status == "done"
        return offer_id

    async def restock(self, offer_id: UUID, units: int, restock_id: UUID | None = None) -> Answer:
        """Bring units into stock."""
        answer: Answer = await self.run(
            offers.restock,
            restock_id or new_id(),
            offer_id,
            units,
            reason=ActReason.DELIVERY,
            actor_id=STAFF,
        )
        return answer

    def wish(self, resident: tuple[UUID, UUID], quantity: int = 1, **terms: Any) -> Wish:
        """What a resident asks for."""
        return Wish(
            merchant_id=terms.pop("merchant_id", self.merchant_id),
            quantity=quantity,
            lifetime=terms.pop("lifetime", HOUR),
            channel=terms.pop("channel", Channel.SESSION),
            resident_id=resident[0],
            source_account_id=resident[1],
            **terms,
        )

    async def place(self, wish: Wish, hold_id: UUID | None = None) -> Answer:
        """Ask for a hold and keep its code."""
        hold_id = hold_id or new_id()
        placed: PlacedHold = await self.run(holds.place_hold, hold_id, wish, actor_id=CLERK)
        if placed.pickup:
            self.pickups[hold_id] = placed.pickup.digits
        return placed.answer

    async def held(self, resident: tuple[UUID, UUID], quantity: int = 1, **terms: Any) -> UUID:
        """A hold that was done."""
        answer = await self.place(self.wish(resident, quantity, **terms))
        assert answer.status is RedemptionStatus.DONE
        return answer.act_id

    async def capture(self, hold_id: UUID, quantity: int | None = None, **named: Any) -> Answer:
        """Capture by the merchant's clerk, with the hold's own code."""
        named = {
            "merchant_id": self.merchant_id,
            "actor_id": CLERK,
            "code": self.pickups.get(hold_id),
            **named,
        }
        capture_id = named.pop("capture_id", None) or new_id()
        answer: Answer = await self.run(
            holds.capture_hold, capture_id, hold_id, quantity=quantity, **named
        )
        return answer

    async def release(self, hold_id: UUID, release_id: UUID | None = None) -> Answer:
        """Give all back."""
        answer: Answer = await self.run(
            holds.release_hold,
            release_id or new_id(),
            hold_id,
            reason=ActReason.CHANGED_MIND,
            actor_id=CLERK,
        )
        return answer

    async def refund(self, hold_id: UUID, points: int, returned: int = 0, **named: Any) -> Answer:
        """Give points of a capture back."""
        named = {"merchant_id": self.merchant_id, "actor_id": CLERK, **named}
        refund_id = named.pop("refund_id", None) or new_id()
        answer: Answer = await self.run(
            holds.refund_capture,
            refund_id,
            hold_id,
            points=points,
            returned=returned,
            reason=ActReason.GOODS_RETURNED,
            **named,
        )
        return answer

    async def cap(self, scope: CapScope, points: int | None, **named: Any) -> None:
        """Put a cap in force."""
        await self.run(caps.set_cap, scope, points, set_by=STAFF, **named)

    async def get(self, hold_id: UUID) -> Hold:
        """How far a hold came."""
        hold: Hold = await self.run(holds.get_hold, hold_id)
        return hold

    async def available(self, offer_id: UUID) -> int | None:
        """What stands in stock."""
        available: int | None = (await self.run(offers.get_offer, offer_id)).available
        return available

    async def points_of(self, owner_id: UUID, kind: AccountKind = AccountKind.WALLET) -> int:
        """What an owner has; 0 without an account."""
        async with self.book.pool.acquire() as connection:
            account = await find_account_of(connection, self.bank_id, Unit.POINTS, kind, owner_id)
            if account is None:
                return 0
            return (await get_balance(connection, self.bank_id, account.account_id)).balance


async def open_merchant(book: Book, **agreed: Any) -> tuple[UUID, UUID]:
    """Enrol a new merchant under an agreement; its id and its account."""
    merchant_id = new_id()
    async with book.pool.acquire() as connection:
        await merchants.enrol_merchant(connection, book.bank_id, merchant_id, "爱心小店")
        await merchants.record_agreement(
            connection,
            book.bank_id,
            merchant_id,
            "涧西-2026-001",
            valid_from=agreed.get("valid_from", LONG_AGO),
            valid_until=agreed.get("valid_until"),
            recorded_by=STAFF,
        )
        account = await find_account_of(
            connection, book.bank_id, Unit.POINTS, AccountKind.MERCHANT, merchant_id
        )
    assert account
    return merchant_id, account.account_id
