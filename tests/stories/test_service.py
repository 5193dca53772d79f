"""From service to points, over HTTP: four Fridays, a wish from the wall."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.api.client import Api, Caller, Resident, check_only_fault, check_problem, token_for
from tests.people.desk import Desk
from tests.places import open_branch, place
from timebank.audit.reconcile import reconcile
from timebank.audit.snapshot import open_snapshot
from timebank.ledger.ids import new_id
from timebank.people.access import Role
from timebank.people.cards import issue_card

POINTS_PER_HOUR = 25


@dataclass(frozen=True)
class Community:
    """A community with two coordinators, one of whom checks what the other writes down."""

    api: Api
    branch_id: UUID
    maker: Caller
    checker: Caller
    category_id: str

    @classmethod
    async def open(cls, api: Api) -> "Community":
        """Open it, with a category whose rate two administrators have set."""
        branch_id = await open_branch(api.book)
        maker, checker = [
            Caller(api.http, await token_for(api.book, Role.COORDINATOR, branch_id=branch_id))
            for _ in range(2)
        ]
        proposer, approver = [
            Caller(api.http, await token_for(api.book, Role.ADMINISTRATOR)) for _ in range(2)
        ]
        body = {"code": "cleaning", "name": "卫生清洁"}
        category_id = made(await proposer.post("/categories", body))["category_id"]
        rate = {
            "deed": "rate",
            "category_id": category_id,
            "points_per_hour": POINTS_PER_HOUR,
            "effective_on": "2020-01-01",
        }
        proposal = made(await proposer.post("/approvals", rate))
        decision = {"decision": "approved", "content_hash": proposal["content_hash"]}
        path = f"/approvals/{proposal['approval_id']}/decision"
        check_problem(await proposer.post(path, decision), "second_person_needed")
        answer = await approver.post(path, decision)
        assert answer.json()["state"] == "approved", answer.text
        [version] = (await approver.get(f"/categories/{category_id}/rates")).json()["data"]
        assert version["approved_by"] not in {None, version["proposed_by"]}
        return cls(api, branch_id, maker, checker, category_id)

    async def resident(self) -> Resident:
        """Register somebody who lives here."""
        resident = await self.api.resident()
        await place(self.api.book, resident.resident_id, self.branch_id)
        return resident

    async def plan(self, start: datetime, **more: Any) -> list[dict[str, Any]]:
        """Make an activity of two hours and return its shifts."""
        local = start.astimezone(self.api.book.bank.zone).replace(tzinfo=None)
        body = {
            "category_id": self.category_id,
            "title": "周五大扫除",
            "first_start": local.isoformat(timespec="minutes"),
            "wall_minutes": 120,
            **more,
        }
        activity = made(await self.maker.post("/activities", body))
        assert activity["branch_id"] == str(self.branch_id)
        days = {"from": str(local.date()), "until": str(local.date() + timedelta(days=60))}
        found = await self.maker.get("/shifts", activity_id=activity["activity_id"], **days)
        return found.json()["data"]

    async def submit(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Hand drafts in; return the body that decides about all of them."""
        body = {"record_ids": [record["record_id"] for record in records]}
        handed_in = made(await self.maker.post("/service-records/submission", body))["data"]
        assert {record["status"] for record in handed_in} == {"submitted"}
        return body

    async def claim(self, *claims: dict[str, Any]) -> list[dict[str, Any]]:
        """Draft back-filled or paper records."""
        return made(await self.maker.post("/service-records", {"claims": claims}))["data"]

    async def summary(self, who: Resident) -> dict[str, Any]:
        """What a resident reads of themselves."""
        answer = await who.caller.get(f"/residents/{who.resident_id}/summary")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def has(self, who: Resident) -> tuple[int, int]:
        """A resident's minutes and points; confirmed service and wallets agree."""
        told = await self.summary(who)
        assert (told["minutes"], told["points"]) == (
            told["minutes_confirmed"],
            told["points_earned"],
        )
        return told["minutes"], told["points"]

    async def check_books(self) -> None:
        """The auditor finds nothing."""
        async with open_snapshot(self.api.book.pool) as connection:
            report = await reconcile(connection, self.api.book.bank.code)
        assert report.ok, report.findings


