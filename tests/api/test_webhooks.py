"""Webhooks over HTTP: a merchant's system from its API key to the signed event it verifies."""

from typing import Any

import httpx
import pytest

from tests.api.client import Caller, check_only_fault, check_problem, new_key, token_for
from tests.api.counter import Counter
from tests.api.service import key_file
from tests.webhooks.listening import Listening
from tests.webhooks.receiver import authority
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.grants import OPERATOR_ID, grant_role
from timebank.people.login.api_keys import get_system_grant, issue_key
from timebank.people.parties import PartyKind, register_parties
from timebank.people.seals import Seals
from timebank.people.vault_keys import KeyRing
from timebank.webhooks.delivery import Worker, deliver_due
from timebank.webhooks.sending import Sender

BODY = {"url": "https://till.example/hook?key=hidden", "event_types": ["redemption.captured"]}


async def open_endpoint(counter: Counter, caller: Caller | None = None, **rest: Any) -> Any:
    """Open an endpoint and return the answer's body."""
    path = f"/merchants/{counter.market.merchant_id}/webhook-endpoints"
    answer = await (caller or counter.system).post(path, {**BODY, **rest})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_from_the_key_to_the_event_that_is_verified(counter: Counter) -> None:
    made = await open_endpoint(counter, event_types=["redemption.captured", "redemption.refunded"])
    resident = await counter.api.resident(points=50)
    hold_id = await counter.captured(resident, points=10)
    refund = {"points": 4, "reason": "goods_returned"}
    assert (await counter.system.post(f"/holds/{hold_id}/refunds", refund)).status_code == 201
    path = f"/webhook-endpoints/{made['endpoint_id']}"
    with authority() as tls:
        async with tls.receiver() as receiver:
            worker = Worker(
                pool=counter.market.book.pool,
                seals=Seals(KeyRing(key_file())),
                sender=tls.sender({"till.example": receiver.port}),
            )
            assert await deliver_due(worker, [counter.market.bank_id]) == 2
            page = (await counter.system.get(f"{path}/events")).json()
            ping = (await counter.system.post(f"{path}/pings", {})).json()["event_id"]
            replay = {"event_id": page["data"][0]["event_id"]}
            answer = await counter.system.post(f"{path}/replays", replay)
            assert (answer.status_code, answer.json()) == (201, {"replayed": 1})
            answer = await counter.system.post(
                f"{path}/replays", {"since": page["data"][1]["occurred_at"]}
            )
            assert answer.json() == {"replayed": 1}  # the other one waits already
            assert await deliver_due(worker, [counter.market.bank_id]) == 3
    listening = Listening(
        counter.market, worker.seals, tls, receiver, made["endpoint_id"], made["secret"]
    )
    for got in receiver.got:
        listening.check(got)
    told = {got.event_id: got.payload for got in receiver.got}
    assert ping in told
    assert {payload["type"] for payload in told.values()} == {
        "redemption.captured",
        "redemption.refunded",
        "webhook.ping",
    }
    for event in page["data"]:
        assert (event["state"], event["attempts"]) == ("delivered", 1)
        assert told[event["event_id"]]["data"] == event["data"]
        assert event["data"]["hold_id"] == hold_id
    attempts = (await counter.system.get(f"{path}/events/{replay['event_id']}/attempts")).json()
    assert [(one["number"], one["outcome"], one["status"]) for one in attempts["data"]] == [
        (2, "delivered", 204),
        (1, "delivered", 204),
    ]


async def test_a_secret_and_a_url_are_shown_to_the_merchant_alone(counter: Counter) -> None:
    made = await open_endpoint(counter)
    assert made["secret"].startswith("whsec_")
    assert made["url"] == BODY["url"]
    path = f"/webhook-endpoints/{made['endpoint_id']}"
    own = (await counter.system.get(path)).json()
    assert own["url"] == BODY["url"]
    assert "secret" not in own
    for role in (Role.COORDINATOR, Role.ADMINISTRATOR, Role.AUDITOR):
        caller = Caller(counter.api.http, await token_for(counter.api.book, role))
        listed = await caller.get(f"/merchants/{made['merchant_id']}/webhook-endpoints")
        for shown in (listed.json()["data"][0], (await caller.get(path)).json()):
            assert shown["host"] == "till.example"
            assert "url" not in shown
        check_problem(await caller.get(f"{path}/events"), "forbidden")
        check_problem(await caller.post(f"{path}/rotation", {}), "forbidden")


