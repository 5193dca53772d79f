"""People over HTTP: who is registered by whom, what is read for what, and what paper proves."""

from datetime import UTC, date, datetime
from hashlib import sha256

import pytest

from tests.api.client import Api, Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter_desk import CounterDesk, body_of
from tests.people.desk import person, resident_id_number
from tests.places import open_branch
from timebank.domain.personal import IdDocument, IdType
from timebank.ledger.ids import new_id
from timebank.people.access import Role

CHILD = date(datetime.now(UTC).year - 10, 1, 1)


@pytest.fixture
async def desk(api: Api) -> CounterDesk:
    return await CounterDesk.open(api)


# ---- Registration ------------------------------------------------------------------------------


async def test_another_than_the_registrar_decides(desk: CounterDesk) -> None:
    made = (await desk.apply()).json()
    path = f"/residents/{made['resident_id']}"
    decision = {"decision": "approved"}
    check_problem(await desk.operator.post(f"{path}/decision", decision), "second_person_needed")
    waiting = (await desk.checker.get("/residents", state="applied")).json()["data"]
    assert [one["resident_id"] for one in waiting] == [made["resident_id"]]
    assert (await desk.checker.post(f"{path}/decision", decision)).status_code == 201
    again = await desk.checker.post(f"{path}/decision", {"decision": "rejected"})
    check_problem(again, "membership_refused")
    shown = (await desk.operator.get(path)).json()
    assert shown == {
        "resident_id": made["resident_id"],
        "member_number": made["member_number"],
        "is_minor": False,
        "state": "approved",
    }