def made(answer: Any) -> dict[str, Any]:
    """What a write that succeeded made."""
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def first_friday(api: Api) -> datetime:
    """Nine o'clock on the Friday that was four to five weeks ago."""
    zone = api.book.bank.zone
    day = datetime.now(zone).date() - timedelta(weeks=4)
    while day.weekday() != 4:
        day -= timedelta(days=1)
    return datetime.combine(day, time(9), zone)


def claim(shift: dict[str, Any], who: Resident, minutes: int, **evidence: str) -> dict[str, Any]:
    """So many minutes from the start of a shift."""
    start = datetime.fromisoformat(shift["starts_at"])
    return {
        "resident_id": str(who.resident_id),
        "shift_id": shift["shift_id"],
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(minutes=minutes)).isoformat(),
        "evidence": evidence,
    }


def scans_of(shift: dict[str, Any], who: Resident, minutes: int) -> list[dict[str, Any]]:
    """A scan on arrival, and one so many minutes later."""
    start = datetime.fromisoformat(shift["starts_at"])
    return [
        {
            "scan_id": str(new_id()),
            "shift_id": shift["shift_id"],
            "resident_id": str(who.resident_id),
            "is_arrival": after == 0,
            "scanned_at": (start + timedelta(minutes=after)).isoformat(),
        }
        for after in (0, minutes)
    ]


