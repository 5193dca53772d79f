"""Fields that a body does not declare are refused, in every body that the description has."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.api.client import V1, Api, Caller, check_problem, new_key
from tests.api.matrix import ROWS
from tests.api.rows import Row
from tests.api.things import Whose, World

SMUGGLED: dict[str, Any] = {
    "role": "administrator",
    "balance": 1_000_000,
    "branch_id": "01890000-0000-7000-8000-000000000000",
    "principal_id": "01890000-0000-7000-8000-000000000000",
    "bank_id": 1,
    "state": "approved",
    "issued_by": "01890000-0000-7000-8000-000000000000",
}

DECLARED = {
    ("propose", "role"),  # of the deed role_grant, examined for the one who proposes and decides
    ("propose", "branch_id"),
    ("collect_wish", "branch_id"),  # where the caller must reach, as in all that follow
    ("enrol_merchant", "branch_id"),
    ("make_activity", "branch_id"),
    ("open_shop", "branch_id"),
    ("place_party", "branch_id"),
    ("register_resident", "branch_id"),
}
"""The only bodies that may say so."""

PUBLIC_BODIES: dict[str, dict[str, Any]] = {
    "/sessions": {"type": "card_pin", "bank": "b", "card": "x", "pin": "492716"},
    "/enrolments": {"bank": "b", "code": "x"},
    "/enrolments/completion": {"bank": "b", "code": "x", "totp": "123456", "password": "x"},
}

POSTS = [row for row in ROWS if row.operation.startswith("POST ")]


def fields_of(schema: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """Every field that a schema declares, in all its variants, but not inside of them."""
    if "$ref" in schema:
        return fields_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    found = set(schema.get("properties", {}))
    for variant in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        found |= fields_of(variant, schemas)
    return found


def posts_of(app: Litestar) -> dict[str, tuple[str, set[str]]]:
    """Operation id and declared fields of each POST, by its path below /api/v1."""
    description = app.openapi_schema.to_schema()
    schemas = description["components"]["schemas"]
    found = {}
    for path, operations in description["paths"].items():
        if post := operations.get("post"):
            schema = post["requestBody"]["content"]["application/json"]["schema"]
            found[path.removeprefix(V1)] = post["operationId"], fields_of(schema, schemas)
    return found


def described(row: Row) -> str:
    """The path of a row as the description writes it."""
    path = row.operation.partition(" ")[2]
    return path.replace(":uuid}", "}").replace(":str}", "}")


def test_only_these_bodies_declare_what_one_would_smuggle(app: Litestar) -> None:
    found = {
        (operation, name)
        for operation, fields in posts_of(app).values()
        for name in fields & SMUGGLED.keys()
    }
    assert found == DECLARED


def test_every_post_is_tried(app: Litestar) -> None:
    assert {described(row) for row in POSTS} | PUBLIC_BODIES.keys() == posts_of(app).keys()


def places(body: Any) -> Iterator[list[str | int]]:
    """Where objects stand in a body."""
    if isinstance(body, dict):
        yield []
        for key, value in body.items():
            yield from ([key, *rest] for rest in places(value))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from ([number, *rest] for rest in places(value))


def with_field(body: Any, place: list[str | int], name: str) -> Any:
    """The body with a smuggled field in the object at this place."""
    if not place:
        return {**body, name: SMUGGLED[name]}
    copy: Any = dict(body) if isinstance(body, dict) else list(body)
    copy[place[0]] = with_field(body[place[0]], place[1:], name)
    return copy


async def refused(caller: Caller, path: str, body: Any, declared: set[str]) -> int:
    """Send the body with each field in each place; every one is refused. Return how many."""
    sent = 0
    for place in places(body):
        if place[-1:] == ["said"]:  # a map whose keys are kinds of consent
            continue
        for name in SMUGGLED.keys() - (set() if place else declared):
            answer = await caller.send("POST", path, with_field(body, place, name))
            faults = check_problem(answer, "invalid_input", 400)["errors"]
            assert [fault["pointer"].rpartition("/")[2] for fault in faults] == [name]
            sent += 1
    return sent


@pytest.mark.parametrize("row", POSTS, ids=lambda row: row.operation)
async def test_no_post_takes_a_field_it_does_not_declare(app: Litestar, api: Api, row: Row) -> None:
    role = next(iter(row.reach))
    world = await World.of(api.http, api.book, role, Whose.OWN)
    body = await world.things.fill((row.for_role or {}).get(role, row.body))
    path = row.operation.partition(" ")[2]
    for name in [part.strip("{}").split(":")[0] for part in path.split("/") if "{" in part]:
        thing = await world.things.get((row.made or {}).get(name, name))
        path = path.replace(f"{{{name}:uuid}}", str(thing)).replace(f"{{{name}:str}}", str(thing))
    declared = posts_of(app)[described(row)][1]
    assert await refused(world.caller, path, body, declared) >= len(SMUGGLED) - 2


@pytest.mark.parametrize("path", PUBLIC_BODIES)
async def test_nor_do_those_without_a_session(app: Litestar, api: Api, path: str) -> None:
    declared = posts_of(app)[path][1]
    assert await refused(api.anybody, path, PUBLIC_BODIES[path], declared) == len(SMUGGLED)


# ---- Headers and paths -------------------------------------------------------------------------

TRICKS: list[dict[str, str]] = [
    {"X-HTTP-Method-Override": "POST"},
    {"X-Original-URL": "/api/v1/trial-balance"},
    {"X-Rewrite-URL": "/api/v1/audit-log"},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-Host": "elsewhere.test", "X-Forwarded-Proto": "https"},
    {"X-User-Id": "1", "X-Role": "administrator", "X-Bank-Id": "1"},
    {"Cookie": "role=administrator; __Host-timebank=x"},
]


@pytest.mark.parametrize("headers", TRICKS, ids=lambda headers: next(iter(headers)))
async def test_headers_give_nobody_more(api: Api, headers: dict[str, str]) -> None:
    resident = await api.resident()
    for path, code in (
        ("/trial-balance", "forbidden"),
        ("/audit-log", "forbidden"),
        (f"/accounts/{await api.book.open_account()}", "not_found"),
    ):
        check_problem(await resident.caller.get(path, headers), code)
    check_problem(await api.anybody.get("/accounts", headers), "unauthenticated")


@pytest.mark.parametrize(
    "path",
    [
        "/residents/{id}/../../audit-log",
        "/residents/{id}%2f..%2f..%2faudit-log",
        "/residents/{id};role=administrator/personal",
        "//audit-log",
        "/./audit-log/.",
        "/AUDIT-LOG",
        "/audit-log%00",
        "/audit-log.json",
        "/persons/{id}%20/personal?purpose=contact",
        "/persons/{{{id}}}/personal?purpose=contact",
        "/persons/urn:uuid:{id}/personal?purpose=contact",
    ],
)
async def test_paths_lead_nowhere_else(api: Api, path: str) -> None:
    resident = await api.resident()
    shown = V1 + path.format(id=resident.resident_id)
    request = httpx.Request(
        "GET", "http://timebank.test/", headers={**resident.caller.headers, "X": new_key()}
    )
    request.url = request.url.copy_with(raw_path=shown.encode())
    answer = await api.http.send(request)
    assert answer.status_code in {400, 403, 404}, answer.text
    check_problem(answer, answer.json()["code"])
