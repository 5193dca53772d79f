"""Who may do what: every operation × every caller × whose thing it is; nothing is left out."""

import re
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar, Router, get

import timebank.app
from tests.api.client import V1, Api, Caller, check_problem, new_key, token_for
from tests.api.matrix import ROWS
from tests.api.matrix_certificates import PUBLIC_CERTIFICATES
from tests.api.matrix_redemption import PUBLIC_SLIPS
from tests.api.rows import Row
from tests.api.things import Things, Whose, World
from tests.book import Book
from tests.places import open_branch
from timebank.app import UndeclaredActionError, create_app, operations, refuse_undeclared
from timebank.config import Settings
from timebank.ledger.ids import new_id
from timebank.people.access import LOW_VALUE, POLICY, Action, Role, SessionMethod
from timebank.people.sessions import LIMITS, open_session, revoke_token

SAME = "abcdefab-cdef-abcd-efab-cdefabcdefab"

PUBLIC = {
    "GET /api/v1/health/live",
    "GET /api/v1/health/ready",
    "GET /docs",
    "GET /docs/openapi.json",
    "GET /docs/oauth2-redirect.html",
    "GET /docs/{path:str}",
    "GET /docs/assets/{name:str}",
    "GET /problems/{code:str}",
    "GET /assets/{name:str}",
    "GET /card",
    "GET /certificates",
    "GET /certificates/{number:str}",
    "GET /pay",
    "GET /pickup",
    "POST /api/v1/sessions",
    "POST /api/v1/enrolments",
    "POST /api/v1/enrolments/completion",
    *PUBLIC_CERTIFICATES,
    *PUBLIC_SLIPS,
}

NOT_STORED = (["no-store"], ["private, no-store"], ["private, no-cache"])

CELLS = [
    pytest.param(row, role, whose, id=f"{row.operation}-{role}-{whose}")
    for row in ROWS
    for role in Role
    for whose in (Whose if role in row.reach else [Whose.OWN])
]


async def ask(caller: Caller, row: Row, things: Things, role: Role | None = None) -> httpx.Response:
    """Make the row's call about these things, as this role makes it."""
    method, path = row.operation.split(" ")
    for name in re.findall(r"{(\w+):\w+}", path):
        thing = await things.get((row.made or {}).get(name, name))
        path = re.sub(rf"{{{name}:\w+}}", str(thing), path)
    usual = row.query if method == "GET" else row.body
    said = (row.for_role or {}).get(role, usual) if role else usual
    if method in {"GET", "DELETE"}:
        return await caller.send(method, path + await things.fill_query(said or ""))
    return await caller.send(method, path, await things.fill(said))


def test_every_operation_has_a_row(app: Litestar) -> None:
    found = {
        f"{method} {path}"
        for path, handler in operations(app)
        for method in handler.http_methods - {"OPTIONS"}
    }
    rows = [row.operation.replace(" ", f" {V1}") for row in ROWS]
    assert len(rows) == len(set(rows))
    assert found == PUBLIC | set(rows)


@pytest.mark.parametrize(("row", "role", "whose"), CELLS)
async def test_the_matrix(api: Api, row: Row, role: Role, whose: Whose) -> None:
    world = await World.of(api.http, api.book, role, whose)
    for name in row.needs if role in row.reach else ():
        await world.own.get(name)
    answer = await ask(world.caller, row, world.things, role)
    assert answer.status_code == row.expected(role, whose), answer.text
    assert answer.headers.get_list("cache-control") in NOT_STORED
    if answer.status_code >= 400:
        check_problem(answer, answer.json()["code"])


async def test_a_pin_is_good_for_low_value_only(api: Api, app: Litestar) -> None:
    """Residents alone have PIN sessions: what the policy gives them beyond needs more than that."""
    actions = {
        f"{method} {path}": Action(handler.opt["action"])
        for path, handler in operations(app)
        for method in handler.http_methods - {"OPTIONS"}
    }
    world = await World.of(api.http, api.book, Role.RESIDENT, Whose.OWN)
    async with api.book.pool.acquire() as connection:
        token = await open_session(
            connection,
            api.book.bank_id,
            world.own.owner_id,
            Role.RESIDENT,
            method=SessionMethod.PIN,
            limits=LIMITS[Role.RESIDENT, SessionMethod.PIN],
        )
    asked = 0
    for row in ROWS:
        action = actions[row.operation.replace(" ", f" {V1}")]
        if Role.RESIDENT in POLICY[action] and action not in LOW_VALUE:
            answer = await ask(Caller(api.http, token), row, world.things, Role.RESIDENT)
            assert answer.status_code == 403, row.operation
            check_problem(answer, "stronger_login_needed")
            asked += 1
    assert asked > 10


