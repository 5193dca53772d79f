"""Four eyes over HTTP: a deed needs two persons, neither of them served, and is done once."""

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.api.client import Api, Caller, check_problem, token_for
from tests.places import open_branch, place
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.approvals import propose


@dataclass(frozen=True)
class Person:
    """Somebody with a role, and their id."""

    caller: Caller
    party_id: UUID


async def person(api: Api, role: Role, branch_id: UUID | None = None) -> Person:
    party_id = new_id()
    token = await token_for(api.book, role, party_id, branch_id=branch_id)
    return Person(Caller(api.http, token), party_id)


async def coordinators(api: Api, branch_id: UUID | None = None) -> tuple[Person, Person]:
    return (
        await person(api, Role.COORDINATOR, branch_id),
        await person(api, Role.COORDINATOR, branch_id),
    )


async def proposed(maker: Person, deed: dict[str, Any]) -> dict[str, Any]:
    answer = await maker.caller.post("/approvals", deed)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def decided(checker: Person, proposal: dict[str, Any], **other: Any) -> Any:
    body = {"decision": "approved", "content_hash": proposal["content_hash"], **other}
    return await checker.caller.post(f"/approvals/{proposal['approval_id']}/decision", body)


async def test_an_award_by_hand_is_proposed_and_approved(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 30}
    check_problem(await maker.caller.post("/awards", award), "forbidden")
    proposal = await proposed(maker, award)
    assert proposal["content"] == {**award, "occurred_at": None}
    assert await api.book.balance(resident.wallet) == 0
    answer = await decided(checker, proposal)
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    assert await api.book.balance(resident.wallet) == 30
    [line] = (await api.system.get(f"/accounts/{resident.wallet}/passbook")).json()["data"]
    assert line["subject_id"] == proposal["approval_id"]
    check_problem(await decided(checker, proposal), "approval_decided")
    assert await api.book.balance(resident.wallet) == 30


