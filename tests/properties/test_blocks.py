"""What is blocked of a wallet, against a model of single points: any order of acts, any origin."""

from collections import Counter
from datetime import date
from random import Random
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.book import STAFF, Book
from tests.races.checks import check_books
from timebank.db import Connection, repeat_on_conflict, transaction
from timebank.domain.ledger import AccountKind, ReversalReason, TransferKind, Unit
from timebank.ledger.blocks import place_block
from timebank.ledger.ids import new_id
from timebank.ledger.lots import fold_account, get_expiry_rules
from timebank.ledger.passbook import list_blocked
from timebank.ledger.reversals import reverse

ACTS = (
    "award", "award", "award", "gift", "hold", "hold", "release", "release", "capture", "refund",
    "block", "block", "lift", "undo",
)  # fmt: skip

Point = tuple[int, int]
"""The award it came by, in order, and which of its points."""


class Life:
    """A wallet in a real book, and the same wallet as a heap of single points."""

    def __init__(self, book: Book, superuser: Connection, random: Random) -> None:
        self.book = book
        self.superuser = superuser
        self.random = random
        self.awards: list[UUID] = []
        self.amounts: list[int] = []
        self.undone: set[int] = set()
        self.wallet: list[Point] = []
        self.holds: dict[UUID, list[Point]] = {}
        self.still_held: dict[UUID, int] = {}
        self.captured: dict[UUID, int] = {}
        self.blocks: dict[UUID, tuple[set[int], set[Point], set[tuple[UUID, Point]]]] = {}

    async def settle(self) -> None:
        owner = new_id()
        self.account = await self.book.open_account(owner_id=owner)
        self.held = await self.book.open_account(AccountKind.HELD, owner_id=owner)
        self.shop = await self.book.open_account(AccountKind.MERCHANT)
        self.friend = await self.book.open_account()

    def blocked(self) -> int:
        counted = [counted for _, counted, _ in self.blocks.values()]
        return sum(award not in self.undone for points in counted for award, _ in points)

    def take(self, amount: int) -> list[Point]:
        """The oldest that are free, and only then what is blocked."""
        kept = {n for own, *_ in self.blocks.values() for n in own} - self.undone
        order = sorted(self.wallet, key=lambda point: (point[0] in kept, point))
        self.wallet = sorted(order[amount:])
        return order[:amount]

    def bring_back(self, hold: UUID, amount: int) -> None:
        taken = self.holds[hold]
        self.holds[hold], back = taken[: len(taken) - amount], taken[len(taken) - amount :]
        self.wallet = sorted([*self.wallet, *back])
        for _, counted, away in self.blocks.values():
            counted |= {point for point in back if (hold, point) in away}

    def expected(self, amount: int) -> str:
        if amount > len(self.wallet):
            return "insufficient_balance"
        return "posted" if len(self.wallet) - amount >= self.blocked() else "points_blocked"

    async def act(self) -> None:
        await getattr(self, f"_{self.random.choice(ACTS)}")()
        stands = await self.book.balance(self.account)
        async with self.book.pool.acquire() as connection:
            blocked = await list_blocked(connection, self.book.bank_id, [self.account])
            rules = await get_expiry_rules(connection, self.book.bank_id)
            fold, _ = await fold_account(connection, self.book.bank, self.account, rules)
        assert (stands, blocked[self.account]) == (len(self.wallet), self.blocked())
        lots = fold.list_lots(self.account, date(2026, 1, 1))
        points = Counter(self.awards[award] for award, _ in self.wallet)
        assert {lot.origin_id: lot.amount for lot in lots} == points

    async def _award(self) -> None:
        award = self.book.award(self.account, self.random.randint(1, 9))
        await self.book.post_all(award)
        self.wallet += [(len(self.awards), n) for n in range(award.amount)]
        self.awards.append(award.transfer_id)
        self.amounts.append(award.amount)

    async def _gift(self) -> None:
        """Twice in one call: the first may leave too little for the second."""
        amounts = self.random.randint(1, 9), self.random.randint(1, 9)
        gifts = [
            self.book.transfer(self.account, self.friend, amount, kind=TransferKind.GIFT)
            for amount in amounts
        ]
        statuses = await self.book.post(*gifts)
        for amount, status in zip(amounts, statuses, strict=True):
            assert status == self.expected(amount)
            if status == "posted":
                self.take(amount)

    async def _hold(self) -> None:
        hold, amount = new_id(), self.random.randint(1, 9)
        [status] = await self._about(hold, self.account, self.held, amount, TransferKind.HOLD)
        assert status == self.expected(amount)
        if status == "posted":
            self.holds[hold] = self.take(amount)
            self.still_held[hold] = amount
            self.captured[hold] = 0

    async def _release(self) -> None:
        await self._move_held(self.account, TransferKind.RELEASE)

    async def _capture(self) -> None:
        await self._move_held(self.shop, TransferKind.CAPTURE)

    async def _move_held(self, to: UUID, kind: TransferKind) -> None:
        hold, amount = self._some_of(self.still_held)
        if amount:
            assert await self._about(hold, self.held, to, amount, kind) == ["posted"]
            self.still_held[hold] -= amount
            if kind is TransferKind.CAPTURE:
                self.captured[hold] += amount
            else:
                self.bring_back(hold, amount)

    async def _refund(self) -> None:
        hold, amount = self._some_of(self.captured)
        if amount:
            kind = TransferKind.REFUND
            assert await self._about(hold, self.shop, self.account, amount, kind) == ["posted"]
            self.captured[hold] -= amount
            self.bring_back(hold, amount)

    async def _block(self) -> None:
        free = set(range(len(self.awards))) - {n for own, *_ in self.blocks.values() for n in own}
        own = {n for n in free if self.random.random() < 0.5}
        block = new_id()
        async with transaction(self.book.pool) as connection:
            stand = await place_block(
                connection, self.book.bank, block, {self.awards[n]: self.account for n in own}
            )
        counted = {point for point in self.wallet if point[0] in own}
        assert stand == len(counted)
        away = {(h, p) for h, points in self.holds.items() for p in points if p[0] in own}
        self.blocks[block] = own, counted, away

    async def _lift(self) -> None:
        if self.blocks:
            block = self.random.choice(list(self.blocks))
            await self.superuser.execute("SELECT lift_block($1, $2)", self.book.bank_id, block)
            del self.blocks[block]

    async def _undo(self) -> None:
        """An award is reversed, blocked or not, as far as there is enough to take it from."""
        left = [n for n in range(len(self.awards)) if n not in self.undone]
        if not left:
            return
        award = self.random.choice(left)
        outcomes = await repeat_on_conflict(
            self.book.pool,
            lambda connection: reverse(
                connection,
                self.book.bank_id,
                self.awards[award],
                reversal_id=new_id(),
                actor_id=STAFF,
                reason=ReversalReason.DUPLICATE,
            ),
        )
        if outcomes[-1].status == "posted":
            amount = self.amounts[award]
            own = [point for point in self.wallet if point[0] == award][:amount]
            self.wallet = [point for point in self.wallet if point not in own]
            self.take(amount - len(own))
            self.undone.add(award)

    async def _about(
        self, hold: UUID, debit: UUID, credit: UUID, amount: int, kind: TransferKind
    ) -> list[str]:
        transfer = self.book.transfer(debit, credit, amount, kind=kind)
        return list(map(str, await self.book.post(replace(transfer, subject_id=hold))))

    def _some_of(self, amounts: dict[UUID, int]) -> tuple[UUID, int]:
        some = [hold for hold, amount in amounts.items() if amount]
        hold = self.random.choice(some) if some else UUID(int=0)
        return hold, self.random.randint(1, amounts[hold]) if some else 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
