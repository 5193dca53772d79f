"""A bank to measure with: funded wallets, and transfers made ready before the clock starts.

Two shapes of work. `random`: from one wallet to another, both drawn at random. `hot`: awards, all
from the issuance account, to wallets drawn at random.
"""

from collections.abc import Sequence
from enum import StrEnum
from random import Random
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, Pool, repeat_on_conflict
from timebank.domain.ledger import AccountKind, Outcome, Transfer, TransferKind, Unit
from timebank.ledger.accounts import ensure_issuance, open_accounts
from timebank.ledger.banks import ensure_bank
from timebank.ledger.ids import new_id
from timebank.ledger.transfers import post

FUNDS = 1_000_000
"""Points in each wallet at first: more than any run spends, so that nothing is refused."""

_FUNDED_AT_ONCE = 5000


class Shape(StrEnum):
    """Which accounts a transfer touches."""

    RANDOM = "random"
    HOT = "hot"


class BenchBook(Struct, frozen=True):
    """The bank and its accounts in points; `chance` draws the same work in every run."""

    bank_id: int
    issuance: UUID
    wallets: Sequence[UUID]
    chance: Random

    def draw(self, shape: Shape, count: int) -> list[Transfer]:
        """Return new transfers of this shape, none of which the ledger would refuse."""
        actor = self.wallets[0]
        transfers = []
        for _ in range(count):
            place = self._below(len(self.wallets))
            credit = self.wallets[place]
            if shape is Shape.HOT:
                kind, debit = TransferKind.AWARD, self.issuance
            else:
                kind = TransferKind.TRANSFER
                debit = self.wallets[place - 1 - self._below(len(self.wallets) - 1)]
            transfers.append(
                Transfer(
                    transfer_id=new_id(),
                    kind=kind,
                    debit_account_id=debit,
                    credit_account_id=credit,
                    amount=1 + self._below(100),
                    actor_id=actor,
                )
            )
        return transfers

    def _below(self, limit: int) -> int:
        return int(self.chance.random() * limit)  # far faster than randrange


async def open_book(pool: Pool, wallets: int) -> BenchBook:
    """Open a bank with this many funded wallets."""

    async def work(connection: Connection) -> BenchBook:
        bank = await ensure_bank(connection, "bench", "Bench")
        issuance = (await ensure_issuance(connection, bank.bank_id))[Unit.POINTS]
        accounts = await open_accounts(
            connection,
            bank.bank_id,
            Unit.POINTS,
            AccountKind.WALLET,
            [new_id() for _ in range(wallets)],
        )
        chance = Random(8)  # noqa: S311 - work to time, no secret
        opened = [account.account_id for account in accounts]
        return BenchBook(bank.bank_id, issuance, opened, chance)

    book: BenchBook = await repeat_on_conflict(pool, work)
    for start in range(0, wallets, _FUNDED_AT_ONCE):
        funding = [
            Transfer(
                transfer_id=new_id(),
                kind=TransferKind.AWARD,
                debit_account_id=book.issuance,
                credit_account_id=wallet,
                amount=FUNDS,
                actor_id=wallet,
            )
            for wallet in book.wallets[start : start + _FUNDED_AT_ONCE]
        ]
        await post_in_one_commit(pool, book.bank_id, funding)
    return book


async def post_in_one_commit(
    pool: Pool, bank_id: int, transfers: Sequence[Transfer]
) -> list[Outcome]:
    """Post transfers as the service does: one call, one durable commit, again on a conflict."""
    chains = [[transfer] for transfer in transfers]
    return await repeat_on_conflict(
        pool, lambda connection: post(connection, bank_id, chains), one_statement=True
    )