async def test_a_registration_sent_again_is_answered_again(desk: CounterDesk) -> None:
    """Also where the second would be a duplicate of the first; another body is refused."""
    key = new_key()
    body = {**body_of(person()), "is_another": False}
    first, again = [await desk.operator.post("/residents", body, key=key) for _ in range(2)]
    assert (first.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = await desk.operator.post("/residents", {**body, "phone": "13800138000"}, key=key)
    check_problem(other, "idempotency_key_reused")


async def test_what_was_sent_cannot_be_tried_out_from_the_database(desk: CounterDesk) -> None:
    """The fingerprint of a body that holds personal data is not the hash of that body."""
    member = await desk.member()
    sent = []
    for path, body in (("/residents", body_of(person())), ("/awards", {})):
        caller = desk.operator if path == "/residents" else desk.api.system
        request = {"account_id": str(await desk.api.book.open_account()), "points": 1}
        sent.append(await caller.post(path, body or request))
    rows = await desk.api.book.pool.fetch(
        "SELECT encode(fingerprint, 'hex') FROM request WHERE bank_id = $1", desk.api.book.bank_id
    )
    tried = {
        sha256(f"POST {one.request.url.path}?\n".encode() + one.request.content).hexdigest()
        for one in sent
    }
    assert len({row[0] for row in rows} & tried) == 1  # the award's, which tells nothing
    assert member.number


async def test_duplicates_are_found(desk: CounterDesk) -> None:
    data = person()
    await desk.member(data)
    other = body_of(person(name=data.name, phone=data.phone))
    check_problem(await desk.operator.post("/residents", other), "possible_duplicate")
    made = await desk.operator.post("/residents", {**other, "is_another": True})
    assert made.status_code == 201
    check_problem(await desk.apply(data, is_another=True), "already_registered")


async def test_faults_name_the_field_and_no_value(desk: CounterDesk) -> None:
    body = body_of(person())
    wrong = {**body["id_document"], "number": body["id_document"]["number"][:-1] + "*"}
    for change, pointer in (
        ({"phone": "12"}, "/phone"),
        ({"id_document": wrong}, "/id_document"),
        ({"born_on": "1954-01-01"}, "/born_on"),
        ({"name": "\u200b"}, "/name"),
        ({"born_on": "1953-02-30"}, "/born_on"),
        ({"address": "x" * 801}, "/address"),
        ({"consents": ["membership"]}, "/paper"),
    ):
        answer = await desk.operator.post("/residents", {**body, **change})
        check_only_fault(answer, pointer)
        assert body["phone"] not in answer.text


async def test_a_minor_needs_a_guardian_who_consents(desk: CounterDesk) -> None:
    child = person(CHILD)
    check_problem(await desk.apply(child), "guardian_needed")
    answer = await desk.operator.post("/persons", {"name": "王秀英", "phone": "13800138000"})
    guardian_id = answer.json()["person_id"]
    member = await desk.member(child, guardian_id=guardian_id)
    kin = (await desk.operator.get(f"{member.path}/kin")).json()
    assert [one["guardian_id"] for one in kin["guardians"]] == [guardian_id]
    consents = (await desk.operator.get(f"{member.path}/consents")).json()["data"]
    assert [(one["kind"], one["by_id"]) for one in consents] == [("membership", guardian_id)]
    said = {"said": {"publication": True}}
    for path, body in (("consents", said), ("helpers", {"member_number": member.number})):
        mine = await member.log_in()
        check_problem(await mine.post(f"{member.path}/{path}", body), "guardian_needed")
    by_guardian = {**said, "by_id": guardian_id, "paper": await desk.paper()}
    assert (await desk.operator.post(f"{member.path}/consents", by_guardian)).status_code == 201


async def test_one_registers_within_ones_branch_only(api: Api) -> None:
    here, there = [await open_branch(api.book) for _ in range(2)]
    desk, far = await CounterDesk.open(api, here), await CounterDesk.open(api, there)
    check_problem(await desk.apply(branch_id=str(there)), "not_found")
    check_problem(await desk.apply(branch_id=str(new_id())), "not_found")
    member = await desk.member()
    check_problem(await far.operator.get(member.path), "not_found")
    for asked in ({"member_number": member.number}, {"phone": member.data.phone}):
        body = {"purpose": "identification", **asked}
        found = [
            (await one.operator.post("/residents/lookups", body)).json() for one in (desk, far)
        ]
        assert [len(one["data"]) for one in found] == [1, 0]
        assert found[0]["data"][0]["masked_name"] == f"王*{str(member.data.name)[2]}"
    wrong = {"purpose": "identification", "member_number": "1234567890"}
    check_problem(await desk.operator.post("/residents/lookups", wrong), "number_mistyped")
    nothing = {"purpose": "identification"}
    check_problem(await desk.operator.post("/residents/lookups", nothing), "invalid_input")


# ---- The vault ---------------------------------------------------------------------------------


async def test_a_purpose_gives_its_fields_and_no_others(desk: CounterDesk) -> None:
    member = await desk.member()
    path = f"{member.person}/personal"
    for purpose, fields in (
        ("identification", {"name", "id_document", "born_on"}),
        ("contact", {"name", "phone", "address"}),
        ("certificate", {"name", "id_document"}),
        ("registration", {"name", "phone", "id_document", "born_on", "address"}),
    ):
        answer = await desk.operator.get(path, purpose=purpose)
        assert answer.json().keys() - {"person_id"} == fields
        assert answer.headers["cache-control"] == "no-store"
    for purpose in ("legal_duty", "subject_access", "age_rule", "report", "key_rotation"):
        check_problem(await desk.operator.get(path, purpose=purpose), "forbidden")
    for purpose in ("contact", "registration"):
        check_problem(await desk.admin.get(path, purpose=purpose), "forbidden")
    for purpose in ("", "curiosity", None):
        check_problem(await desk.operator.get(path, purpose=purpose), "invalid_input")


async def test_a_resident_sees_who_looked_and_what_for(desk: CounterDesk) -> None:
    member = await desk.member()
    await desk.operator.get(f"{member.person}/personal", purpose="contact")
    mine = await member.log_in()
    shown = (await mine.get("/me")).json()
    assert (shown["name"], shown["phone"]) == (member.data.name, member.data.phone)
    lines = (await mine.get("/me/accesses")).json()["data"]
    assert [(one["act"], one["purpose"]) for one in lines] == [
        ("read", "subject_access"),
        ("read", "contact"),
        ("register", "registration"),
    ]
    assert set(lines[1]["fields"]) >= {"name", "phone"}
    copy = await mine.post("/me/export", {})
    assert copy.json()["personal"]["address"] == member.data.address
    assert copy.json()["accesses"][-1]["act"] == "export"
    assert [step["state"] for step in copy.json()["membership"]] == ["applied", "approved"]
    stored = await desk.api.book.pool.fetchval(
        "SELECT count(*) FROM request WHERE bank_id = $1 AND answer::text LIKE '%accesses%'",
        desk.api.book.bank_id,
    )
    assert stored == 0


async def test_corrections_and_freezes(desk: CounterDesk) -> None:
    member = await desk.member()
    path = f"{member.person}/corrections"
    assert (await desk.operator.post(path, {"phone": "13911112222"})).status_code == 201
    shown = (await desk.operator.get(f"{member.person}/personal", purpose="contact")).json()
    assert (shown["phone"], shown["name"]) == ("13911112222", member.data.name)
    check_problem(await desk.operator.post(path, {}), "invalid_input")
    check_only_fault(await desk.operator.post(path, {"phone": "1"}), "/phone")
    check_problem(await desk.operator.post(path, {"born_on": str(CHILD)}), "guardian_needed")
    taken = person()
    await desk.member(taken)
    theirs = body_of(taken)["id_document"]
    check_problem(
        await desk.operator.post(path, {"id_document": theirs, "born_on": str(taken.born_on)}),
        "already_registered",
    )
    assert (await desk.admin.post(f"{member.person}/freeze", {})).status_code == 201
    check_problem(await desk.operator.post(path, {"phone": "13911113333"}), "person_frozen")
    assert (await (await member.log_in()).get("/me")).status_code == 200
    assert (await desk.admin.post(f"{member.person}/unfreeze", {})).status_code == 201
    assert (await desk.operator.post(path, {"phone": "13911113333"})).status_code == 201


async def test_a_birthday_put_right_ends_a_minority(desk: CounterDesk) -> None:
    guardian = (await desk.operator.post("/persons", {"name": "王秀英"})).json()["person_id"]
    child = person(CHILD, id_document=IdDocument(IdType.PASSPORT, f"E{new_id().int % 10**8:08}"))
    member = await desk.member(child, guardian_id=guardian)
    grown = date(1990, 5, 1)
    document = {"type": "resident_id", "number": resident_id_number(grown)}
    answer = await desk.operator.post(f"{member.person}/corrections", {"id_document": document})
    assert answer.status_code == 201
    assert (await desk.operator.get(member.path)).json()["is_minor"] is False
    shown = (await desk.operator.get(f"{member.person}/personal", purpose="identification")).json()
    assert shown["born_on"] == str(grown)


# ---- Kin, cards, paper -------------------------------------------------------------------------


async def test_a_helper_sees_the_passbook_until_it_ends(desk: CounterDesk) -> None:
    old, daughter, stranger = [await desk.member() for _ in range(3)]
    mine, hers, theirs = [await one.log_in() for one in (old, daughter, stranger)]
    body = {"unit": "points", "owner_id": old.resident_id}
    wallet = (await desk.operator.post("/accounts", body)).json()["account_id"]
    passbook = f"/accounts/{wallet}/passbook"
    check_problem(await hers.get(passbook), "not_found")
    naming = {"member_number": daughter.number, "days": 30}
    check_problem(await hers.post(f"{old.path}/helpers", naming), "not_found")
    assert (await mine.post(f"{old.path}/helpers", naming)).status_code == 201
    assert (await hers.get(passbook)).status_code == 200
    check_problem(await theirs.get(passbook), "not_found")
    # She names nobody, consents to nothing and reads no personal data.
    check_problem(
        await hers.post(f"{old.path}/helpers", {"member_number": stranger.number}),
        "guardian_needed",
    )
    said = {"said": {"publication": True}}
    check_problem(await hers.post(f"{old.path}/consents", said), "guardian_needed")
    check_problem(await hers.get(f"{old.person}/personal", purpose="contact"), "forbidden")
    check_problem(await hers.post(f"{old.path}/leave", {}), "not_found")
    again = {"member_number": stranger.number, "paper": await desk.paper()}
    assert (await desk.operator.post(f"{old.path}/helpers", again)).status_code == 201
    other = f"{old.path}/helpers/{stranger.resident_id}"
    check_problem(await hers.send("DELETE", other), "not_found")  # another helper's part
    assert (await theirs.send("DELETE", other)).status_code == 204
    withdrawn = await mine.post(f"{old.path}/consents", {"said": {"helper": False}})
    assert withdrawn.status_code == 201
    check_problem(await hers.get(passbook), "not_found")


async def test_a_coordinator_needs_paper_and_a_resident_none(desk: CounterDesk) -> None:
    member = await desk.member()
    mine = await member.log_in()
    said = {"said": {"publication": True}}
    check_only_fault(await desk.operator.post(f"{member.path}/consents", said), "/paper")
    with_paper = {**said, "paper": await desk.paper()}
    check_only_fault(await mine.post(f"{member.path}/consents", with_paper), "/paper")
    assert (await desk.operator.post(f"{member.path}/consents", with_paper)).status_code == 201
    check_problem(await desk.operator.post(f"{member.path}/consents", with_paper), "sheet_used")
    wrong_form = {**said, "paper": await desk.paper("attendance")}
    check_problem(
        await desk.operator.post(f"{member.path}/consents", wrong_form), "sheet_not_issued"
    )
    for witness in (member.resident_id, None):
        paper = await desk.paper() | ({"witness_id": witness} if witness else {})
        caller = desk.operator if witness else desk.checker  # who is the witness themselves
        answer = await caller.post(f"{member.path}/consents", {**said, "paper": paper})
        check_problem(answer, "second_person_needed")
    told = (await mine.get(f"{member.path}/consents")).json()["data"]
    assert [one["kind"] for one in told] == ["membership", "publication"]


async def test_a_new_card_kills_the_old_and_is_not_kept(desk: CounterDesk) -> None:
    member = await desk.member()
    cards = [(await desk.operator.post(f"{member.path}/card", {})).json() for _ in range(2)]
    assert len({card["typed"] for card in cards}) == 2
    assert cards[0]["member_number"] == member.number
    assert cards[0]["qr_svg"].startswith("<svg")
    merchant_id = new_id()
    token = await token_for(desk.api.book, Role.CLERK, merchant_id=merchant_id)
    clerk = Caller(desk.api.http, token)
    found = [
        await clerk.post("/counter-checks", {"card": card["typed"].lower(), "points": 1})
        for card in cards
    ]
    assert [one.status_code for one in found] == [404, 200]
    text = await desk.api.book.pool.fetchval(
        "SELECT string_agg(r::text, '') FROM request r WHERE bank_id = $1", desk.api.book.bank_id
    )
    assert all(card["typed"].replace("-", "") not in text for card in cards)
    check_problem(
        await desk.operator.post(
            f"/residents/{(await desk.apply()).json()['resident_id']}/card", {}
        ),
        "not_a_member",
    )


async def test_a_sheet_of_another_branch_is_none(desk: CounterDesk) -> None:
    branch_id = await open_branch(desk.api.book, await open_branch(desk.api.book))
    here = await CounterDesk.open(desk.api, branch_id)
    member = await here.member()
    witness = {"witness_id": str(here.witness_id)}
    foreign = {"sheet": await desk.sheet(), **witness}
    said = {"said": {"publication": True}, "paper": foreign}
    check_problem(await here.operator.post(f"{member.path}/consents", said), "sheet_not_issued")
    entry = {"kind": "consent", "member_id": member.resident_id, "paper": foreign}
    check_problem(await here.operator.post("/sheets/entries", entry), "sheet_not_issued")
    body = {**body_of(person()), "consents": ["membership"]}
    paper = {"sheet": await desk.sheet("registration"), **witness}
    answer = await here.operator.post("/residents", {**body, "paper": paper})
    check_problem(answer, "sheet_not_issued")
    own = {**said, "paper": await here.paper()}
    assert (await here.operator.post(f"{member.path}/consents", own)).status_code == 201
    # Who is over both may type in either.
    assert (await desk.operator.post("/sheets/entries", entry)).status_code == 201


async def test_a_coordinator_is_no_kin_by_their_own_deed(desk: CounterDesk) -> None:
    child, person_id = person(CHILD), {"name": "王秀英"}
    guardian = (await desk.operator.post("/persons", person_id)).json()["person_id"]
    me = (await desk.operator.get("/sessions/me")).json()["party_id"]
    for oneself in (me, str(desk.witness_id)):
        check_problem(await desk.apply(child, guardian_id=oneself), "second_person_needed")
    member = await desk.member(child, guardian_id=guardian)
    for oneself in (me, str(desk.witness_id)):
        naming = {"guardian_id": oneself, "paper": await desk.paper()}
        answer = await desk.operator.post(f"{member.path}/guardians", naming)
        check_problem(answer, "second_person_needed")
    branch_id = await open_branch(desk.api.book, await open_branch(desk.api.book))
    here = await CounterDesk.open(desk.api, branch_id)
    check_problem(await here.apply(person(CHILD), guardian_id=guardian), "not_found")


async def test_every_sheet_is_accounted_for(desk: CounterDesk) -> None:
    member = await desk.member()
    body = {"count": 4, "kind": "consent", "issued_to": str(desk.branch_id)}
    run = (await desk.operator.post("/sheet-runs", body)).json()
    path = f"/sheet-runs/{run['first_number']}/missing"
    numbers = (await desk.operator.get(path)).json()["data"]
    assert (len(numbers), numbers[0], numbers[-1]) == (4, run["first_number"], run["last_number"])
    paper = {"sheet": numbers[0], "witness_id": str(desk.witness_id)}
    entry = {"kind": "consent", "member_id": member.resident_id, "paper": paper}
    assert (await desk.operator.post("/sheets/entries", entry)).status_code == 201
    check_problem(await desk.operator.post("/sheets/entries", entry), "sheet_used")
    voids = {"sheets": numbers[1:3], "reason": "spoilt"}
    assert (await desk.operator.post("/sheets/voids", voids)).json() == {"voided": 2}
    assert (await desk.checker.get(path)).json()["data"] == numbers[3:]
    swapped = numbers[3][:-2] + numbers[3][:-3:-1]
    check_problem(
        await desk.operator.post("/sheets/voids", {"sheets": [swapped], "reason": "lost"}),
        "number_mistyped",
    )
    runs = (await desk.operator.get("/sheet-runs", issued_to=str(desk.branch_id))).json()["data"]
    assert run in runs
