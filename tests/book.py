"""A bank for one test, with short words for what tests do most."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from timebank.db import repeat_on_conflict
from timebank.domain.ledger import (
    AccountKind,
    Outcome,
    Transfer,
    TransferKind,
    TransferStatus,
    Unit,
)
from timebank.ledger.accounts import ensure_issuance, open_account
from timebank.ledger.banks import Bank, ensure_bank
from timebank.ledger.ids import new_id
from timebank.ledger.passbook import get_balance
from timebank.ledger.transfers import post
from timebank.people.parties import PartyKind, register_parties

STAFF = new_id()


@dataclass(frozen=True)
class Book:
    """A new bank, its pool of connections and its issuance accounts."""

    pool: asyncpg.Pool
    bank: Bank
    issuance: Mapping[Unit, UUID]

    @classmethod
    async def open(cls, pool: asyncpg.Pool, **options: Any) -> "Book":
        """Make a bank that no other test uses."""
        async with pool.acquire() as connection:
            bank = await ensure_bank(connection, f"t{secrets.token_hex(8)}", "测试", **options)
            return cls(pool, bank, await ensure_issuance(connection, bank.bank_id))

    @property
    def bank_id(self) -> int:
        """The bank's id."""
        return self.bank.bank_id

    async def open_account(
        self,
        kind: AccountKind = AccountKind.WALLET,
        unit: Unit = Unit.POINTS,
        *,
        balance: int = 0,
        owner_id: UUID | None = None,
    ) -> UUID:
        """Open an account of a new owner and award it a balance."""
        owner_id = owner_id or new_id()
        async with self.pool.acquire() as connection:
            await register_parties(connection, self.bank_id, PartyKind.PERSON, [owner_id])
            account = await open_account(connection, self.bank_id, unit, kind, owner_id)
        if balance:
            await self.post_all(self.award(account.account_id, balance, unit))
        return account.account_id

    def award(
        self, account_id: UUID, amount: int, unit: Unit = Unit.POINTS, **rest: Any
    ) -> Transfer:
        """An award from the unit's issuance account."""
        return self.transfer(
            self.issuance[unit], account_id, amount, kind=TransferKind.AWARD, **rest
        )

    def transfer(
        self,
        debit: UUID,
        credit: UUID,
        amount: int,
        *,
        kind: TransferKind = TransferKind.TRANSFER,
        transfer_id: UUID | None = None,
        occurred_at: datetime | None = None,
    ) -> Transfer:
        """A transfer by STAFF under a new id."""
        return Transfer(
            transfer_id=transfer_id or new_id(),
            kind=kind,
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            actor_id=STAFF,
            occurred_at=occurred_at,
        )

    async def post_chains(self, *chains: Sequence[Transfer]) -> list[Outcome]:
        """Post chains in one call and one commit."""
        return await repeat_on_conflict(self.pool, lambda c: post(c, self.bank_id, chains))

    async def post(self, *transfers: Transfer) -> list[TransferStatus]:
        """Post transfers, each on its own, in one call; return their statuses."""
        outcomes = await self.post_chains(*([transfer] for transfer in transfers))
        return [outcome.status for outcome in outcomes]

    async def post_all(self, *transfers: Transfer) -> None:
        """Post transfers that must all succeed."""
        assert set(await self.post(*transfers)) == {TransferStatus.POSTED}

    async def balance(self, account_id: UUID) -> int:
        """The balance now."""
        async with self.pool.acquire() as connection:
            return (await get_balance(connection, self.bank_id, account_id)).balance