async def test_every_kind_of_posting_needs_two(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident, pool = await api.resident(), await api.pool(points=100)
    wallet = str(resident.wallet)
    give = {"from_account_id": str(pool), "to_account_id": wallet, "points": 60}
    for path, body in (
        ("/awards", {"account_id": wallet, "points": 1}),
        ("/transfers", give),
        ("/batches", {"rows": [{"type": "award", "account_id": wallet, "points": 1}]}),
    ):
        check_problem(await maker.caller.post(path, body), "forbidden")
    rows = [
        {"type": "award", "account_id": wallet, "points": 7},
        {"type": "transfer", **give, "points": 3},
    ]
    for deed, balance in (
        ({"deed": "pool_transfer", **give}, 60),
        ({"deed": "batch", "rows": rows}, 70),
    ):
        assert (await decided(checker, await proposed(maker, deed))).status_code == 200
        assert await api.book.balance(resident.wallet) == balance


async def test_a_batch_is_done_whole_or_not_at_all(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident, pool = await api.resident(), await api.pool(points=2)
    wallet = str(resident.wallet)
    give = {"type": "transfer", "from_account_id": str(pool), "to_account_id": wallet}
    rows = [{"type": "award", "account_id": wallet, "points": 7}, {**give, "points": 3}]
    proposal = await proposed(maker, {"deed": "batch", "rows": rows})
    check_problem(await decided(checker, proposal), "insufficient_balance")
    assert await api.book.balance(resident.wallet) == 0
    again = await checker.caller.get(f"/approvals/{proposal['approval_id']}")
    assert again.json()["state"] == "proposed"  # filled up, it can still be approved


async def test_persons_are_compared_not_logins(api: Api) -> None:
    """The same human under two roles is one person: no maker checks, nobody is served."""
    maker, checker = await coordinators(api)
    served = await person(api, Role.COORDINATOR)
    wallet = await api.book.open_account(owner_id=served.party_id)
    award = {"deed": "award", "account_id": str(wallet), "points": 1}
    check_problem(await served.caller.post("/approvals", award), "second_person_needed")
    proposal = await proposed(maker, award)
    other_login = Caller(api.http, await token_for(api.book, Role.COORDINATOR, maker.party_id))
    for somebody in (maker, Person(other_login, maker.party_id), served):
        check_problem(await decided(somebody, proposal), "second_person_needed")
    assert await api.book.balance(wallet) == 0
    assert (await decided(checker, proposal)).status_code == 200


async def test_the_database_itself_compares_persons(api: Api) -> None:
    """Whoever writes, the constraints say it too."""
    maker, served = new_id(), new_id()
    async with api.book.pool.acquire() as connection:
        made = await propose(
            connection,
            api.book.bank_id,
            deed="award",
            content=b"{}",
            branch_id=api.book.bank.root_id,
            maker_id=maker,
            beneficiaries=[served],
        )
        for checker in (maker, served):
            with pytest.raises(asyncpg.CheckViolationError) as refusal:
                await connection.execute(
                    "SELECT decide_approval($1, $2, $3, $4, 'approved')",
                    api.book.bank_id,
                    made.approval_id,
                    checker,
                    made.content_hash,
                )
            assert re.fullmatch(r"approval_\w+_is_not_\w+", refusal.value.constraint_name)
        with pytest.raises(Exception, match="permission denied"):
            await connection.execute("UPDATE approval SET state = 'approved'")


async def test_a_decision_is_about_what_was_seen(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet)}
    small = await proposed(maker, {**award, "points": 1})
    large = await proposed(maker, {**award, "points": 1000})
    answer = await decided(checker, large, content_hash=small["content_hash"])
    check_problem(answer, "approval_content_differs")
    assert await api.book.balance(resident.wallet) == 0


async def test_a_rejected_deed_is_never_done(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    proposal = await proposed(maker, award)
    answer = await decided(checker, proposal, decision="rejected")
    assert (answer.status_code, answer.json()["state"]) == (200, "rejected")
    check_problem(await decided(checker, proposal), "approval_decided")
    assert await api.book.balance(resident.wallet) == 0


async def test_a_proposal_lapses(api: Api) -> None:
    checker = await person(api, Role.COORDINATOR)
    resident = await api.resident()
    async with api.book.pool.acquire() as connection:
        made = await propose(
            connection,
            api.book.bank_id,
            deed="award",
            content=f'{{"deed":"award","account_id":"{resident.wallet}","points":1}}'.encode(),
            branch_id=api.book.bank.root_id,
            maker_id=new_id(),
            beneficiaries=[],
            lifetime=timedelta(seconds=-1),
        )
    proposal = {"approval_id": made.approval_id, "content_hash": made.content_hash.hex()}
    check_problem(await decided(checker, proposal), "approval_lapsed")


async def test_ten_decide_at_once_and_one_counts(api: Api) -> None:
    maker = await person(api, Role.COORDINATOR)
    checkers = [await person(api, Role.COORDINATOR) for _ in range(10)]
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    proposal = await proposed(maker, award)
    answers = await asyncio.gather(*(decided(checker, proposal) for checker in checkers))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert await api.book.balance(resident.wallet) == 1


async def test_large_reversals_need_two_and_small_ones_one(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident = await api.resident()
    for points, code in ((100, None), (101, "second_person_needed")):
        award = api.book.award(resident.wallet, points)
        await api.book.post_all(award)
        path = f"/transfers/{award.transfer_id}/reversal"
        answer = await maker.caller.post(path, {"reason": "duplicate"})
        if code is None:
            assert answer.status_code == 201, answer.text
            continue
        check_problem(answer, code)
        reversal = {
            "deed": "reversal",
            "transfer_id": str(award.transfer_id),
            "reason": "duplicate",
        }
        assert (await decided(checker, await proposed(maker, reversal))).status_code == 200
    assert await api.book.balance(resident.wallet) == 0


async def test_nobody_reverses_what_they_own(api: Api) -> None:
    owner = await person(api, Role.COORDINATOR)
    wallet = await api.book.open_account(owner_id=owner.party_id)
    award = api.book.award(wallet, 1)
    await api.book.post_all(award)
    path = f"/transfers/{award.transfer_id}/reversal"
    check_problem(await owner.caller.post(path, {"reason": "duplicate"}), "second_person_needed")


async def test_both_must_reach_what_is_touched(api: Api) -> None:
    here, there = await open_branch(api.book), await open_branch(api.book)
    maker, checker = await coordinators(api, here)
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    await place(api.book, resident.resident_id, there)
    check_problem(await maker.caller.post("/approvals", award), "not_found")
    await place(api.book, resident.resident_id, here)
    proposal = await proposed(maker, award)
    await place(api.book, resident.resident_id, there)  # moved away before it was decided
    check_problem(await decided(checker, proposal), "not_found")
    assert await api.book.balance(resident.wallet) == 0


async def test_roles_are_granted_by_two_administrators(api: Api) -> None:
    maker, checker = [await person(api, Role.ADMINISTRATOR) for _ in range(2)]
    newcomer = await person(api, Role.AUDITOR)
    grant = {"deed": "role_grant", "party_id": str(newcomer.party_id), "role": "coordinator"}
    await decided(checker, await proposed(maker, grant))
    listed = await maker.caller.get("/role-grants", party_id=newcomer.party_id)
    [audits, coordinates] = listed.json()["data"]
    assert (audits["role"], coordinates["role"]) == ("auditor", "coordinator")
    assert coordinates["granted_by"] == str(maker.party_id)
    assert coordinates["approved_by"] == str(checker.party_id)
    own = {**grant, "party_id": str(maker.party_id)}
    check_problem(await maker.caller.post("/approvals", own), "second_person_needed")


async def test_a_revoked_role_is_gone_at_the_next_request(api: Api) -> None:
    administrator = await person(api, Role.ADMINISTRATOR)
    auditor = await person(api, Role.AUDITOR)
    assert (await auditor.caller.get("/accounts")).status_code == 200
    listed = await administrator.caller.get("/role-grants", party_id=auditor.party_id)
    [grant] = listed.json()["data"]
    path = f"/role-grants/{grant['grant_id']}/revocation"
    assert (await administrator.caller.post(path, {})).status_code == 201
    check_problem(await auditor.caller.get("/accounts"), "unauthenticated")
    check_problem(await administrator.caller.post(path, {}), "not_found")


async def test_administrators_cannot_post_and_auditors_cannot_administer(api: Api) -> None:
    administrator, auditor = await person(api, Role.ADMINISTRATOR), await person(api, Role.AUDITOR)
    wallet = await api.book.open_account()
    award = {"deed": "award", "account_id": str(wallet), "points": 1}
    grant = {"deed": "role_grant", "party_id": str(new_id()), "role": "coordinator"}
    for caller in (administrator.caller, auditor.caller):
        check_problem(await caller.post("/awards", award), "forbidden")
        check_problem(await caller.post("/approvals", award), "forbidden")
    check_problem(await auditor.caller.post("/approvals", grant), "forbidden")
    coordinator = await person(api, Role.COORDINATOR)
    check_problem(await coordinator.caller.post("/approvals", grant), "forbidden")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "resident"}, "/role"),
        ({"role": "clerk"}, "/merchant_id"),
        ({"merchant_id": str(new_id())}, "/merchant_id"),
        ({"granted_by": str(new_id())}, "/granted_by"),
    ],
)
async def test_a_grant_that_makes_no_sense(api: Api, change: dict[str, str], pointer: str) -> None:
    maker = await person(api, Role.ADMINISTRATOR)
    grant = {"deed": "role_grant", "party_id": str(new_id()), "role": "auditor", **change}
    problem = check_problem(await maker.caller.post("/approvals", grant), "invalid_input")
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


