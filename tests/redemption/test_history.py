"""What many clients did at once, done again in the order of its commits, one after another.

Whoever waits for a lock decides after the one who had it has committed. So the order of commits is
an order in which the model gives every act, done or refused, the answer that its client got.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from tests.api.service import key_file
from tests.book import STAFF, Book
from tests.families import open_family
from tests.races.checks import THOROUGH
from tests.redemption.checks import check_market
from tests.redemption.market import HOUR, INSTANT, Market, noon_zone
from tests.redemption.model import Asked, Model, Thing, Told
from tests.redemption.slip_desk import SlipDesk
from tests.redemption.state import check_state
from timebank.db import install_schema, open_pool
from timebank.domain.redemption import Answer, CapScope, Channel, RedemptionStatus
from timebank.domain.slips import SlipResult
from timebank.embedded import running
from timebank.ledger.ids import derive_id, new_id
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.redemption import exchange, families
from timebank.redemption.holds import expire_holds

CLIENTS = 16
ACTS_EACH = 60 if THOROUGH else 15
MARKETS = 3 if THOROUGH else 1
CLERKS = [new_id() for _ in range(2)]
CAPS = {
    CapScope.PERSON_DAY: 90,
    CapScope.CLERK_DAY: 70,
    CapScope.GIFT_DAY: 30,
    CapScope.REISSUE_DAY: 10,
    CapScope.SLIP: 5,
    # Never met: who ends a slip does not wait for whoever is just being refused one for it, so
    # that refusal may commit after the end, though it was decided before.
    CapScope.SLIPS_OPEN: 1000,
}

# A batch of expiries has one commit and one instant; holds that end do not change each other.
_IN_ORDER_OF_COMMITS = """
    SELECT act_id, kind::text AS kind, hold_id FROM redemption_act WHERE bank_id = $1
    ORDER BY pg_xact_commit_timestamp(xmin), act_id
