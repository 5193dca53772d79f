"""Two persons decide about a list of people, by the list itself and what it came to."""

import asyncio
import secrets
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from tests.people.desk import Desk
from tests.people.test_person_import import OLD, YOUNG, row, write
from timebank.domain.errors import (
    ApprovalContentDiffersError,
    ApprovalDecidedError,
    ApprovalLapsedError,
    ForbiddenError,
    NotFoundError,
    SecondPersonNeededError,
    TimebankError,
    UnauthenticatedError,
)
from timebank.ledger.ids import new_id
from timebank.people.access import Role, SessionMethod
from timebank.people.approvals import ApprovalState, get_approval, propose
from timebank.people.grants import OPERATOR_ID, grant_role, list_grants, revoke_grant
from timebank.people.import_approval import (
    PeopleLists,
    approve_import,
    import_alone,
    propose_import,
)
from timebank.people.parties import PartyKind, register_parties
from timebank.people.registration import MembershipState, list_memberships
from timebank.people.sessions import open_session
from timebank.people.vault import list_accesses

WAITS_FOR = "SELECT true FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)) LIMIT 1"


def lists_of(desk: Desk) -> PeopleLists:
    return PeopleLists(
        pool=desk.book.pool, ring=desk.ring, bank_code=desk.book.bank.code, request_id="command 1"
    )


async def importer(
    desk: Desk,
    role: Role = Role.ADMINISTRATOR,
    branch_id: UUID | None = None,
    method: SessionMethod = SessionMethod.PASSWORD,
) -> tuple[UUID, str]:
    """A person with a session, and its token."""
    person = new_id()
    async with desk.at() as connection:
        await register_parties(connection, desk.bank_id, PartyKind.PERSON, [person])
        grant_id = await grant_role(
            connection,
            desk.bank_id,
            person,
            role,
            branch_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
        )
    if method is SessionMethod.PASSWORD:
        await desk.enrol(person)
    async with desk.at() as connection:
        token = await open_session(
            connection, desk.bank_id, person, role, grant_id=grant_id, method=method
        )
    return person, token


async def members(desk: Desk) -> int:
    async with desk.at() as connection:
        return len(await list_memberships(connection, desk.bank_id, MembershipState.APPLIED))


async def state_of(desk: Desk, approval_id: UUID) -> ApprovalState:
    async with desk.at() as connection:
        return (await get_approval(connection, desk.bank_id, approval_id)).state


async def audited(desk: Desk, approval_id: UUID) -> list[tuple[str, UUID, str]]:
    return [
        tuple(record)
        for record in await desk.book.pool.fetch(
            "SELECT action, actor_id, result FROM audit_log WHERE bank_id = $1 AND object_id = $2 "
            "ORDER BY entry_id",
            desk.bank_id,
            approval_id,
        )
    ]


async def test_one_proposes_and_another_imports(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path, [row("a"), row("kid", YOUNG, guardian_ref="a")])
    lists = lists_of(desk)
    maker, shown = await importer(desk, Role.COORDINATOR)
    checker, other = await importer(desk)
    proposal, seen = await propose_import(lists, path, shown)
    assert (seen.registered, seen.minors, await members(desk)) == (2, 1, 0)
    with pytest.raises(SecondPersonNeededError):
        await approve_import(lists, path, proposal.approval_id, shown)
    assert await members(desk) == 0
    copy = tmp_path / "copy.csv"  # the same file under another name is the same file
    copy.write_bytes(path.read_bytes())
    assert await approve_import(lists, copy, proposal.approval_id, other) == seen
    assert await members(desk) == 2
    with pytest.raises(ApprovalDecidedError):
        await approve_import(lists, path, proposal.approval_id, other)
    assert await audited(desk, proposal.approval_id) == [
        ("propose", maker, "done"),
        ("decide", maker, "second_person_needed"),
        ("decide", checker, "done"),
        ("decide", checker, "approval_decided"),
    ]
    applied = await desk.book.pool.fetch(
        "SELECT DISTINCT actor_id FROM membership WHERE bank_id = $1", desk.bank_id
    )
    assert [record["actor_id"] for record in applied] == [maker]