async def test_proposals_are_listed_by_branch_and_page(api: Api) -> None:
    here, there = await open_branch(api.book), await open_branch(api.book)
    (maker, _), (stranger, _) = await coordinators(api, here), await coordinators(api, there)
    resident = await api.resident()
    await place(api.book, resident.resident_id, here)
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    made = [(await proposed(maker, award))["approval_id"] for _ in range(3)]
    first = (await maker.caller.get("/approvals", limit=2, state="proposed")).json()
    rest = await maker.caller.get(
        "/approvals", limit=2, state="proposed", cursor=first["next_cursor"]
    )
    seen = [entry["approval_id"] for entry in [*first["data"], *rest.json()["data"]]]
    assert seen == made[::-1]
    assert (await stranger.caller.get("/approvals")).json()["data"] == []
    check_problem(await stranger.caller.get(f"/approvals/{made[0]}"), "not_found")


async def test_deeds_and_refusals_stand_in_the_audit_log(api: Api) -> None:
    maker, checker = await coordinators(api)
    resident = await api.resident()
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    proposal = await proposed(maker, award)
    await decided(maker, proposal)
    await decided(checker, proposal)
    await resident.caller.post("/approvals", award)
    await resident.caller.get(f"/accounts/{new_id()}")
    log = (await api.auditor.get("/audit-log")).json()["data"]
    told = [(entry["action"], entry["result"], entry["actor_id"]) for entry in log]
    assert told == [
        ("read_account", "not_found", str(resident.resident_id)),
        ("propose", "forbidden", str(resident.resident_id)),
        ("decide", "done", str(checker.party_id)),
        ("decide", "second_person_needed", str(maker.party_id)),
        ("propose", "done", str(maker.party_id)),
    ]
    assert all(entry["request_id"] for entry in log)
    about = await api.auditor.get("/audit-log", object_id=proposal["approval_id"])
    assert [entry["result"] for entry in about.json()["data"]] == [
        "done",
        "second_person_needed",
        "done",
    ]
    page = (await api.auditor.get("/audit-log", limit=2)).json()
    rest = await api.auditor.get("/audit-log", limit=5, cursor=page["next_cursor"])
    assert [*page["data"], *rest.json()["data"]] == log


