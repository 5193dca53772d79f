"""What every handler needs of the ledger, gathered once: pools, batchers and what never changes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeVar
from uuid import UUID

import structlog

from timebank.config import Settings
from timebank.db import Connection, Pool, repeat_on_conflict
from timebank.domain.errors import (
    IdempotencyKeyReusedError,
    NotFoundError,
    TimebankError,
    UnauthenticatedError,
    UnsafeKeyFileError,
    VaultKeyMissingError,
)
from timebank.domain.ledger import Account, AccountKind, Balance, Unit
from timebank.ledger.accounts import ensure_issuance, find_accounts
from timebank.ledger.banks import Bank, list_banks
from timebank.ledger.batcher import Batcher
from timebank.ledger.passbook import list_balances
from timebank.ledger.requests import KeyUse, PostingAnswer, PostingRequest, post_requests
from timebank.people.access import Action, Principal, Role, Target, check_reaches
from timebank.people.audit_log import AuditEntry, write_entries
from timebank.people.login.hashing import Hasher, open_hasher
from timebank.people.parties import PartyKind, is_party
from timebank.people.seals import Seals
from timebank.people.sessions import (
    Holding,
    find_principals,
    hash_token,
    list_holdings_of_callers,
)
from timebank.people.targets import check_reaches_party, needs_look
from timebank.people.vault_keys import KeyRing, open_key_ring
from timebank.redemption.families import list_pools_of
from timebank.webhooks.sending import Resolve, resolve_name

Asked = TypeVar("Asked")
Key = TypeVar("Key")
Value = TypeVar("Value")

log = structlog.get_logger()

_KNOWN_LIMIT = 100_000

_MOST_TRANSFERS = 1000
"""In one commit of many requests: so that a single award does not wait behind full batches."""


class Desk:
    """One for each service process; reads and writes share round trips through its batchers."""

    def __init__(self, pool: Pool, settings: Settings, resolve: Resolve = resolve_name) -> None:
        """`pool` stays open as long as the desk is used; `resolve` finds a name's addresses."""
        self.pool = pool
        self.resolve = resolve
        self._settings = settings
        self._key_fault = ""
        self._banks: dict[int, Bank] = {}
        self._issuance: dict[int, Mapping[Unit, UUID]] = {}
        self._accounts: dict[tuple[int, UUID], Account] = {}
        self._families: dict[tuple[int, UUID], bool] = {}
        self._callers: dict[bytes, Principal] = {}
        self._principals = Batcher(self._answer_principals)
        self._unseen_accounts = Batcher(self._answer_accounts)
        self._balances = Batcher(self._answer_balances)
        self._holdings = Batcher(self._answer_holdings)
        self._notes = Batcher(self._write_notes)
        self._postings = Batcher(
            self._answer_postings, most=_MOST_TRANSFERS, weigh=_count_transfers, in_flight=2
        )

    @property
    def settings(self) -> Settings:
        """The settings of this deployment."""
        return self._settings

    @cached_property
    def ring(self) -> KeyRing:
        """The master keys; VaultKeyMissingError, and why stands in the log for the operator."""
        try:
            return open_key_ring(self._settings)
        except (UnsafeKeyFileError, VaultKeyMissingError) as error:
            if self._key_fault != str(error):  # it is asked for every few seconds
                self._key_fault = str(error)
                log.error("master_key_unfit", reason=self._key_fault)
            raise VaultKeyMissingError from error

    def blind(self, bank_id: int, fingerprint: bytes) -> bytes:
        """Return what tells two requests apart and lets nobody try out what stood in one."""
        self.ring.reload_if_changed()
        return self.ring.first.blind(bank_id, "request", fingerprint.hex())

    @cached_property
    def hasher(self) -> Hasher:
        """What compares secrets; VaultKeyMissingError where nobody can log in."""
        return open_hasher(self._settings, Seals(self.ring))

    def close(self) -> None:
        """Let go of the threads that compare secrets."""
        if "hasher" in self.__dict__:
            self.hasher.close()

    async def identify(self, token: str) -> Principal:
        """Return whose token this is now; UnauthenticatedError if it is nobody's."""
        token_hash = hash_token(token)
        principal = await self._principals.ask(token_hash)
        if principal is None:
            raise UnauthenticatedError
        if principal.branch_id is None:  # who is of one branch is looked up each time
            _keep(self._callers, token_hash, principal)
        return principal

    async def holding_at_once(self, token: str, account_id: UUID) -> Holding | None:
        """Return what the account holds now, in one round trip, if the caller may see it.

        What a session stands for never changes: it is known from `identify`. Whether it still
        counts is asked together with the balance. None: ask the long way, which says why not.
        """
        token_hash = hash_token(token)
        principal = self._callers.get(token_hash)
        if principal is None:
            return None
        holding = await self._holdings.ask((token_hash, account_id))
        return holding if holding and _may_see_at_once(principal, holding.owner_id) else None

    async def bank(self, bank_id: int) -> Bank:
        """Return the bank; what is kept of it here does not change while the service runs."""
        if bank_id not in self._banks:
            async with self.pool.acquire() as connection:
                self._banks = {bank.bank_id: bank for bank in await list_banks(connection)}
        return self._banks[bank_id]

    async def find_bank(self, code: str) -> Bank | None:
        """Return the bank of this code."""
        found = [bank for bank in self._banks.values() if bank.code == code]
        if not found:
            async with self.pool.acquire() as connection:
                self._banks = {bank.bank_id: bank for bank in await list_banks(connection)}
            found = [bank for bank in self._banks.values() if bank.code == code]
        return next(iter(found), None)

    async def issuance(self, bank_id: int, unit: Unit) -> UUID:
        """Return the account that awards of this unit come from."""
        if bank_id not in self._issuance:
            async with self.pool.acquire() as connection:
                self._issuance[bank_id] = await ensure_issuance(connection, bank_id)
        return self._issuance[bank_id][unit]

    async def note(self, entry: AuditEntry) -> None:
        """Append a refusal to the audit log; many share one commit."""
        await self._notes.ask(entry)

    async def check_reaches(
        self, principal: Principal, action: Action, owner_id: UUID | None
    ) -> None:
        """Raise NotFoundError unless the principal may do this to what the party owns."""
        if needs_look(principal, action, owner_id):
            async with self.pool.acquire() as connection:
                await check_reaches_party(connection, principal, action, owner_id)
        else:
            check_reaches(principal, action, Target(owner_id=owner_id))

    async def account_seen_by(
        self, principal: Principal, account_id: UUID, action: Action = Action.READ_ACCOUNT
    ) -> Account:
        """Return the account if the principal may do this to it; NotFoundError as if absent.

        A family's pool is read by its members, once they are confirmed.
        """
        account = await self.find_account(principal.bank_id, account_id)
        if account is None:
            raise NotFoundError
        try:
            await self.check_reaches(principal, action, account.owner_id)
        except NotFoundError:
            if action is not Action.READ_ACCOUNT or not await self._saves_in(principal, account):
                raise
        return account

    async def _saves_in(self, principal: Principal, pool: Account) -> bool:
        """Return whether it is the pool of a resident's family."""
        if principal.role is not Role.RESIDENT or pool.kind is not AccountKind.POOL:
            return False
        async with self.pool.acquire() as connection:
            pools = await list_pools_of(connection, principal.bank_id, principal.principal_id)
        return pool.account_id in {one.account_id for one in pools}

    async def find_account(self, bank_id: int, account_id: UUID) -> Account | None:
        """Return the account, whoever asks; None if there is none. It never changes."""
        key = (bank_id, account_id)
        account = self._accounts.get(key)
        if account is None:
            account = await self._unseen_accounts.ask(key)
            if account is not None:
                _keep(self._accounts, key, account)
        return account

    async def is_family(self, bank_id: int, party_id: UUID) -> bool:
        """Return whether the party is a family; what a party is never changes."""
        key = (bank_id, party_id)
        if key not in self._families:
            async with self.pool.acquire() as connection:
                found = await is_party(connection, bank_id, party_id, PartyKind.FAMILY)
            _keep(self._families, key, found)
            return found
        return self._families[key]

    async def balance(self, bank_id: int, account_id: UUID) -> Balance:
        """Return the balance now; many askers share one query."""
        balance = await self._balances.ask((bank_id, account_id))
        if balance is None:
            raise NotFoundError
        return balance

    async def post(self, bank_id: int, request: PostingRequest) -> PostingAnswer:
        """Post a request's transfers; many requests share one commit.

        IdempotencyKeyReusedError if the key was used for another request.
        """
        answer = await self._postings.ask((bank_id, request))
        if answer.use is KeyUse.REUSED:
            raise IdempotencyKeyReusedError
        return answer

    async def _write_notes(self, entries: Sequence[AuditEntry]) -> Sequence[None]:
        async with self.pool.acquire() as connection:
            await write_entries(connection, entries)
        return [None] * len(entries)

    async def _answer_principals(self, hashes: Sequence[bytes]) -> list[Principal | None]:
        async with self.pool.acquire() as connection:
            return await find_principals(connection, hashes)

    async def _answer_accounts(self, asked: Sequence[tuple[int, UUID]]) -> list[Account | None]:
        found: dict[tuple[int, UUID], Account] = {}
        async with self.pool.acquire() as connection:
            for bank_id, account_ids in _by_bank(asked).items():
                for account in await find_accounts(connection, bank_id, set(account_ids)):
                    found[bank_id, account.account_id] = account
        return [found.get(key) for key in asked]

    async def _answer_balances(self, asked: Sequence[tuple[int, UUID]]) -> list[Balance | None]:
        found: dict[tuple[int, UUID], Balance] = {}
        async with self.pool.acquire() as connection:
            for bank_id, account_ids in _by_bank(asked).items():
                for balance in await list_balances(connection, bank_id, set(account_ids)):
                    found[bank_id, balance.account_id] = balance
        return [found.get(key) for key in asked]

    async def _answer_holdings(self, asked: Sequence[tuple[bytes, UUID]]) -> list[Holding | None]:
        async with self.pool.acquire() as connection:
            return await list_holdings_of_callers(connection, asked)

    async def _answer_postings(
        self, asked: Sequence[tuple[int, PostingRequest]]
    ) -> list[PostingAnswer]:
        answers: dict[int, list[PostingAnswer]] = {}
        for bank_id, requests in _by_bank(asked).items():

            async def work(
                connection: Connection,
                bank_id: int = bank_id,
                requests: list[PostingRequest] = requests,
            ) -> list[PostingAnswer]:
                return await post_requests(connection, bank_id, requests)

            answers[bank_id] = await repeat_on_conflict(self.pool, work, one_statement=True)
        waiting = {bank_id: iter(found) for bank_id, found in answers.items()}
        return [next(waiting[bank_id]) for bank_id, _ in asked]


def _may_see_at_once(principal: Principal, owner_id: UUID | None) -> bool:
    """Return whether the principal may see this owner's accounts, by what is known here."""
    try:
        if needs_look(principal, Action.READ_ACCOUNT, owner_id):
            return False
        check_reaches(principal, Action.READ_ACCOUNT, Target(owner_id=owner_id))
    except TimebankError:
        return False
    return True


def _keep(known: dict[Key, Value], key: Key, value: Value) -> None:
    """Remember what never changes, within bounds."""
    if len(known) >= _KNOWN_LIMIT:
        known.clear()
    known[key] = value


def _by_bank(asked: Sequence[tuple[int, Asked]]) -> dict[int, list[Asked]]:
    grouped: dict[int, list[Asked]] = defaultdict(list)
    for bank_id, question in asked:
        grouped[bank_id].append(question)
    return grouped


def _count_transfers(asked: tuple[int, PostingRequest]) -> int:
    return sum(len(chain) for chain in asked[1].chains)