async def test_no_answer_that_is_stored_holds_a_secret_or_a_url(counter: Counter) -> None:
    path = f"/merchants/{counter.market.merchant_id}/webhook-endpoints"
    key = new_key()
    first = await counter.system.post(path, BODY, key=key)
    assert first.headers["cache-control"] == "no-store"
    again = await counter.system.post(path, BODY, key=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {
        name: value for name, value in first.json().items() if name not in {"secret", "url"}
    }
    change = {"url": "https://till.example/hook?key=hidden2"}
    endpoint_path = f"/webhook-endpoints/{first.json()['endpoint_id']}"
    assert (await counter.system.post(f"{endpoint_path}/changes", change)).status_code == 201
    pool = counter.market.book.pool
    stored = await pool.fetchval(
        "SELECT string_agg(r::text, ' ') FROM request r WHERE bank_id = $1", counter.market.bank_id
    )
    assert "till.example" in stored
    assert "hidden" not in stored
    assert "whsec" not in stored
    listed = await counter.system.get(path)
    assert [one["url"] for one in listed.json()["data"]] == [change["url"]]


@pytest.mark.parametrize(
    "url",
    [
        "http://till.example/",
        "https://inside.example/",  # is known to have an address inside
        "https://unknown.example/",  # and nobody learns that it has none
        "https://10.0.0.7/",
        "https://localhost/",
        "https://ann:secret@till.example/",
        "https://till.example:22/",
        "file:///etc/passwd",
    ],
)
async def test_a_url_inside_is_refused_when_it_is_named(counter: Counter, url: str) -> None:
    path = f"/merchants/{counter.market.merchant_id}/webhook-endpoints"
    answer = await counter.system.post(path, {**BODY, "url": url})
    problem = check_problem(answer, "webhook_url_refused", 422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/url"]
    made = await open_endpoint(counter)
    changed = await counter.system.post(
        f"/webhook-endpoints/{made['endpoint_id']}/changes", {"url": url}
    )
    check_problem(changed, "webhook_url_refused")


async def test_a_name_inside_is_told_as_one_that_is_unknown(counter: Counter) -> None:
    """A merchant's attempts are no way to ask which names there are inside."""
    path = f"/webhook-endpoints/{(await open_endpoint(counter))['endpoint_id']}"
    told = []
    for addresses in ([], [("10.0.0.7", 443)]):

        async def resolve(
            host: str, port: int, found: list[tuple[str, int]] = addresses
        ) -> list[tuple[str, int]]:
            return found

        worker = Worker(
            pool=counter.market.book.pool,
            seals=Seals(KeyRing(key_file())),
            sender=Sender(resolve=resolve),
            retries=(),
        )
        ping = (await counter.system.post(f"{path}/pings", {})).json()["event_id"]
        assert await deliver_due(worker, [counter.market.bank_id]) == 1
        attempts = (await counter.system.get(f"{path}/events/{ping}/attempts")).json()["data"]
        told += [(one["number"], one["outcome"], one["status"]) for one in attempts]
    assert told == [(1, "address_refused", None)] * 2


@pytest.mark.parametrize(
    "types", [["webhook.ping"], ["redemption.held", "redemption.held"], [], ["restocked"]]
)
async def test_types_that_cannot_be_asked_for(counter: Counter, types: list[str]) -> None:
    path = f"/merchants/{counter.market.merchant_id}/webhook-endpoints"
    answer = await counter.system.post(path, {**BODY, "event_types": types})
    pointer = check_problem(answer, "invalid_input", 400)["errors"][0]["pointer"]
    assert pointer.startswith("/event_types")


async def test_nothing_to_change_and_two_ways_to_replay_are_refused(counter: Counter) -> None:
    path = f"/webhook-endpoints/{(await open_endpoint(counter))['endpoint_id']}"
    check_only_fault(await counter.system.post(f"{path}/changes", {}), "/url")
    check_only_fault(await counter.system.post(f"{path}/replays", {}), "/event_id")
    both = {"event_id": str(new_id()), "since": "2026-01-01T00:00:00Z"}
    check_only_fault(await counter.system.post(f"{path}/replays", both), "/event_id")
    unknown = {"event_id": str(new_id())}
    check_problem(await counter.system.post(f"{path}/replays", unknown), "not_found")


async def test_ten_endpoints_are_enough(counter: Counter) -> None:
    for _ in range(10):
        await open_endpoint(counter)
    path = f"/merchants/{counter.market.merchant_id}/webhook-endpoints"
    check_problem(await counter.system.post(path, BODY), "too_many_webhooks", 409)


async def test_what_staff_disable_the_merchant_does_not_enable(counter: Counter) -> None:
    path = f"/webhook-endpoints/{(await open_endpoint(counter))['endpoint_id']}"
    own = await counter.system.post(f"{path}/disablement", {})
    assert own.json()["disabled_because"] == "merchant"
    enabled = await counter.system.post(f"{path}/enablement", {})
    assert enabled.json()["disabled_at"] is None
    await counter.system.post(f"{path}/disablement", {})
    stopped = await counter.coordinator.post(f"{path}/disablement", {})
    assert stopped.json()["disabled_because"] == "staff"
    again = await counter.system.post(f"{path}/disablement", {})
    assert again.json()["disabled_because"] == "staff"
    check_problem(await counter.system.post(f"{path}/enablement", {}), "webhook_disabled", 409)
    check_problem(await counter.system.post(f"{path}/pings", {}), "webhook_disabled", 409)
    since = {"since": "2026-01-01T00:00:00Z"}
    check_problem(await counter.system.post(f"{path}/replays", since), "webhook_disabled", 409)


@pytest.mark.parametrize("merchant_first", [True, False])
async def test_staff_lift_their_own_stop_and_leave_what_the_merchant_wished(
    counter: Counter, merchant_first: bool
) -> None:
    path = f"/webhook-endpoints/{(await open_endpoint(counter))['endpoint_id']}"
    order = [counter.system, counter.coordinator]
    for caller in order if merchant_first else reversed(order):
        assert (await caller.post(f"{path}/disablement", {})).status_code == 201
    lifted = await counter.coordinator.post(f"{path}/enablement", {})
    assert (lifted.status_code, lifted.json()["disabled_because"]) == (201, "merchant")
    check_problem(await counter.system.post(f"{path}/pings", {}), "webhook_disabled", 409)
    check_problem(await counter.coordinator.post(f"{path}/enablement", {}), "webhook_disabled", 409)
    assert (await counter.system.post(f"{path}/enablement", {})).json()["disabled_at"] is None
    assert (await counter.system.post(f"{path}/pings", {})).status_code == 201


async def test_a_stop_by_staff_holds_for_every_way_to_be_told_until_staff_lift_it(
    counter: Counter,
) -> None:
    stopped, other = await open_endpoint(counter), await open_endpoint(counter)
    path, listed = (
        f"/webhook-endpoints/{stopped['endpoint_id']}",
        f"/merchants/{counter.market.merchant_id}/webhook-endpoints",
    )
    await counter.coordinator.post(f"{path}/disablement", {})
    for answer in (
        await counter.system.post(listed, BODY),
        await counter.system.post(f"{path}/changes", {"url": BODY["url"]}),
        await counter.system.post(
            f"/webhook-endpoints/{other['endpoint_id']}/changes", {"url": BODY["url"]}
        ),
    ):
        check_problem(answer, "webhook_stopped", 409)
    types = {"event_types": ["redemption.held"]}
    assert (await counter.system.post(f"{path}/changes", types)).status_code == 201
    lifted = await counter.coordinator.post(f"{path}/enablement", {})
    assert (lifted.status_code, lifted.json()["disabled_at"]) == (201, None)
    assert (await counter.system.post(f"{path}/changes", {"url": BODY["url"]})).status_code == 201
    await open_endpoint(counter)


async def test_staff_do_not_enable_what_the_merchant_disabled(counter: Counter) -> None:
    path = f"/webhook-endpoints/{(await open_endpoint(counter))['endpoint_id']}"
    await counter.system.post(f"{path}/disablement", {})
    check_problem(await counter.coordinator.post(f"{path}/enablement", {}), "webhook_disabled", 409)
    assert (await counter.system.post(f"{path}/enablement", {})).status_code == 201


async def test_a_rotation_shows_a_new_secret_and_until_when_the_old_signs(
    counter: Counter,
) -> None:
    made = await open_endpoint(counter)
    path = f"/webhook-endpoints/{made['endpoint_id']}"
    assert made["previous_secret_until"] is None
    rotated = await counter.system.post(f"{path}/rotation", {})
    assert rotated.status_code == 201
    assert rotated.headers["cache-control"] == "no-store"
    assert rotated.json()["secret"] not in {made["secret"], None}
    shown = (await counter.system.get(path)).json()
    assert shown["previous_secret_until"] == rotated.json()["previous_secret_until"]


async def test_a_key_without_the_scope_does_none_of_it(counter: Counter) -> None:
    made = await open_endpoint(counter)
    path = f"/webhook-endpoints/{made['endpoint_id']}"
    scoped = await scoped_key(counter, [Action.READ_WEBHOOKS])
    assert (await scoped.get(path)).status_code == 200
    for answer in (
        await scoped.get(f"{path}/events"),
        await scoped.post(f"{path}/rotation", {}),
        await scoped.post(f"{path}/pings", {}),
        await scoped.post(f"{path}/disablement", {}),
        await scoped.post(f"/merchants/{made['merchant_id']}/webhook-endpoints", BODY),
    ):
        check_problem(answer, "forbidden", 403)


async def scoped_key(counter: Counter, scopes: list[Action]) -> Caller:
    """Return the merchant's system with a key of these scopes."""
    book, system, runs_it = counter.api.book, new_id(), new_id()
    merchant_id = counter.market.merchant_id
    await token_for(book, Role.MERCHANT, runs_it, merchant_id=merchant_id)
    async with book.pool.acquire() as connection, connection.transaction():
        await register_parties(connection, book.bank_id, PartyKind.SYSTEM, [system])
        grant_id = await grant_role(
            connection,
            book.bank_id,
            system,
            Role.MERCHANT,
            book.bank.root_id,
            granted_by=OPERATOR_ID,
            approved_by=OPERATOR_ID,
            merchant_id=merchant_id,
        )
        grant = await get_system_grant(connection, book.bank_id, grant_id)
        _, session = await issue_key(
            connection,
            book.bank_id,
            grant,
            scopes=scopes,
            lifetime_days=1,
            issued_by=runs_it,
        )
    return Caller(counter.api.http, session.token)


# ---- A merchant's own lines --------------------------------------------------------------------


async def lines(counter: Counter, caller: Caller, **asked: Any) -> httpx.Response:
    """Read the merchant's lines."""
    return await caller.get(f"/merchants/{counter.market.merchant_id}/lines", **asked)


async def test_a_system_reads_its_lines_from_the_last_it_saw(counter: Counter) -> None:
    resident = await counter.api.resident(points=50)
    key = await scoped_key(counter, [Action.READ_MERCHANT_LINES])
    empty = (await lines(counter, key)).json()
    assert empty == {"data": [], "last_seq": 0, "has_more": False}
    first = await counter.captured(resident, points=10)
    second = await counter.captured(resident, points=5)
    refund = {"points": 4, "reason": "goods_returned"}
    await counter.system.post(f"/holds/{first}/refunds", refund)
    page = (await lines(counter, key, limit=2)).json()
    assert [(one["seq"], one["kind"], one["points"], one["hold_id"]) for one in page["data"]] == [
        (1, "capture", 10, first),
        (2, "capture", 5, second),
    ]
    assert (page["last_seq"], page["has_more"]) == (2, True)
    rest = (await lines(counter, key, after=page["last_seq"])).json()
    assert [(one["seq"], one["kind"], one["points"]) for one in rest["data"]] == [(3, "refund", -4)]
    assert (rest["last_seq"], rest["has_more"]) == (3, False)
    assert (await lines(counter, key, after=3)).json()["last_seq"] == 3
    check_problem(await lines(counter, counter.clerk), "forbidden")
    check_problem(await lines(counter, key, after=-1), "invalid_input")