"""


@pytest.fixture
async def dated_pool(open_dir: Path) -> AsyncIterator[asyncpg.Pool]:
    """Connections to a server that keeps the instant of each commit."""
    settings = {"track_commit_timestamp": "on", "max_connections": "50"}
    async with running(open_dir / "data", settings=settings) as server:
        superuser = await asyncpg.connect(server.dsn())
        await install_schema(superuser)
        await superuser.close()
        async with open_pool(server.dsn(user="timebank_app"), size=CLIENTS) as pool:
            yield pool


class History:
    """What was done: how the model does each act, and what its client was answered."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.desk = SlipDesk(market, Seals(KeyRing(key_file())))
        self.model = Model(market.merchant_id)
        self.residents: list[tuple[UUID, UUID]] = []
        self.holds: list[UUID] = []
        self.slips: list[tuple[UUID, int, str]] = []
        self.acts: dict[UUID, tuple[Callable[[], Told], Answer | Told]] = {}

    async def begin(self) -> None:
        """Two residents of one family with its pool, two things in stock, caps that are met."""
        market, model = self.market, self.model
        await self.desk.make_key()
        self.residents = [await market.resident(60) for _ in range(2)]
        model.owners = {wallet: resident for resident, wallet in self.residents}
        model.wallets = set(model.owners)
        family_id = new_id()
        kin = {resident: True for resident, _ in self.residents}
        await market.run(open_family, family_id, kin)
        [pool] = await market.run(families.list_pools_of, self.residents[0][0])
        model.owners[pool.account_id] = family_id
        await market.book.post_all(market.book.award(pool.account_id, 60))
        model.points.update(dict.fromkeys(model.owners, 60))
        for price, stock in ((1, 20), (3, 8)):
            offer_id = await market.offer(price, 0)
            model.things[offer_id] = Thing(price, 0, None, None)
            await self.restock(offer_id, stock)
        for scope, points in CAPS.items():
            await market.cap(scope, points)
        model.caps.update(CAPS)

    async def act(self, dice: random.Random) -> None:
        """Do something by chance."""
        resident, other = dice.sample(self.residents, 2)
        hold_id = dice.choice(self.holds[-6:] or [new_id()])
        *_, pool = accounts = list(self.model.owners)
        match dice.randint(0, 14):
            case 0 | 1 | 2 | 3:
                await self.place(resident[0], dice.choice([resident[1], pool]), dice)
            case 4 | 5:
                await self.capture(hold_id, dice.choice([None, 1]), dice.choice(CLERKS))
            case 6:
                await self.release(hold_id)
            case 7:
                await self.refund(hold_id, dice.randint(1, 3), dice.randint(0, 1))
            case 8:
                await self.restock(dice.choice(list(self.model.things)), dice.choice([-3, 2]))
            case 9:
                await self.give(resident, dice.choice([other[1], pool]))
            case 10:
                await self.reissue(dice.choice(accounts))
            case 11:
                await self.market.run(expire_holds, limit=3)
            case 12:
                await self.issue((resident[0], dice.choice([resident[1], pool])), dice)
            case 13 | 14 if self.slips:
                await self.tell(*dice.choice(self.slips[-3:]))

    # ---- Acts ----------------------------------------------------------------------------------

    async def place(self, resident_id: UUID, source: UUID, dice: random.Random) -> None:
        act_id = new_id()
        asked = Asked(
            resident_id=resident_id,
            source=source,
            merchant_id=self.market.merchant_id,
            offer_id=dice.choice([*self.model.things, None]),
            quantity=dice.randint(1, 4),
            channel=Channel.SESSION,
            overdue=dice.random() < 0.2,
        )
        wish = self.market.wish(
            (resident_id, source),
            asked.quantity,
            offer_id=asked.offer_id,
            lifetime=INSTANT if asked.overdue else HOUR,
        )
        await self.note(
            act_id, self.market.place(wish, act_id), lambda: self.model.place(act_id, asked)
        )
        self.holds.append(act_id)

    async def issue(self, resident: tuple[UUID, UUID], dice: random.Random) -> None:
        act_id, points = new_id(), dice.randint(1, 6)
        asked = Asked(
            resident_id=resident[0],
            source=resident[1],
            merchant_id=self.market.merchant_id,
            offer_id=None,
            quantity=points,
            channel=Channel.SLIP,
            overdue=False,
        )
        order = self.desk.order(resident, points)
        await self.note(
            act_id, self.desk.ask(order, act_id), lambda: self.model.place(act_id, asked)
        )
        self.holds.append(act_id)
        if self.acts[act_id][1].status == "done":
            slip = await self.desk.get(act_id)
            self.slips.append((act_id, slip.number, await self.desk.text(slip)))

    async def tell(self, hold_id: UUID, number: int, text: str) -> None:
        """Tell of one more acceptance, as of a till of its own."""
        acceptance_id = new_id()
        act_id = derive_id(acceptance_id, f"slip {number}")

        async def told() -> Told:
            answer = await self.desk.tell(text, acceptance_id)
            if answer.result is SlipResult.CAPTURED:
                return Told(RedemptionStatus.DONE, points=answer.points)
            assert answer.result is SlipResult.CAPTURED_BY_ANOTHER
            return Told(RedemptionStatus.HOLD_ALREADY_CAPTURED)

        await self.note(act_id, told(), lambda: self.model.take(act_id, hold_id))

    async def capture(self, hold_id: UUID, quantity: int | None, clerk: UUID) -> None:
        act_id = new_id()
        await self.note(
            act_id,
            self.market.capture(hold_id, quantity, capture_id=act_id, actor_id=clerk),
            lambda: self.model.capture(act_id, hold_id, quantity, clerk),
        )

    async def release(self, hold_id: UUID) -> None:
        act_id = new_id()
        await self.note(
            act_id,
            self.market.release(hold_id, act_id),
            lambda: self.model.release(act_id, hold_id),
        )

    async def refund(self, hold_id: UUID, points: int, returned: int) -> None:
        act_id = new_id()
        await self.note(
            act_id,
            self.market.refund(hold_id, points, returned, refund_id=act_id),
            lambda: self.model.refund(act_id, hold_id, points, returned),
        )

    async def restock(self, offer_id: UUID, units: int) -> None:
        act_id = new_id()
        await self.note(
            act_id,
            self.market.restock(offer_id, units, act_id),
            lambda: self.model.restock(act_id, offer_id, units),
        )

    async def give(self, giver: tuple[UUID, UUID], to: UUID) -> None:
        act_id = new_id()
        named = {"giver_id": giver[0], "to_account_id": to, "points": 4, "actor_id": giver[0]}
        await self.note(
            act_id,
            self.market.run(exchange.give, act_id, **named),
            lambda: self.model.gift(act_id, giver[1], to, 4),
        )

    async def reissue(self, to: UUID) -> None:
        act_id = new_id()
        named = {"merchant_id": self.market.merchant_id, "to_account_id": to, "points": 3}
        await self.note(
            act_id,
            self.market.run(exchange.reissue, act_id, actor_id=STAFF, **named),
            lambda: self.model.reissue(act_id, to, 3),
        )

    async def note(
        self, act_id: UUID, act: Awaitable[Answer | Told], by_model: Callable[[], Told]
    ) -> None:
        self.acts[act_id] = by_model, await act

    # ---- Again ---------------------------------------------------------------------------------

    async def replay(self) -> int:
        """Do all again by the model alone; return how many acts were refused."""
        rows = await self.market.book.pool.fetch(_IN_ORDER_OF_COMMITS, self.market.bank_id)
        refused = 0
        for act_id, kind, hold_id in rows:
            if kind == "expire":
                self.model.end(hold_id)
                continue
            by_model, answer = self.acts.pop(act_id)
            told = by_model()
            found = (answer.status, answer.cap, answer.points)
            assert found == (told.status, told.cap, told.points), f"{kind} {act_id}"
            refused += told.status != "done"
        assert not self.acts
        return refused


async def test_what_was_done_at_once_is_as_if_done_in_turn(dated_pool: asyncpg.Pool) -> None:
    for seed in range(MARKETS):
        market = await Market.open(await Book.open(dated_pool, time_zone=noon_zone()))
        history = History(market)
        await history.begin()
        await asyncio.gather(
            *(work(history, random.Random(CLIENTS * seed + number)) for number in range(CLIENTS))
        )
        done = len(history.acts)
        assert 0 < await history.replay() < done
        await check_state(market, history.model)
        await check_market(market)


async def work(history: History, dice: random.Random) -> None:
    """One client's acts."""
    for _ in range(ACTS_EACH):
        await history.act(dice)