async def test_another_file_is_not_imported(desk: Desk, tmp_path: Path) -> None:
    one, lists = row("a"), lists_of(desk)
    (_, shown), (_, other) = await importer(desk), await importer(desk)
    path = write(tmp_path, [one])
    proposal, _ = await propose_import(lists, path, shown)
    for changed in ([row("a")], [one, row("b")], [one | {"name": "李四"}], []):
        with pytest.raises(ApprovalContentDiffersError):
            await approve_import(
                lists, write(tmp_path, changed, "changed.csv"), proposal.approval_id, other
            )
    assert (await members(desk), await state_of(desk, proposal.approval_id)) == (0, "proposed")
    await approve_import(lists, path, proposal.approval_id, other)
    assert await members(desk) == 1


async def test_what_was_counted_counts(desk: Desk, tmp_path: Path) -> None:
    """Half of the list was registered since: what was seen is not what would be done."""
    rows, lists = [row("a"), row("b")], lists_of(desk)
    await import_alone(lists, write(tmp_path, rows[:1], "before.csv"))
    (_, shown), (_, other) = await importer(desk), await importer(desk)
    path, rest = write(tmp_path, rows), write(tmp_path, rows[1:], "rest.csv")
    whole, seen = await propose_import(lists, path, shown)
    assert (seen.known, seen.registered) == (1, 1)
    part, _ = await propose_import(lists, rest, shown)
    await approve_import(lists, rest, part.approval_id, other)
    with pytest.raises(ApprovalContentDiffersError):
        await approve_import(lists, path, whole.approval_id, other)


async def test_the_list_lies_nowhere_and_cannot_be_tried_out(desk: Desk, tmp_path: Path) -> None:
    one = row("a")
    path = write(tmp_path, [one])
    _, shown = await importer(desk)
    proposal, _ = await propose_import(lists_of(desk), path, shown)
    for text in (one["name"], one["phone"], one["id_number"], "people.csv"):
        assert text.encode() not in proposal.content
    assert sha256(path.read_bytes()).hexdigest().encode() not in proposal.content
    stored = await desk.book.pool.fetchval(
        "SELECT content::text FROM approval WHERE approval_id = $1", proposal.approval_id
    )
    assert stored.encode() == proposal.content


@pytest.mark.parametrize(
    ("role", "method", "error"),
    [
        (Role.AUDITOR, SessionMethod.PASSWORD, ForbiddenError),
        (Role.COORDINATOR, SessionMethod.TOKEN, ForbiddenError),  # which a command may issue
        (Role.COORDINATOR, SessionMethod.PASSWORD, None),
    ],
)
async def test_who_may_propose(
    desk: Desk,
    tmp_path: Path,
    role: Role,
    method: SessionMethod,
    error: type[TimebankError] | None,
) -> None:
    path = write(tmp_path, [row("a")])
    _, shown = await importer(desk, role, method=method)
    if error is None:
        await propose_import(lists_of(desk), path, shown)
        return
    with pytest.raises(error):
        await propose_import(lists_of(desk), path, shown)


async def test_a_role_for_a_part_of_the_bank_is_not_enough(desk: Desk, tmp_path: Path) -> None:
    path = write(tmp_path, [row("a")])
    _, shown = await importer(desk, branch_id=new_id())
    with pytest.raises(ForbiddenError):
        await propose_import(lists_of(desk), path, shown)
    with pytest.raises(UnauthenticatedError):
        await propose_import(lists_of(desk), path, f"tb_{secrets.token_urlsafe(32)}")
    (_, shown) = await importer(desk)
    with pytest.raises(NotFoundError):
        await approve_import(lists_of(desk), path, new_id(), shown)


