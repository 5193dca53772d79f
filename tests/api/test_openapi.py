"""The description and its page: complete, stable, kept to, and asking nothing of another host."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from schemathesis.checks import (
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.checks import content_type_conformance

from tests.api.client import Caller, new_key, token_for
from tests.api.counter import Counter
from tests.api.operation_ids import OPERATION_IDS
from tests.api.things import MAKERS, Things
from tests.api.things_service import SERVICE_MAKERS
from tests.redemption.test_settlements import draft, earn
from timebank.api.wire import END
from timebank.app import operations
from timebank.domain.ledger import AccountKind
from timebank.people.access import Role

MAKERS.update(SERVICE_MAKERS)

README = Path(__file__).parents[2] / "README.md"

IN_PUBLIC = {"begin_enrolment", "complete_enrolment", "log_in"}

KEYLESS = IN_PUBLIC | {
    "change_password",
    "check_at_counter",
    "confirm_enrolment",
    "discard_settlement",
    "end_guardianship",
    "end_helper",
    "export_own_data",
    "find_pickup",
    "invite",
    "invite_to_family",
    "issue_api_key",
    "issue_card",
    "issue_one_time_code",
    "issue_payment_code",
    "leave_family",
    "log_out",
    "log_out_everywhere",
    "look_up_residents",
    "print_certificate",
    "renew_pickup_code",
    "revoke_api_key",
    "revoke_card",
    "rotate_api_key",
    "rotate_webhook_secret",
    "set_pin",
    "sync_slips",
}

CONFORMANCE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def description(app: Litestar) -> dict[str, Any]:
    """The description as the service gives it."""
    return app.openapi_schema.to_schema()


def operations_of(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every operation of the description, with its method and path."""
    return [
        {"method": method, "path": path, **operation}
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]


def test_operation_ids_are_unique_and_stable(description: dict[str, Any]) -> None:
    found = [operation["operationId"] for operation in operations_of(description)]
    assert len(found) == len(set(found))
    assert set(found) == OPERATION_IDS


