"""Reconciling: everything is read again from row one, as of one snapshot, and nothing is trusted.

What has no second witness cannot be checked this way:
- of a posted transfer the subject, the reason, the actor when no request names it, and a later
  member's chain_id taken away; a reversal that names another transfer of the same content; all of a
  refused transfer but its chain;
- of an account the owner changed for another of its sort, and that it was opened earlier;
- a request taken away, its key, its fingerprint or its answer changed, or another transfer of the
  same caller named that no request names: its key would post anew, or be answered otherwise;
- the months and grace of an expiry rule, and a rule taken away, until points have expired by it;
- a block taken away with all its points, and which line it was placed after;
- what the registry says of owners, and since when who hung where;
- rows cut from the end of every witness at once.
A superuser who rewrites journal, passbook and balance rows alike is not found either. That is what
a sealed log is for, whose checkpoints are kept elsewhere. The guards are looked at as they stand:
an hour when one was off leaves no trace of itself.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from timebank.audit.checks import CHECKS, check_guards, check_rows
from timebank.audit.findings import Finding, Findings
from timebank.audit.invariants import INVARIANTS
from timebank.audit.lots import check_lots
from timebank.audit.replay import check_trial_balance, replay
from timebank.db import Connection, load_queries
from timebank.domain.errors import BankNotFoundError

_QUERIES = load_queries(__package__)

OnProgress = Callable[[str, int, int], None]
"""Hears what is being done, how far it is, and how far it goes."""


class Check(Struct, frozen=True):
    """An invariant and the number of findings against it."""

    number: int
    name: str
    sentence: str
    found: int


class Report(Struct, frozen=True, kw_only=True):
    """What reconciling found; `findings` are the first of `found`, `read_at` is the snapshot's."""

    ok: bool
    banks: int
    accounts: int
    transfers: int
    postings: int
    read_at: str
    seconds: float
    found: int
    checks: list[Check]
    findings: list[Finding]


async def reconcile(
    connection: Connection,
    bank_code: str | None = None,
    *,
    limit: int = 100,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Report:
    """Check the book of one bank, or of all banks, and report the first `limit` findings.

    `connection` is one of `snapshot.open_snapshot`: all is read as of one instant, and posting goes
    on meanwhile. BankNotFoundError for an unknown code.
    """
    started = time.monotonic()
    codes = dict(await connection.fetch(_QUERIES["list_bank_codes"]))
    bank_id = _find_bank(codes, bank_code)
    transfers, postings, banks, read_at = await connection.fetchrow(_QUERIES["count_rows"], bank_id)
    findings = Findings(codes, limit)
    accounts = await _check(connection, bank_id, postings, findings, on_progress)
    return Report(
        ok=not findings.total,
        banks=banks,
        accounts=accounts,
        transfers=transfers,
        postings=postings,
        read_at=read_at,
        seconds=round(time.monotonic() - started, 3),
        found=findings.total,
        checks=[
            Check(one.number, one.name, one.sentence, findings.counts[one.number])
            for one in INVARIANTS
        ],
        findings=findings.first,
    )


def _find_bank(codes: dict[int, str], code: str | None) -> int | None:
    if code is None:
        return None
    for bank_id, known in codes.items():
        if known == code:
            return bank_id
    raise BankNotFoundError(code)


async def _check(
    connection: Connection,
    bank_id: int | None,
    postings: int,
    findings: Findings,
    on_progress: OnProgress,
) -> int:
    """Run every check, the guards first: few rows, and they say what the rest is worth."""
    await check_guards(connection, findings)
    on_progress("Replaying the journal", 0, postings)
    replayed = await replay(
        connection,
        bank_id,
        findings,
        lambda done: on_progress("Replaying the journal", done, postings),
    )
    await check_trial_balance(connection, bank_id, replayed, findings)
    await check_lots(
        connection,
        bank_id,
        findings,
        lambda done, total: on_progress("Folding the lots", done, total),
    )
    for done, (invariant, query) in enumerate(CHECKS):
        on_progress(query.replace("_", " ").capitalize(), done, len(CHECKS))
        await check_rows(connection, bank_id, invariant, query, findings)
    on_progress("Done", len(CHECKS), len(CHECKS))
    return replayed.accounts
