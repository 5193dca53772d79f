"""Sessions of pages and programs: cookies, other sites, fixation, logging out."""

import secrets

import httpx
import pytest

from tests.api.client import V1, Caller, check_problem, new_key
from tests.api.logins import COOKIE, ORIGIN, PASSWORD, PIN, WRONG_PIN, CardHolder, Door, set_cookie


async def cookie_of(holder: CardHolder) -> dict[str, str]:
    """Log in as a page does; return the header that the browser sends from now on."""
    answer = await holder.log_in_by_code(deliver="cookie", headers=ORIGIN)
    assert answer.status_code == 201, answer.text
    return {"Cookie": f"{COOKIE}={set_cookie(answer)}"}


async def set_pin(
    door: Door, headers: dict[str, str], *, content: bytes = b'{"pin": "904172"}'
) -> httpx.Response:
    """A write that counts, with these headers and no other way of saying who calls."""
    sent = {"Content-Type": "application/json", **headers}
    return await door.api.http.post(f"{V1}/credentials/pin", content=content, headers=sent)


async def test_a_page_gets_a_cookie_and_no_token(door: Door) -> None:
    holder = await door.card_holder()
    for log_in, lasting in ((holder.log_in, False), (holder.log_in_by_code, True)):
        answer = await log_in(deliver="cookie", headers=ORIGIN)
        token = set_cookie(answer)
        assert "token" not in answer.json()
        assert token not in answer.text
        assert ("max-age" in answer.headers["set-cookie"].lower()) == lasting
        headers = {"Cookie": f"other=1; {COOKIE}={token}"}
        mine = await door.api.http.get(f"{V1}/sessions/me", headers=headers)
        assert mine.json()["party_id"] == str(holder.resident_id)


async def test_a_program_gets_a_token_and_no_cookie(door: Door) -> None:
    answer = await (await door.card_holder()).log_in()
    assert "set-cookie" not in answer.headers
    assert answer.json()["token"].startswith("tb_")


async def test_every_login_opens_a_new_session_and_ends_the_one_before(door: Door) -> None:
    """A token that somebody planted in the browser is not taken over, and does not live on."""
    holder, attacker = await door.card_holder(), await door.card_holder()
    planted = door.caller(await attacker.log_in_by_code()).token
    headers = {**ORIGIN, "Cookie": f"{COOKIE}={planted}"}
    token = set_cookie(await holder.log_in_by_code(deliver="cookie", headers=headers))
    assert token != planted
    check_problem(await Caller(door.api.http, planted).get("/sessions/me"), "unauthenticated")
    mine = await Caller(door.api.http, token).get("/sessions/me")
    assert mine.json()["party_id"] == str(holder.resident_id)
    # Nor is one that the visitor made up.
    made_up = "tb_" + "A" * 43
    headers = {**ORIGIN, "Cookie": f"{COOKIE}={made_up}"}
    assert made_up != set_cookie(await holder.log_in(deliver="cookie", headers=headers))
    check_problem(await Caller(door.api.http, made_up).get("/sessions/me"), "unauthenticated")


CROSS_SITE: list[dict[str, str]] = [
    {},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://evil.test"},
    {"Origin": "http://timebank.test.evil.test"},
    {"Origin": "http://timebank.test:81"},
    {"Origin": "timebank.test"},
    {"Origin": "ftp://timebank.test"},
    {"Origin": "http://evil.test http://timebank.test"},
    {**ORIGIN, "Sec-Fetch-Site": "cross-site"},
    {**ORIGIN, "Sec-Fetch-Site": "same-site"},
    {**ORIGIN, "Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("origin", CROSS_SITE)
async def test_a_write_with_a_cookie_comes_from_our_own_pages(
    door: Door, origin: dict[str, str]
) -> None:
    holder = await door.card_holder()
    cookie = await cookie_of(holder)
    check_problem(await set_pin(door, cookie | origin), "cross_site_request", 403)
    for path in ("/sessions", "/sessions/me"):
        answer = await door.api.http.delete(V1 + path, headers=cookie | origin)
        check_problem(answer, "cross_site_request", 403)
    assert (await holder.log_in()).status_code == 201  # the PIN is the old one
    assert (await set_pin(door, cookie | ORIGIN)).status_code == 204
    check_problem(await holder.log_in(), "login_failed")


@pytest.mark.parametrize("origin", CROSS_SITE)
async def test_nobody_is_logged_in_from_another_site(door: Door, origin: dict[str, str]) -> None:
    holder = await door.card_holder()
    answer = await holder.log_in(deliver="cookie", headers=origin)
    check_problem(answer, "cross_site_request", 403)
    assert "set-cookie" not in answer.headers
    if origin:  # a browser: it gets no token either
        check_problem(await holder.log_in(headers=origin), "cross_site_request", 403)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"pin": "904172"}', "text/plain"),
        (b'{"pin": "904172"}', "application/x-www-form-urlencoded"),
        (b"pin=904172", "application/x-www-form-urlencoded"),
        (b"--x\r\n\r\n{}\r\n--x--", "multipart/form-data; boundary=x"),
        (b'{"pin": "904172"}', "text/plain; application/json"),
        (b'{"pin": "904172"}', ""),
    ],
)
async def test_what_a_form_can_send_is_not_read(door: Door, content: bytes, kind: str) -> None:
    """The bodies that a page of another site can send without being asked whether it may."""
    holder = await door.card_holder()
    cookie = await cookie_of(holder)
    headers = {**cookie, **ORIGIN, "Content-Type": kind}
    check_problem(await set_pin(door, headers, content=content), "unsupported_media_type", 415)
    login = await door.api.http.post(f"{V1}/sessions", content=content, headers=headers)
    check_problem(login, "unsupported_media_type", 415)