async def test_a_pool_of_hours_can_be_given_from_too(api: Api) -> None:
    maker, checker = await coordinators(api)
    pool = await api.book.open_account(AccountKind.POOL, Unit.HOURS, balance=60)
    wallet = await api.book.open_account(unit=Unit.HOURS)
    give = {"from_account_id": str(pool), "to_account_id": str(wallet), "minutes": 60}
    answer = await decided(checker, await proposed(maker, {"deed": "pool_transfer", **give}))
    assert answer.status_code == 200
    assert await api.book.balance(wallet) == 60


async def test_a_list_of_people_is_approved_by_command_only(api: Api) -> None:
    """Here nobody shows the list; what is proposed can be seen, and rejected."""
    maker, checker = [await person(api, Role.ADMINISTRATOR) for _ in range(2)]
    coordinator = await person(api, Role.COORDINATOR)
    local = await person(api, Role.COORDINATOR, await open_branch(api.book))
    content = {"deed": "people_import", "file": "0" * 64, "rows": 2}
    content |= {"known": 0, "registered": 2, "minors": 0}
    check_problem(await maker.caller.post("/approvals", content), "invalid_input", 400)
    async with api.book.pool.acquire() as connection:
        made = await propose(
            connection,
            api.book.bank_id,
            deed="people_import",
            content=json.dumps(content).encode(),
            branch_id=api.book.bank.root_id,
            maker_id=maker.party_id,
            beneficiaries=[],
        )
    [proposal] = (await checker.caller.get("/approvals")).json()["data"]
    assert proposal["content"] == content
    check_problem(await decided(checker, proposal), "invalid_input", 400)
    check_problem(await decided(local, proposal), "not_found", 404)
    rejected = await decided(coordinator, proposal, decision="rejected")
    assert (rejected.status_code, rejected.json()["state"]) == (200, "rejected")
    assert made.approval_id == UUID(proposal["approval_id"])


async def test_a_repeated_proposal_is_answered_whatever_became_of_it(api: Api) -> None:
    """What was proposed is done, or out of reach now: the same request has the same answer."""
    here, there = [await open_branch(api.book) for _ in range(2)]
    maker = await person(api, Role.COORDINATOR, here)
    resident = await api.resident()
    await place(api.book, resident.resident_id, here)
    award = {"deed": "award", "account_id": str(resident.wallet), "points": 1}
    first = await maker.caller.post("/approvals", award, key="proposal-1")
    assert first.status_code == 201
    await place(api.book, resident.resident_id, there)
    again = await maker.caller.post("/approvals", award, key="proposal-2")
    check_problem(again, "not_found")
    repeated = await maker.caller.post("/approvals", award, key="proposal-1")
    assert (repeated.status_code, repeated.json()) == (201, first.json())
    assert repeated.headers["idempotent-replayed"] == "true"
    other = await maker.caller.post("/approvals", {**award, "points": 2}, key="proposal-1")
    check_problem(other, "idempotency_key_reused")