async def test_the_operator_imports_alone_while_there_are_no_two(
    desk: Desk, tmp_path: Path
) -> None:
    lists = lists_of(desk)
    first, _ = await importer(desk)
    await importer(desk, Role.AUDITOR)
    await importer(desk, branch_id=new_id())
    await import_alone(lists, write(tmp_path, [row("a")]))
    assert await members(desk) == 1
    await importer(desk, Role.COORDINATOR)
    path = write(tmp_path, [row("b", OLD)])
    with pytest.raises(SecondPersonNeededError):
        await import_alone(lists, path)
    assert (await import_alone(lists, path, dry_run=True)).registered == 1
    assert await members(desk) == 1
    async with desk.at() as connection:
        for grant in await list_grants(connection, desk.bank_id, first):
            await revoke_grant(connection, desk.bank_id, grant.grant_id)
    await import_alone(lists, path)
    assert await members(desk) == 2


async def readers(desk: Desk) -> list[UUID]:
    """Who looked anything up, or read or wrote it, in the order of the access log."""
    async with desk.at() as connection:
        return [line.reader_id for line in await list_accesses(connection, desk.bank_id)]


async def test_the_access_log_names_who_ran_the_import(desk: Desk, tmp_path: Path) -> None:
    lists, path = lists_of(desk), write(tmp_path, [row("a"), row("kid", YOUNG, guardian_ref="a")])
    (maker, shown), (checker, other) = await importer(desk), await importer(desk)
    proposal, _ = await propose_import(lists, path, shown)
    before = await readers(desk)
    await approve_import(lists, path, proposal.approval_id, other)
    logged = await readers(desk)
    assert set(before) == {maker}
    assert set(logged[len(before) :]) == {checker}


async def test_what_was_decided_or_lapsed_reads_nothing(desk: Desk, tmp_path: Path) -> None:
    lists, path = lists_of(desk), write(tmp_path, [row("a")])
    (_, shown), (_, other) = await importer(desk), await importer(desk)
    decided, _ = await propose_import(lists, path, shown)
    async with desk.at() as connection:
        lapsed = await propose(
            connection,
            desk.bank_id,
            deed=decided.deed,
            content=decided.content,
            branch_id=decided.branch_id,
            maker_id=decided.maker_id,
            beneficiaries=[],
            lifetime=timedelta(seconds=-1),
        )
    await approve_import(lists, path, decided.approval_id, other)
    before = await readers(desk)
    for proposal, error in ((decided, ApprovalDecidedError), (lapsed, ApprovalLapsedError)):
        with pytest.raises(error):
            await approve_import(lists, path, proposal.approval_id, other)
    assert await readers(desk) == before


async def test_a_checker_who_lost_the_role_meanwhile_approves_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    lists, path = lists_of(desk), write(tmp_path, [row("a")])
    (_, shown), (checker, other) = await importer(desk), await importer(desk)
    proposal, _ = await propose_import(lists, path, shown)

    async with desk.at() as connection:
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('timebank import people', $1))",
            desk.bank_id,
        )
        approving = asyncio.create_task(approve_import(lists, path, proposal.approval_id, other))
        async with asyncio.timeout(10):
            while not await desk.book.pool.fetchval(WAITS_FOR, connection.get_server_pid()):
                assert not approving.done(), "it was not held up"
                await asyncio.sleep(0.01)
        for grant in await list_grants(connection, desk.bank_id, checker):
            await revoke_grant(connection, desk.bank_id, grant.grant_id)
    with pytest.raises(ForbiddenError):
        await approving
    assert (await members(desk), await state_of(desk, proposal.approval_id)) == (0, "proposed")


async def test_a_maker_who_lost_the_role_proposed_nothing(desk: Desk, tmp_path: Path) -> None:
    lists, path = lists_of(desk), write(tmp_path, [row("a")])
    (maker, shown), (_, other) = await importer(desk), await importer(desk)
    proposal, _ = await propose_import(lists, path, shown)
    async with desk.at() as connection:
        for grant in await list_grants(connection, desk.bank_id, maker):
            await revoke_grant(connection, desk.bank_id, grant.grant_id)
    with pytest.raises(ApprovalLapsedError):
        await approve_import(lists, path, proposal.approval_id, other)
    assert await members(desk) == 0