@pytest.mark.parametrize("row", [pytest.param(row, id=row.operation) for row in ROWS])
async def test_who_is_not_known_gets_401_everywhere(api: Api, row: Row) -> None:
    things = await Things.at(api.book, await open_branch(api.book))
    expired = await token_for(api.book, Role.INTEGRATOR, lifetime=timedelta(seconds=-1))
    revoked = await token_for(api.book, Role.INTEGRATOR)
    async with api.book.pool.acquire() as connection:
        assert await revoke_token(connection, revoked)
    garbage = "tb_" + secrets.token_urlsafe(32)
    for token in (
        None,
        garbage,
        expired,
        revoked,
        str(api.system.token)[:-1],
        "tb_",
        "x" * 8000,
    ):
        problem = check_problem(await ask(Caller(api.http, token), row, things), "unauthenticated")
        assert problem["instance"].startswith(V1)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Token {}", "Bearer {}{}", "Bearer\t{}"]
)
async def test_only_a_bearer_token_counts(api: Api, header: str) -> None:
    given = header.format(api.system.token, api.system.token)
    check_problem(await api.anybody.get("/accounts", {"Authorization": given}), "unauthenticated")


async def test_the_scheme_is_written_as_one_likes(api: Api) -> None:
    answer = await api.anybody.get("/accounts", {"Authorization": f"bearer {api.system.token}"})
    assert answer.status_code == 200


async def test_a_revoked_token_is_useless_from_the_next_request_on(api: Api) -> None:
    assert (await api.system.get("/accounts")).status_code == 200
    async with api.book.pool.acquire() as connection:
        await revoke_token(connection, str(api.system.token))
    check_problem(await api.system.get("/accounts"), "unauthenticated")


async def test_who_may_not_is_told_before_the_body_is_looked_at(api: Api) -> None:
    for caller, code in ((api.anybody, "unauthenticated"), (api.auditor, "forbidden")):
        check_problem(await caller.post_raw("/awards", b"{", {"Content-Type": "no"}), code)


@pytest.mark.parametrize(
    "path",
    ["/accounts/{}", "/accounts/{}/balance", "/accounts/{}/passbook", "/accounts/{}/passbook.csv"],
)
async def test_a_foreign_account_looks_like_an_absent_one(api: Api, path: str) -> None:
    mine, other = await api.resident(), await api.resident()
    elsewhere = await (await Book.open(api.book.pool)).open_account()
    shapes = set()
    for account_id in (new_id(), other.wallet, elsewhere, api.book.issuance["points"]):
        answer = await mine.caller.get(path.format(account_id), {"X-Request-Id": SAME})
        check_problem(answer, "not_found")
        headers = tuple(sorted(answer.headers.items()))
        shapes.add((answer.text.replace(str(account_id), "…"), headers))
    assert len(shapes) == 1


async def test_a_foreign_transfer_looks_like_an_absent_one(api: Api) -> None:
    elsewhere = await Book.open(api.book.pool)
    award = elsewhere.award(await elsewhere.open_account(), 1)
    await elsewhere.post_all(award)
    shapes = set()
    for transfer_id in (new_id(), award.transfer_id):
        for method in ("GET", "POST"):
            path = f"/transfers/{transfer_id}"
            if method == "GET":
                answer = await api.system.get(path)
            else:
                answer = await api.system.post(f"{path}/reversal", {"reason": "abuse"})
            check_problem(answer, "not_found")
            shapes.add((method, answer.text.replace(str(transfer_id), "…")))
    assert len(shapes) == 2


async def test_residents_list_their_own_accounts_whatever_they_ask_for(api: Api) -> None:
    mine, other = await api.resident(), await api.resident()
    for owner_id in (None, mine.resident_id, other.resident_id, new_id()):
        listed = (await mine.caller.get("/accounts", owner_id=owner_id)).json()
        assert [account["account_id"] for account in listed["data"]] == [str(mine.wallet)]


async def test_staff_list_their_own_bank_only(api: Api) -> None:
    wallet = await api.book.open_account()
    await (await Book.open(api.book.pool)).open_account()
    listed = (await api.system.get("/accounts")).json()["data"]
    expected = {str(wallet), *(str(account) for account in api.book.issuance.values())}
    assert {account["account_id"] for account in listed} == expected


@pytest.mark.parametrize("opt", [{}, {"action": "everything"}, {"action": None}])
def test_an_operation_that_declares_no_action_stops_the_start(
    opt: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/open-to-all", opt=opt)
    async def undeclared() -> None:
        """Do nothing."""

    with pytest.raises(UndeclaredActionError, match="open-to-all"):
        refuse_undeclared(Litestar([undeclared], logging_config=None))
    monkeypatch.setattr(timebank.app.health, "router", Router("/", route_handlers=[undeclared]))
    with pytest.raises(UndeclaredActionError, match="open-to-all"):
        create_app(Settings(database_url="postgresql://nowhere/"))


async def test_options_tells_the_methods_and_nothing_else(api: Api) -> None:
    answer = await api.http.request("OPTIONS", f"{V1}/accounts", headers={"x": new_key()})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "GET, OPTIONS, POST"