def test_only_the_api_is_described(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    assert all(path.startswith("/api/v1/") for path in description["paths"])
    assert all(operation["description"] for operation in operations_of(description))


def test_no_pattern_lets_one_more_line_feed_through(description: dict[str, Any]) -> None:
    found = re.findall(r'"pattern": (".*?(?<!\\)")', json.dumps(description, default=str))
    patterns = {json.loads(pattern) for pattern in found}
    assert len(patterns) > 5
    assert {pattern for pattern in patterns if not pattern.endswith(END)} == set()


def test_every_error_is_described_as_a_problem(description: dict[str, Any]) -> None:
    for operation in operations_of(description):
        errors = {
            status: answer for status, answer in operation["responses"].items() if status >= "4"
        }
        assert {"400", "503"} <= errors.keys()
        for answer in errors.values():
            assert list(answer["content"]) == ["application/problem+json"]
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
        if operation["method"] == "post":
            assert {"401", "403", "413", "415", "422"} <= errors.keys()
            assert operation["operationId"] in IN_PUBLIC or {"404", "409"} <= errors.keys()


def test_the_gate_knows_the_query_of_every_operation(
    app: Litestar, description: dict[str, Any]
) -> None:
    described = {
        operation["operationId"]: {
            one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"
        }
        for operation in operations_of(description)
    }
    known = {
        handler.operation_id: handler.opt["query"]
        for path, handler in operations(app)
        if path.startswith("/api/")
    }
    assert known == described


def test_every_write_takes_a_key_but_those_told(description: dict[str, Any]) -> None:
    """Neither the fingerprint of a PIN nor an answer that holds a token may be stored.

    Others end something, and end it once however often they are sent.
    """
    without = {
        operation["operationId"]
        for operation in operations_of(description)
        if operation["method"] != "get"
        and "Idempotency-Key" not in {one["name"] for one in operation.get("parameters", ())}
    }
    assert without == KEYLESS
    told = re.search(r"The (\d+) writes whose description", README.read_text("utf-8"))
    assert told and int(told[1]) == len(KEYLESS)


def test_only_the_health_checks_and_logins_need_no_token(description: dict[str, Any]) -> None:
    assert description["security"] == [{"bearer": []}]
    assert description["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    public = {
        one["operationId"] for one in operations_of(description) if one.get("security") == [{}]
    }
    assert public == {
        "is_live",
        "is_ready",
        "check_certificate",
        "list_certificate_keys",
        "list_slip_keys",
        *IN_PUBLIC,
    }


class References(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag points at."""
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "action"}]


async def page_and_its_assets(http: httpx.AsyncClient) -> tuple[str, list[str]]:
    page = await http.get("/docs")
    assert page.status_code == 200
    parser = References()
    parser.feed(page.text)
    return page.text, parser.found


async def test_the_page_loads_from_our_own_host_only(http: httpx.AsyncClient) -> None:
    text, references = await page_and_its_assets(http)
    assert len(references) >= 4
    assert all(re.match(r"/docs/assets/[a-z0-9.-]+$", one) for one in references), references
    assert not re.findall(r"https?://|@import|validatorUrl", text)


async def test_the_page_finds_all_it_loads(http: httpx.AsyncClient) -> None:
    kinds = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
    for reference in (await page_and_its_assets(http))[1]:
        answer = await http.get(reference)
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == kinds[reference.rpartition(".")[2]]
        assert len(answer.content) == int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize(
    "name", ["LICENSE", "README.md", "x.js", "x.js%00", "..%2fopenapi.py", "x" * 5000, "%2e%2e"]
)
async def test_nothing_else_is_served_as_an_asset(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_description_is_served(http: httpx.AsyncClient, app: Litestar) -> None:
    served = (await http.get("/docs/openapi.json")).json()
    assert served["paths"].keys() == app.openapi_schema.to_schema()["paths"].keys()


@pytest.fixture(scope="module")
def cases(app: Litestar) -> st.SearchStrategy[schemathesis.Case]:
    """Requests made from the description: some as described, some not."""
    schema = schemathesis.openapi.from_dict(app.openapi_schema.to_schema())
    return st.one_of(
        result.ok().as_strategy(generation_mode=mode)
        for result in schema.get_all_operations()
        if result.ok().method != "delete"  # whoever logs out is answered 401 from then on
        for mode in schemathesis.GenerationMode
    )


MADE = (
    "activity_id",
    "attendance_id",
    "category_id",
    "family_id",
    "record_id",
    "shift_id",
    "wish_id",
)


@pytest.fixture
async def real(counter: Counter) -> dict[str, UUID]:
    """Ids that exist, by the names that requests have for them."""
    book, market = counter.api.book, counter.market
    resident = await counter.api.resident(points=50)
    award = book.award(resident.wallet, 1)
    await book.post_all(award)
    things = await Things.at(book, book.bank.root_id)
    await earn(market, 4)
    return {
        **{name: await things.get(name) for name in MADE},
        "account_id": resident.wallet,
        "to_account_id": resident.wallet,
        "transfer_id": award.transfer_id,
        "from_account_id": await book.open_account(AccountKind.POOL, balance=5),
        "merchant_id": market.merchant_id,
        "offer_id": await market.offer(stock=9),
        "hold_id": await market.held((resident.resident_id, resident.wallet), 3),
        "settlement_id": (await draft(market)).settlement_id,
        "resident_id": resident.resident_id,
        "subject_id": resident.resident_id,
    }


@settings(
    max_examples=4 * settings().max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_every_answer_is_as_described(
    counter: Counter,
    real: dict[str, UUID],
    cases: st.SearchStrategy[schemathesis.Case],
    data: st.DataObject,
) -> None:
    api, case = counter.api, data.draw(cases)
    administrator = Caller(api.http, await token_for(api.book, Role.ADMINISTRATOR))
    if data.draw(st.booleans()):
        make_real(real, case)
    caller = data.draw(
        st.sampled_from(
            [api.system, counter.clerk, counter.system, counter.coordinator, administrator]
        )
    )
    request = case.as_transport_kwargs(base_url="http://timebank.test")
    headers = {**request.pop("headers", {}), **caller.headers, "Idempotency-Key": new_key()}
    request.pop("cookies", None)
    if isinstance(request.get("data"), bytes | str):
        request["content"] = request.pop("data")
    answer = await api.http.request(headers=headers, **request)
    case.validate_response(answer, checks=CONFORMANCE)


def make_real(real: dict[str, UUID], case: schemathesis.Case) -> None:
    """Put ids that exist in place of the invented ones."""
    bodies = [case.body] if isinstance(case.body, dict) else []
    bodies += [
        row
        for body in bodies
        for rows in body.values()
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
    ]
    for place in (case.path_parameters, case.query, *bodies):
        for name in place.keys() & real.keys() if isinstance(place, dict) else ():
            place[name] = str(real[name])