async def test_a_bearer_token_counts_before_a_cookie(door: Door) -> None:
    by_token, by_cookie = await door.card_holder(), await door.card_holder()
    bearer = door.caller(await by_token.log_in_by_code()).headers
    cookie = await cookie_of(by_cookie)
    mine = await door.api.http.get(f"{V1}/sessions/me", headers=bearer | cookie)
    assert mine.json()["party_id"] == str(by_token.resident_id)
    # A token that does not count is not made up for by a cookie.
    for wrong in ("Bearer tb_x", "Basic x", "Bearer"):
        answer = await set_pin(door, {**cookie, **ORIGIN, "Authorization": wrong})
        check_problem(answer, "unauthenticated", 401)


@pytest.mark.parametrize("twice", ["Authorization", "Cookie", "Origin", "Host", "Content-Type"])
async def test_headers_that_decide_stand_once(door: Door, twice: str) -> None:
    holder, other = await door.card_holder(), await door.card_holder()
    mine, theirs = await cookie_of(holder), await cookie_of(other)
    bearer = door.caller(await holder.log_in_by_code()).headers
    values = {
        "Authorization": [bearer["Authorization"], "Bearer tb_x"],
        "Cookie": [mine["Cookie"], theirs["Cookie"]],
        "Origin": [ORIGIN["Origin"], "http://evil.test"],
        "Host": ["timebank.test", "evil.test"],
        "Content-Type": ["application/json", "text/plain"],
    }
    once = {"Cookie": mine["Cookie"], **ORIGIN, "Content-Type": "application/json"}
    for pair in (values[twice], values[twice][::-1]):
        sent = [(name, value) for name, value in once.items() if name != twice]
        sent += [(twice, value) for value in pair]
        answer = await door.api.http.post(
            f"{V1}/credentials/pin", content=b'{"pin": "904172"}', headers=sent
        )
        check_problem(answer, "invalid_input", 400)
    assert (await holder.log_in()).status_code == 201


async def test_a_cookie_is_ours_by_its_whole_name(door: Door) -> None:
    holder = await door.card_holder()
    token = (await cookie_of(holder))["Cookie"].partition("=")[2]
    for cookie in (
        f"x{COOKIE}={token}",
        f"{COOKIE}x={token}",
        f"{COOKIE.lower()}={token}",
        f"timebank={token}",
        f"a={COOKIE}={token}",
        f'{COOKIE}="{token}"',
        f"{COOKIE}={token} x",
        f"{COOKIE}=",
    ):
        answer = await door.api.http.get(f"{V1}/sessions/me", headers={"Cookie": cookie})
        check_problem(answer, "unauthenticated", 401)


async def test_who_logs_out_is_out_at_once(door: Door) -> None:
    holder = await door.card_holder()
    cookie = await cookie_of(holder)
    kept = door.caller(await holder.log_in())
    answer = await door.api.http.delete(f"{V1}/sessions/me", headers=cookie | ORIGIN)
    assert answer.status_code == 204
    assert set_cookie(answer) == ""
    check_problem(
        await door.api.http.get(f"{V1}/sessions/me", headers=cookie), "unauthenticated", 401
    )
    assert (await kept.get("/sessions/me")).status_code == 200
    assert (holder.resident_id, "done") in await door.audit_lines("end_session")


async def test_who_logs_out_everywhere_is_out_everywhere(door: Door) -> None:
    holder, other = await door.card_holder(), await door.card_holder()
    mine = [door.caller(await holder.log_in()) for _ in range(2)]
    theirs = door.caller(await other.log_in())
    assert (await mine[0].send("DELETE", "/sessions")).status_code == 204
    for caller in mine:
        check_problem(await caller.get("/sessions/me"), "unauthenticated", 401)
    assert (await theirs.get("/sessions/me")).status_code == 200


async def test_a_delete_has_no_body(door: Door) -> None:
    caller = door.caller(await (await door.card_holder()).log_in())
    answer = await door.api.http.request(
        "DELETE", f"{V1}/sessions/me", content=b"{}", headers=caller.headers
    )
    check_problem(answer, "invalid_input", 400)
    assert (await caller.get("/sessions/me")).status_code == 200


