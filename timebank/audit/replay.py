"""Replaying the journal: every passbook line beside the transfer it came from, account by account.

Two server-side cursors in the order of account and seq are merged; memory does not grow with the
journal.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from uuid import UUID

from msgspec import Struct

from timebank.audit.findings import Findings
from timebank.audit.invariants import SUMS_ARE_ZERO
from timebank.audit.passbooks import AccountRow, Passbook, Tally
from timebank.audit.snapshot import stream, stream_rows
from timebank.db import Connection, load_queries

_QUERIES = load_queries(__package__)
_BEYOND_ALL = AccountRow(2**31, UUID(int=2**128 - 1))

TallyKey = tuple[int, str, str]
"""Bank, unit and kind."""


class Replayed(Struct, frozen=True):
    """How many accounts were read, and the trial balance that their postings give."""

    accounts: int
    tallies: dict[TallyKey, Tally]


class _Reader:
    """Hands each account its lines: the accounts come in the same order as the lines."""

    def __init__(self, accounts: AsyncIterator[AccountRow], findings: Findings) -> None:
        self.accounts_read = 0
        self.tallies: dict[TallyKey, Tally] = defaultdict(Tally)
        self._accounts = accounts
        self._findings = findings
        self._ahead: AccountRow | None = None

    async def open(self, bank_id: int, account_id: UUID) -> Passbook:
        """Return the account's passbook; the accounts before it have no lines."""
        while (row := await self._peek())[:2] < (bank_id, account_id):
            self._ahead = None
            self.close(Passbook(row, self._findings))
        if row[:2] > (bank_id, account_id):
            return Passbook(AccountRow(bank_id, account_id), self._findings)
        self._ahead = None
        return Passbook(row, self._findings)

    def close(self, book: Passbook) -> None:
        """Check the end of a passbook and count it in the trial balance."""
        book.close()
        account = book.account
        if account.unit is not None and account.kind is not None:
            self.accounts_read += 1
            self.tallies[account.bank_id, account.unit, account.kind].add(book.total)

    async def finish(self) -> None:
        """Close the accounts after the last line."""
        await self.open(_BEYOND_ALL.bank_id, _BEYOND_ALL.account_id)

    async def _peek(self) -> AccountRow:
        if self._ahead is None:
            self._ahead = await anext(self._accounts, None) or _BEYOND_ALL
        return self._ahead


async def replay(
    connection: Connection,
    bank_id: int | None,
    findings: Findings,
    on_lines: Callable[[int], None],
) -> Replayed:
    """Read every passbook of the bank, or of all, from line one; `on_lines` hears the count."""
    accounts = stream_rows(connection, _QUERIES["stream_accounts"], bank_id)
    reader = _Reader((AccountRow(*row) async for row in accounts), findings)
    book: Passbook | None = None
    bank: int | None = None
    account: UUID | None = None
    lines = 0
    async for batch in stream(connection, _QUERIES["stream_lines"], bank_id):
        for line in batch:
            if book is None or line[1] != account or line[0] != bank:
                if book:
                    reader.close(book)
                bank, account = line[0], line[1]
                book = await reader.open(line[0], line[1])
            book.read(line)
        lines += len(batch)
        on_lines(lines)
    if book:
        reader.close(book)
    await reader.finish()
    return Replayed(reader.accounts_read, reader.tallies)


async def check_trial_balance(
    connection: Connection, bank_id: int | None, replayed: Replayed, findings: Findings
) -> None:
    """Compare the trial balance with the replayed one, and each unit's sum with 0."""
    nothing = Tally()
    said = defaultdict(Tally)
    async for bank, unit, kind, *columns in stream_rows(
        connection, _QUERIES["list_trial_balances"], bank_id
    ):
        said[bank, unit, kind] = Tally(*columns)
    for key in sorted(said.keys() | replayed.tallies.keys()):
        true = replayed.tallies.get(key, nothing)
        if said[key] != true:
            row = f"trial_balance {key[1]}/{key[2]}"
            findings.add(SUMS_ARE_ZERO, key[0], row, _say(true), _say(said[key]))
    sums: dict[tuple[int, str], int] = defaultdict(int)
    for (bank, unit, _), tally in replayed.tallies.items():
        sums[bank, unit] += tally.credit - tally.debit
    for (bank, unit), total in sorted(sums.items()):
        if total:
            findings.add(SUMS_ARE_ZERO, bank, f"unit {unit}", "postings that sum to 0", total)


def _say(tally: Tally) -> str:
    return f"{tally.accounts} accounts, debit {tally.debit}, credit {tally.credit}"