async def test_what_is_blocked_is_what_the_points_say(
    book: Book, worker_superuser: Connection, seed: int
) -> None:
    random = Random(seed)
    life = Life(await Book.open(book.pool), worker_superuser, random)
    await life.settle()
    for _ in range(random.randint(10, 40)):
        await life.act()
    await check_books(life.book)


async def test_awards_into_a_blocked_wallet_and_other_wallets_go_on(book: Book) -> None:
    mine, other = await book.open_account(), await book.open_account(balance=5)
    award = book.award(mine, 10)
    await book.post_all(award)
    async with transaction(book.pool) as connection:
        await place_block(connection, book.bank, new_id(), {award.transfer_id: mine})
    moves = [
        book.transfer(mine, other, 1),
        book.transfer(other, mine, 5),
        book.award(mine, 2),
        book.transfer(mine, other, 8),
        book.transfer(mine, other, 7),
        book.transfer(mine, other, 11),
        book.award(other, 1),
    ]
    assert await book.post(*moves) == [
        "points_blocked",
        "posted",
        "posted",
        "points_blocked",
        "posted",
        "insufficient_balance",
        "posted",
    ]
    assert await book.post(*moves) == await book.post(*moves)
    assert (await book.balance(mine), await book.balance(other)) == (10, 8)
    assert await book.balance(book.issuance[Unit.POINTS]) == -18