async def test_who_changes_pin_or_password_ends_all_other_sessions(door: Door) -> None:
    holder = await door.card_holder()
    others = [door.caller(await holder.log_in()) for _ in range(2)]
    mine = door.caller(await holder.log_in_by_code())
    assert (await mine.post("/credentials/pin", {"pin": "904172"})).status_code == 204
    member = await door.member()
    others.append(door.caller(await member.log_in()))
    await member.forget_steps()
    staff = door.caller(await member.log_in())
    body = {"old_password": PASSWORD, "new_password": "five quiet lanterns"}
    assert (await staff.post("/credentials/password", body)).status_code == 204
    for caller in others:
        check_problem(await caller.get("/sessions/me"), "unauthenticated", 401)
    for caller in (mine, staff):
        assert (await caller.get("/sessions/me")).status_code == 200
    await member.forget_steps()
    check_problem(await member.log_in(), "login_failed")
    assert (await member.log_in(password="five quiet lanterns")).status_code == 201  # noqa: S106
    assert (await holder.log_in("904172")).status_code == 201


async def test_the_old_password_is_needed_and_guessed_at_no_faster(door: Door) -> None:
    member = await door.member()
    staff = door.caller(await member.log_in())
    found = []
    for _ in range(4):
        body = {"old_password": "wrong", "new_password": "five quiet lanterns"}
        found.append((await staff.post("/credentials/password", body)).status_code)
    assert found == [401, 401, 401, 429]


@pytest.mark.parametrize("extra", ["role", "balance", "branch_id", "resident", "party_id"])
async def test_bodies_set_nothing_that_is_not_theirs(door: Door, extra: str) -> None:
    holder = await door.card_holder()
    mine = door.caller(await holder.log_in_by_code())
    coordinator = await door.coordinator()
    code = {"resident_id": str(holder.resident_id), extra: "administrator"}
    member = await door.member()
    staff = door.caller(await member.log_in())
    passwords = {"old_password": PASSWORD, "new_password": "five quiet lanterns", extra: 1}
    for answer in (
        await mine.post("/credentials/pin", {"pin": "904172", extra: "administrator"}),
        await coordinator.post("/one-time-codes", code),
        await staff.post("/credentials/password", passwords),
    ):
        problem = check_problem(answer, "invalid_input", 400)
        assert problem["errors"][0]["pointer"] == f"/{extra}"


async def test_a_pin_is_set_for_oneself_or_at_the_counter(door: Door) -> None:
    holder, other = await door.card_holder(), await door.card_holder()
    mine = door.caller(await holder.log_in_by_code())
    foreign = {"pin": "904172", "resident_id": str(other.resident_id)}
    check_problem(await mine.post("/credentials/pin", foreign), "not_found", 404)
    coordinator = await door.coordinator()
    check_problem(await coordinator.post("/credentials/pin", {"pin": PIN}), "invalid_input")
    for _ in range(3):
        await other.log_in("731946")
    check_problem(await other.log_in(), "too_many_attempts")
    assert (await coordinator.post("/credentials/pin", foreign)).status_code == 204
    assert (await other.log_in("904172")).status_code == 201  # the wait is over as well


async def test_a_weak_pin_is_refused_and_the_old_one_stays(door: Door) -> None:
    holder = await door.card_holder()
    mine = door.caller(await holder.log_in_by_code())
    for weak in ("000000", "123456", "112233", "121212", "890101"):
        problem = check_problem(await mine.post("/credentials/pin", {"pin": weak}), "weak_secret")
        assert problem["errors"][0]["pointer"] == "/pin"
        assert weak not in str(problem)
    assert (await holder.log_in()).status_code == 201


async def test_a_key_in_the_header_is_no_harm_where_none_is_needed(door: Door) -> None:
    """Nothing of a request that holds a secret is stored under it."""
    holder = await door.card_holder()
    mine, key = door.caller(await holder.log_in_by_code()), new_key()
    for pin in ("904172", "381640"):
        assert (await mine.post("/credentials/pin", {"pin": pin}, key=key)).status_code == 204
    used = await door.admin.fetchval("SELECT count(*) FROM request WHERE key = $1", key)
    assert used == 0


async def test_a_failed_login_names_the_account_that_was_tried(door: Door) -> None:
    """An auditor sees against whom it went; who tried is not known, and no secret is written."""
    holder, member = await door.card_holder(), await door.member()
    by_pin = {"type": "card_pin", "card": holder.card, "pin": WRONG_PIN}
    by_code = {"type": "one_time_code", "card": holder.card, "code": "00000000"}
    for body in (by_pin, by_pin | {"card": secrets.token_urlsafe(16)}, by_code):
        check_problem(await door.log_in(**body), "login_failed")
    check_problem(await member.log_in(password="not it at all"), "login_failed")  # noqa: S106
    check_problem(await member.log_in(staff_number="00000000"), "login_failed")
    noted = await door.admin.fetch(
        "SELECT actor_id, object_id FROM audit_log WHERE bank_id = $1 AND result = 'login_failed' "
        "ORDER BY recorded_at, entry_id",
        door.book.bank_id,
    )
    tried = [holder.resident_id, None, holder.resident_id, member.party_id, None]
    assert [(line["actor_id"], line["object_id"]) for line in noted] == [
        (None, one) for one in tried
    ]
