"""A few residents, a pool and a shop, to whom anything may happen in a real book."""

from random import Random
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from tests.book import STAFF, Book
from tests.ledger.ageing import add_rule, pass_days
from timebank.db import repeat_on_conflict
from timebank.domain.ledger import AccountKind, ReversalReason, SpentPolicy, TransferKind
from timebank.ledger.expiry import expire_points
from timebank.ledger.ids import new_id
from timebank.ledger.reversals import reverse

ACTS = (
    "award", "award", "award", "gift", "gift", "hold", "hold", "release", "capture", "refund",
    "reissue", "reverse", "reverse", "expire", "sleep", "sleep", "rule",
)  # fmt: skip


class Street:
    """Three residents, a pool and a shop in a bank of its own."""

    def __init__(self, book: Book, superuser: asyncpg.Connection, random: Random) -> None:
        self.book = book
        self._superuser = superuser
        self._random = random
        self.wallets: list[UUID] = []
        self._held: dict[UUID, UUID] = {}
        self._holds: list[tuple[UUID, UUID]] = []
        self._posted: list[UUID] = []
        self._shop = UUID(int=0)

    async def settle(self) -> None:
        self._shop = await self.book.open_account(AccountKind.MERCHANT)
        for kind in (AccountKind.WALLET, AccountKind.WALLET, AccountKind.WALLET, AccountKind.POOL):
            owner = new_id()
            wallet = await self.book.open_account(kind, owner_id=owner)
            self.wallets.append(wallet)
            self._held[wallet] = await self.book.open_account(AccountKind.HELD, owner_id=owner)

    async def act(self) -> None:
        """Do one thing; the ledger may refuse it."""
        await getattr(self, f"_{self._random.choice(ACTS)}")()

    async def _award(self) -> None:
        award = self.book.award(self._wallet(), self._some())
        self._posted.append(award.transfer_id)
        more = self.book.award(self._wallet(), self._some())
        await self.book.post(award, more)

    async def _gift(self) -> None:
        """Several at one instant: only their lines tell which was first."""
        there, back = self._random.sample(self.wallets, 2)
        gifts = [
            self.book.transfer(there, back, self._some()),
            self.book.transfer(back, there, self._some()),
            self.book.transfer(there, back, self._some()),
        ]
        self._posted += [gift.transfer_id for gift in gifts]
        await self.book.post(*gifts)

    async def _hold(self) -> None:
        wallet, hold = self._wallet(), new_id()
        await self._about(hold, wallet, self._held[wallet], TransferKind.HOLD)
        self._holds.append((wallet, hold))

    async def _release(self) -> None:
        for wallet, hold in self._random.sample(self._holds, min(1, len(self._holds))):
            await self._about(hold, self._held[wallet], wallet, TransferKind.RELEASE)

    async def _capture(self) -> None:
        for wallet, hold in self._random.sample(self._holds, min(1, len(self._holds))):
            await self._about(hold, self._held[wallet], self._shop, TransferKind.CAPTURE)

    async def _refund(self) -> None:
        for wallet, hold in self._random.sample(self._holds, min(1, len(self._holds))):
            await self._about(hold, self._shop, wallet, TransferKind.REFUND)

    async def _reissue(self) -> None:
        given = self.book.transfer(
            self._shop, self._wallet(), self._some(), kind=TransferKind.REISSUE
        )
        self._posted.append(given.transfer_id)
        await self.book.post(given)

    async def _reverse(self) -> None:
        async with self.book.pool.acquire() as connection:
            known = await connection.fetch(
                "SELECT transfer_id FROM transfer WHERE bank_id = $1 AND status = 'posted' "
                "AND kind IN ('award', 'transfer', 'reissue', 'expiry') ORDER BY transfer_id",
                self.book.bank_id,
            )
        if known:
            original = self._random.choice(known)[0]
            await repeat_on_conflict(
                self.book.pool,
                lambda connection: reverse(
                    connection,
                    self.book.bank_id,
                    original,
                    reversal_id=new_id(),
                    actor_id=STAFF,
                    reason=ReversalReason.DUPLICATE,
                    when_spent=SpentPolicy.DEBT,
                ),
            )

    async def _expire(self) -> None:
        await expire_points(self.book.pool, self.book.bank)

    async def _sleep(self) -> None:
        await pass_days(self._superuser, self.book, self._random.choice([1, 40, 200, 400]))

    async def _rule(self) -> None:
        try:
            await add_rule(self.book, self._random.choice([12, 12, 15, None]), 20)
        except asyncpg.UniqueViolationError:
            return
        await pass_days(self._superuser, self.book, 1)

    async def _about(self, hold: UUID, debit: UUID, credit: UUID, kind: TransferKind) -> None:
        transfer = self.book.transfer(debit, credit, self._some(), kind=kind)
        await self.book.post(replace(transfer, subject_id=hold))

    def _wallet(self) -> UUID:
        return self._random.choice(self.wallets)

    def _some(self) -> int:
        return self._random.randint(1, 9)
