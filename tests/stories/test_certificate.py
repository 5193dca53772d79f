"""From the wall to the certificate, over HTTP: a wish is granted, certified, and taken back."""

import json
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import msgspec
from pypdf import PdfReader

from tests.api.client import Api, Caller, Resident, check_problem, token_for
from tests.api.counter_desk import CounterDesk
from tests.people.desk import person
from tests.stories.test_service import Community, first_friday, made
from timebank.domain.certificates import Document, PublicKeys
from timebank.people.access import Role
from timebank.service.signing import verify

BROWSER = {"Accept": "text/html", "Accept-Language": "zh-CN"}


async def member(here: Community, desk: CounterDesk, name: str) -> Resident:
    """Somebody of the community, registered at the counter with their name and document."""
    registered = await desk.member(person(name=name))
    resident_id = UUID(registered.resident_id)
    token = await token_for(here.api.book, Role.RESIDENT, resident_id)
    return Resident(Caller(here.api.http, token), resident_id, resident_id)


async def grant_a_wish(here: Community, served: Resident, volunteer: Resident) -> str:
    """Lead a wish from the wall to its hours; return the record."""
    body = {
        "category_id": here.category_id,
        "title": "换一盏灯",
        "served_id": str(served.resident_id),
    }
    wish = made(await here.maker.post("/wishes", body))
    assert wish["status"] == "collected"
    path = f"/wishes/{wish['wish_id']}"
    given = {"volunteer_id": str(volunteer.resident_id)}
    assert made(await here.maker.post(f"{path}/assignment", given))["status"] == "assigned"
    start = first_friday(here.api)
    granted = {
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(minutes=48)).isoformat(),
        "evidence": {"note": "thanks_of_the_served"},
    }
    assert made(await here.maker.post(f"{path}/completion", granted))["status"] == "done"
    award = made(await here.checker.post(f"{path}/confirmation", {}))
    assert (award["minutes"], award["points"]) == (48, 20)
    return str(award["record_id"])


async def check_page(api: Api, number: str, word: str) -> None:
    """What a stranger's telephone shows of the QR code on the paper."""
    page = await api.http.get(f"/certificates/{number}", headers=BROWSER)
    assert page.status_code == 200
    assert f"{word}</strong>" in page.text
    assert number in page.text
    assert "王小英" not in page.text


async def test_a_wish_from_the_wall_to_the_certificate(api: Api) -> None:
    here = await Community.open(api)
    desk = await CounterDesk.open(api, here.branch_id)
    served, volunteer = [await member(here, desk, name) for name in ("李四", "王小英")]
    record_id = await grant_a_wish(here, served, volunteer)
    assert await here.has(volunteer) == (48, 20)

    day = str(first_friday(api).date())
    order = {
        "from_on": day,
        "until_on": day,
        "in_charge": "负责人甲",
        "handler": "经办人乙",
        "contact": "0379-12345678",
    }
    path = f"/residents/{volunteer.resident_id}/certificates"
    check_problem(await here.maker.post(path, order), "signing_key_missing")
    admin = Caller(api.http, await token_for(api.book, Role.ADMINISTRATOR))
    made(await admin.post("/certificate-keys", {}))
    issued = made(await here.maker.post(path, order))
    number = issued["certificate"]["number"]

    # On paper, with the signed file in it, which verifies with what the bank publishes.
    printed = await here.maker.post("/certificates/prints", issued["document"])
    reader = PdfReader(BytesIO(printed.content))
    text = reader.pages[0].extract_text()
    for shown in ("姓名 王小英", "卫生清洁", "合计 0 小时 48 分", number, "经办人乙"):
        assert shown in text, text
    assert "换一盏灯" not in text  # a wish may tell of whom was served: its category stands there
    [file] = reader.attachments["certificate.json"]
    keys = await api.anybody.get(f"/certificate-keys/{api.book.bank.code}")
    published = msgspec.json.decode(keys.content, type=PublicKeys)
    assert verify(msgspec.json.decode(file, type=Document), published).minutes == 48

    await check_page(api, number, "✓ 有效")
    [own] = (await volunteer.caller.get(path)).json()["data"]
    assert own == issued["certificate"]

    # The hours turn out to be another's: the record is taken back, and the paper with it.
    reason = {"reason": "wrong_person"}
    made(await here.checker.post(f"/service-records/{record_id}/reversal", reason))
    await check_page(api, number, "✗ 已失效")
    assert verify(msgspec.json.decode(file, type=Document), published).number == number
    check_problem(await here.maker.post(path, order), "nothing_to_certify")
    ended = f"/issued-certificates/{own['certificate_id']}/revocation"
    check_problem(await here.maker.post(ended, {"reason": "lost"}), "wrong_step")

    # The person served was never debited: they have no account that anything was taken from.
    assert await here.has(volunteer) == (0, 0)
    assert await here.has(served) == (0, 0)
    taken = await api.book.pool.fetchval(
        "SELECT count(*) FROM posting JOIN account USING (bank_id, account_id) WHERE owner_id = $1",
        served.resident_id,
    )
    assert taken == 0
    assert json.loads(file)["printed"]["name"] == "王小英"
    await here.check_books()
