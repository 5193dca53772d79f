"""Four eyes for lists of people: one proposes what they saw of a file, another brings it again.

The list itself is kept nowhere: a proposal holds its HMAC under the master key, so that nobody can
try out who stands on a short one, and what a dry run counted. Whoever approves runs the import with
their copy of the file; if that or any count is not what was proposed, nothing is written.
"""

from hashlib import sha256
from pathlib import Path
from uuid import UUID

import msgspec
from msgspec import Struct

from timebank.db import Connection, Pool, load_queries, transaction
from timebank.domain.errors import (
    ForbiddenError,
    NotFoundError,
    SecondPersonNeededError,
    TimebankError,
    UnauthenticatedError,
)
from timebank.ledger.banks import Bank, get_bank
from timebank.people.access import POLICY, Action, Principal, SessionMethod
from timebank.people.approvals import (
    Approval,
    ApprovalState,
    check_open,
    decide,
    get_approval,
    propose,
)
from timebank.people.audit_log import DONE, AuditEntry, entry_of, write_entries
from timebank.people.grants import OPERATOR_ID
from timebank.people.parties import PartyKind
from timebank.people.person_import import PeopleSummary, Progress, import_people
from timebank.people.sessions import find_principals, hash_token
from timebank.people.targets import check_reaches_party
from timebank.people.vault_keys import KeyRing

_QUERIES = load_queries(__package__)

_IMPORTERS = POLICY[Action.IMPORT_PEOPLE].keys()


class PeopleImport(
    Struct, frozen=True, tag_field="deed", tag="people_import", forbid_unknown_fields=True
):
    """Register who stands on a list; the counts are those of a dry run."""

    file: str
    rows: int
    known: int
    registered: int
    minors: int


class PeopleLists(Struct, frozen=True, kw_only=True):
    """Where lists of people are imported: into which bank, under which keys, in which request."""

    pool: Pool
    ring: KeyRing
    bank_code: str
    request_id: str
    progress: Progress = lambda done, total: None


async def import_alone(lists: PeopleLists, path: Path, *, dry_run: bool = False) -> PeopleSummary:
    """Import as the operator, who is nobody: while a bank has no two persons who could decide.

    SecondPersonNeededError once it has; a dry run, which writes nothing, is always free. Else as
    `import_people`.
    """

    async def check(connection: Connection, bank: Bank, content: bytes, _: PeopleSummary) -> None:
        able = await connection.fetchval(
            _QUERIES["count_importers"], bank.bank_id, list(_IMPORTERS), PartyKind.PERSON
        )
        if able > 1 and not dry_run:
            raise SecondPersonNeededError(
                "Two persons decide about a list of people: one with --propose, another with "
                "--approve."
            )

    return await import_people(
        lists.pool,
        lists.ring,
        lists.bank_code,
        path,
        actor_id=OPERATOR_ID,
        request_id=lists.request_id,
        dry_run=dry_run,
        progress=lists.progress,
        then=check,
    )


async def propose_import(
    lists: PeopleLists, path: Path, token: str
) -> tuple[Approval, PeopleSummary]:
    """Propose to import a list, after a dry run; it lapses like every proposal.

    `token` is of a session by password. UnauthenticatedError, ForbiddenError, NotFoundError, and
    as `import_people`.
    """
    principal = await _find_importer(lists, token)
    made: list[Approval] = []

    async def then(connection: Connection, bank: Bank, content: bytes, seen: PeopleSummary) -> None:
        proposal = await propose(
            connection,
            bank.bank_id,
            deed="people_import",
            content=_describe(lists.ring, bank, content, seen),
            branch_id=bank.root_id,
            maker_id=principal.principal_id,
            beneficiaries=[],
        )
        noted = _line(lists, principal, Action.PROPOSE, proposal.approval_id)
        await write_entries(connection, noted)
        made.append(proposal)

    summary = await import_people(
        lists.pool,
        lists.ring,
        lists.bank_code,
        path,
        actor_id=principal.principal_id,
        request_id=lists.request_id,
        dry_run=True,
        progress=lists.progress,
        then=then,
    )
    return made[-1], summary


async def approve_import(
    lists: PeopleLists, path: Path, approval_id: UUID, token: str
) -> PeopleSummary:
    """Import a list that another person proposed, in the commit of the approval.

    The maker of the proposal applies for the people, so that a third may approve memberships; the
    access log names who approves, and looks people up by it.
    ApprovalContentDiffersError if the file or what it comes to is not what was proposed; else as
    `propose_import` and `approvals.decide`.
    """
    principal = await _find_importer(lists, token)
    async with transaction(lists.pool) as connection:
        found = await get_approval(connection, principal.bank_id, approval_id)
    if found.deed != "people_import":
        raise NotFoundError

    async def then(connection: Connection, bank: Bank, content: bytes, done: PeopleSummary) -> None:
        described = _describe(lists.ring, bank, content, done)
        await decide(
            connection,
            bank.bank_id,
            approval_id,
            checker_id=principal.principal_id,
            content_hash=sha256(described).digest(),
            state=ApprovalState.APPROVED,
            roles=_IMPORTERS,
        )
        await write_entries(connection, _line(lists, principal, Action.DECIDE, approval_id))

    try:
        check_open(found)  # `decide` asks again, but by then the vault has been read
        return await import_people(
            lists.pool,
            lists.ring,
            lists.bank_code,
            path,
            actor_id=found.maker_id,
            reader_id=principal.principal_id,
            request_id=lists.request_id,
            progress=lists.progress,
            then=then,
        )
    except TimebankError as refused:
        noted = _line(lists, principal, Action.DECIDE, approval_id, refused.code)
        async with transaction(lists.pool) as connection:
            await write_entries(connection, noted)
        raise


async def _find_importer(lists: PeopleLists, token: str) -> Principal:
    async with transaction(lists.pool) as connection:
        bank = await get_bank(connection, lists.bank_code)
        [principal] = await find_principals(connection, [hash_token(token)])
        if principal is None or principal.bank_id != bank.bank_id:
            raise UnauthenticatedError("This token counts no more, or is of another bank.")
        if principal.method is not SessionMethod.PASSWORD:
            raise ForbiddenError(
                "Log in with password and second factor: whoever runs commands can issue tokens "
                "for any two persons."
            )
        await check_reaches_party(connection, principal, Action.IMPORT_PEOPLE, None)
    return principal


def _describe(ring: KeyRing, bank: Bank, content: bytes, seen: PeopleSummary) -> bytes:
    """Return what is proposed and decided about, in one form."""
    file = ring.first.blind(bank.bank_id, "people import", sha256(content).hexdigest()).hex()
    deed = PeopleImport(file, seen.rows, seen.known, seen.registered, seen.minors)
    return msgspec.json.encode(deed, order="sorted")


def _line(
    lists: PeopleLists, principal: Principal, action: Action, approval_id: UUID, result: str = DONE
) -> list[AuditEntry]:
    """Return the line of the audit log."""
    request_id = lists.request_id
    return [
        entry_of(principal, action, object_id=approval_id, result=result, request_id=request_id)
    ]