async def test_four_fridays_with_a_back_fill(api: Api) -> None:
    here = await Community.open(api)
    ana, bo = await here.resident(), await here.resident()
    shifts = await here.plan(first_friday(api), rule="FREQ=WEEKLY;COUNT=4")
    assert len(shifts) == 4
    for shift in shifts[:3]:
        scans = scans_of(shift, ana, 119) + scans_of(shift, bo, 100)
        for _ in range(2):  # the list is sent again under another key: each scan counts once
            results = made(await here.maker.post("/scans", {"scans": scans}))["data"]
            assert {row["outcome"] for row in results} == {"applied"}
        path = f"/shifts/{shift['shift_id']}/records"
        drafts = made(await here.maker.post(path, {}))["data"]
        assert [record["minutes"] for record in drafts] == [119, 100]
        assert made(await here.maker.post(path, {}))["data"] == []
        body = await here.submit(drafts)
        refused = await here.maker.post("/service-records/confirmation", body)
        check_problem(refused, "second_person_needed")
        answers = [
            made(await here.checker.post("/service-records/confirmation", body, key=key))
            for key in ("once" + path, "once" + path, "again" + path)
        ]
        assert answers[0] == answers[1] == answers[2]
    assert await here.has(ana) == (357, 357 * POINTS_PER_HOUR // 60)
    assert await here.has(bo) == (300, 300 * POINTS_PER_HOUR // 60)
    [late] = await here.claim(claim(shifts[3], ana, 123, note="forgot_to_check_in"))
    assert (late["source"], late["status"]) == ("back_filled", "draft")
    check_problem(
        await here.checker.post(
            "/service-records/confirmation", {"record_ids": [late["record_id"]]}
        ),
        "wrong_step",
    )
    await here.checker.post("/service-records/confirmation", await here.submit([late]))
    # Eight hours in four parts are eight hours: what a part leaves below a point is carried.
    assert await here.has(ana) == (480, 8 * POINTS_PER_HOUR)
    await check_what_is_told(here, ana)
    await here.check_books()


async def check_what_is_told(here: Community, who: Resident) -> None:
    """The resident reads their records, and why they have what they have, in their language."""
    path = f"/residents/{who.resident_id}/service-records"
    listed = (await who.caller.get(path)).json()["data"]
    assert [record["status"] for record in listed] == ["confirmed"] * 4
    wallet = (await here.summary(who))["points_account_id"]
    told = {}
    for language in ("zh-CN", "zh-TW", "en"):
        headers = {"Accept-Language": language}
        answer = await who.caller.get(f"/accounts/{wallet}/explanation", headers)
        told[answer.json()["language"]] = " ".join(answer.json()["sentences"])
    assert "结余 200 分" in told["zh_hans"]
    assert "結餘 200 分" in told["zh_hant"]
    assert "The balance is 200 points" in told["en"]
    assert all("周五大扫除" in text for text in told.values())


async def test_a_wish_from_the_wall_to_its_hours(api: Api) -> None:
    here = await Community.open(api)
    served, volunteer = await here.resident(), await here.resident()
    body = {
        "category_id": here.category_id,
        "title": "换一盏灯",
        "served_id": str(served.resident_id),
    }
    wish = made(await here.maker.post("/wishes", body))
    wall = (await volunteer.caller.get("/wishes", status="collected")).json()["data"]
    assert [one["title"] for one in wall] == ["换一盏灯"]
    assert str(served.resident_id) not in str(wall)
    path = f"/wishes/{wish['wish_id']}"
    check_problem(await here.checker.post(f"{path}/confirmation", {}), "wrong_step")
    own = {"volunteer_id": str(served.resident_id)}
    check_problem(await here.maker.post(f"{path}/assignment", own), "second_person_needed")
    given = {"volunteer_id": str(volunteer.resident_id)}
    assert made(await here.maker.post(f"{path}/assignment", given))["status"] == "assigned"
    start = first_friday(api)
    granted = {
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(minutes=48)).isoformat(),
        "evidence": {},
    }
    check_problem(await here.maker.post(f"{path}/completion", granted), "evidence_missing")
    granted["evidence"] = {"note": "thanks_of_the_served", "sha256": "ab" * 32}
    assert made(await here.maker.post(f"{path}/completion", granted))["status"] == "done"
    check_problem(await here.maker.post(f"{path}/confirmation", {}), "second_person_needed")
    awards = [
        made(await here.checker.post(f"{path}/confirmation", {}, key=key))
        for key in ("first", "first", "second")
    ]
    assert awards[0] == awards[1] == awards[2]
    assert (awards[0]["minutes"], awards[0]["points"]) == (48, 20)
    assert await here.has(volunteer) == (48, 20)
    assert await here.has(served) == (0, 0)
    record = (await here.checker.get(f"/service-records/{awards[0]['record_id']}")).json()
    assert (record["evidence_sha256"], record["wish_id"]) == ("ab" * 32, wish["wish_id"])
    await here.check_books()


async def check_what_if(here: Community) -> None:
    """An administrator asks what another rate would have given, and nothing changes."""
    admin = Caller(here.api.http, await token_for(here.api.book, Role.ADMINISTRATOR))
    day = str(first_friday(here.api).date())
    question = {"from": day, "until": day, "rate": f"{here.category_id}:50"}
    answer = (await admin.get("/what-if", **question)).json()
    assert (answer["minutes"], answer["points_in_force"]) == (270, 3 * 37)
    assert answer["points_proposed"] == 3 * 75
    check_only_fault(await admin.get("/what-if", **{**question, "rate": "x:50"}), "rate")
    backwards = {**question, "until": "2020-01-01"}
    check_only_fault(await admin.get("/what-if", **backwards), "until")


async def test_a_shift_with_a_waiting_list_and_the_code_on_the_wall(api: Api) -> None:
    here = await Community.open(api)
    ana, bo = await here.resident(), await here.resident()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    [shift] = await here.plan(now - timedelta(minutes=10), capacity=1)
    path = f"/shifts/{shift['shift_id']}"
    for who, has_place in ((ana, True), (bo, False), (ana, True)):
        entry = made(
            await who.caller.post(f"{path}/sign-ups", {"resident_id": str(who.resident_id)})
        )
        assert entry["has_place"] is has_place
    code = (await here.maker.get(f"{path}/code")).json()["code"]
    wrong = {"code": f"{(int(code) + 1) % 1_000_000:06}"}
    check_problem(
        await bo.caller.post(f"{path}/check-ins/by-code", {"code": code}), "not_on_roster"
    )
    check_problem(await ana.caller.post(f"{path}/check-ins/by-code", wrong), "code_wrong")
    leaving = {"resident_id": str(ana.resident_id)}
    assert made(await ana.caller.post(f"{path}/withdrawals", leaving)) == {"promoted_ids": []}
    roster = (await here.maker.get(f"{path}/roster")).json()["data"]
    assert [one["person_id"] for one in roster] == [str(bo.resident_id)]
    code = (await here.maker.get(f"{path}/code")).json()["code"]
    came = made(await bo.caller.post(f"{path}/check-ins/by-code", {"code": code}))
    assert (came["checked_in_means"], came["checked_out_at"]) == ("code", None)
    seen = {"resident_id": str(bo.resident_id)}
    left = made(await here.maker.post(f"{path}/check-outs", seen))
    assert (left["attendance_id"], left["checked_out_means"]) == (came["attendance_id"], "card")
    nobody = {"card": "0" * 26}
    check_problem(await here.maker.post(f"{path}/check-ins", nobody), "not_found")
    check_only_fault(await here.maker.post(f"{path}/check-ins", {}), "/card")
    check_problem(
        await here.maker.post(f"{path}/cancellation", {"reason": "weather"}), "shift_closed"
    )


async def test_a_card_checks_in_and_a_dead_one_does_not(api: Api, tmp_path: Path) -> None:
    here, desk = await Community.open(api), await Desk.open(api.book, tmp_path)
    member = await desk.member()
    async with desk.at() as connection:
        dead = await issue_card(connection, desk.bank_id, member, issued_by=desk.clerk)
    async with desk.at() as connection:
        card = await issue_card(connection, desk.bank_id, member, issued_by=desk.clerk)
    [shift] = await here.plan(datetime.now(UTC) - timedelta(minutes=10))
    path = f"/shifts/{shift['shift_id']}"
    check_problem(await here.maker.post(f"{path}/check-ins", {"card": dead}), "not_found")
    scanned = {"card": f"https://example.cn/p/{card.lower()}"}
    came = made(await here.maker.post(f"{path}/check-ins", scanned))
    assert came["person_id"] == str(member)
    offline = {**scans_of(shift, await here.resident(), 0)[0], "card": dead}
    del offline["resident_id"]
    [result] = made(await here.maker.post("/scans", {"scans": [offline]}))["data"]
    assert result["outcome"] == "person_not_found"


async def test_a_forgotten_check_out_waits_for_a_review(api: Api) -> None:
    here = await Community.open(api)
    ana = await here.resident()
    [shift] = await here.plan(first_friday(api))
    arrival, _ = scans_of(shift, ana, 0)
    made(await here.maker.post("/scans", {"scans": [arrival]}))
    assert made(await here.maker.post("/attendances/closing", {})) == {"closed": 1}
    assert made(await here.maker.post("/attendances/closing", {})) == {"closed": 0}
    path = f"/shifts/{shift['shift_id']}"
    [pending] = (await here.maker.get(f"{path}/attendances")).json()["data"]
    assert (pending["is_pending"], pending["checked_out_at"]) == (True, shift["ends_at"])
    assert made(await here.maker.post(f"{path}/records", {}))["data"] == []
    left_at = datetime.fromisoformat(shift["starts_at"]) + timedelta(minutes=70)
    review = {"checked_out_at": left_at.isoformat()}
    reviewed = await here.maker.post(f"/attendances/{pending['attendance_id']}/review", review)
    assert made(reviewed)["is_pending"] is False
    [draft] = made(await here.maker.post(f"{path}/records", {}))["data"]
    assert draft["minutes"] == 70


async def test_a_whole_day_is_taken_back_by_two_persons(api: Api) -> None:
    here = await Community.open(api)
    ana = await here.resident()
    [shift] = await here.plan(first_friday(api), wall_minutes=600)
    [draft] = await here.claim(claim(shift, ana, 600, note="organiser_statement"))
    made(await here.checker.post("/service-records/confirmation", await here.submit([draft])))
    assert await here.has(ana) == (600, 250)
    why = {"reason": "service_not_given"}
    path = f"/service-records/{draft['record_id']}/reversal"
    check_problem(await here.maker.post(path, why), "second_person_needed")
    deed = {"deed": "record_reversal", "record_id": draft["record_id"], **why}
    proposal = made(await here.maker.post("/approvals", deed))
    decision = {"decision": "approved", "content_hash": proposal["content_hash"]}
    answer = await here.checker.post(f"/approvals/{proposal['approval_id']}/decision", decision)
    assert answer.json()["state"] == "approved", answer.text
    assert await here.has(ana) == (0, 0)
    await here.check_books()
