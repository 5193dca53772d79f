"""Slips of a market for tests: issued by the bank, taken by tills, told to the bank."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.book import STAFF
from tests.people.desk import Desk
from tests.redemption.market import CLERK, Market
from timebank.domain.redemption import Answer, CapScope
from timebank.domain.slips import SYNC_GRACE, Slip, SlipOrder
from timebank.people.seals import Seals
from timebank.people.signing_keys import SigningPurpose, make_key
from timebank.redemption import slips
from timebank.redemption.slip_checker import Key
from timebank.redemption.slips import Told

Resident = tuple[UUID, UUID]


@dataclass(frozen=True)
class SlipDesk:
    """A market whose bank signs slips, of 100 points at most and three at once."""

    market: Market
    seals: Seals

    @classmethod
    async def open(cls, market: Market, folder: Path) -> "SlipDesk":
        """Make a key and set the cap."""
        desk = cls(market, Seals((await Desk.open(market.book, folder)).ring))
        await desk.make_key()
        await market.cap(CapScope.SLIP, 100)
        return desk

    async def make_key(self) -> None:
        """Sign with a new key from now on."""
        async with self.market.book.pool.acquire() as connection, connection.transaction():
            bank_id = self.market.bank_id
            await make_key(connection, self.seals, bank_id, SigningPurpose.SLIP, STAFF)

    def order(self, resident: Resident, points: int = 10, **terms: Any) -> SlipOrder:
        """What a resident asks for."""
        return SlipOrder(
            resident_id=resident[0],
            source_account_id=resident[1],
            merchant_id=terms.pop("merchant_id", self.market.merchant_id),
            points=points,
            **terms,
        )

    async def ask(
        self, order: SlipOrder, slip_id: UUID | None = None, grace: timedelta = SYNC_GRACE
    ) -> Answer:
        """Ask for a slip."""

        async def act(connection: Any, bank_id: int) -> Answer:
            return await slips.issue_slip(
                connection,
                self.seals,
                bank_id,
                slip_id or uuid4(),
                order,
                actor_id=STAFF,
                grace=grace,
            )

        answer: Answer = await self.market.run(act)
        return answer

    async def issued(self, resident: Resident, points: int = 10, **terms: Any) -> Slip:
        """A slip that was issued."""
        grace = terms.pop("grace", SYNC_GRACE)
        answer = await self.ask(self.order(resident, points, **terms), grace=grace)
        assert answer.status == "done"
        return await self.get(answer.act_id)

    async def get(self, slip_id: UUID) -> Slip:
        """How far a slip came."""
        slip: Slip = await self.market.run(slips.get_slip, slip_id)
        return slip

    async def text(self, slip: Slip) -> str:
        """What is printed."""
        async with self.market.book.pool.acquire() as connection:
            return await slips.write_slip(connection, self.seals, self.market.book.bank, slip)

    async def keys(self) -> dict[str, Key]:
        """What the bank publishes."""
        async with self.market.book.pool.acquire() as connection:
            return await slips.list_slip_keys(connection, self.market.book.bank)

    async def tell(self, text: str, acceptance_id: UUID | None = None, **named: Any) -> Told:
        """Tell the bank of an acceptance."""
        told: Told = await self.market.run(
            slips.capture_slip,
            named.pop("keys", None) or await self.keys(),
            text,
            acceptance_id or uuid4(),
            merchant_id=named.pop("merchant_id", self.market.merchant_id),
            actor_id=named.pop("actor_id", CLERK),
        )
        return told
