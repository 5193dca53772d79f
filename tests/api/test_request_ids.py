"""A caller's own request id enters the logs only if it cannot be something of a person."""

import re
import secrets
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.client import Api
from timebank.api.request_ids import name_request

OUR_OWN = re.compile(rb"[0-9a-f]{8}-[0-9a-f]+")

phones = st.from_regex(r"(\+?86[- ]?)?1[3-9][0-9]([- ]?[0-9]{4}){2}", fullmatch=True)
documents = st.from_regex(r"[1-9][0-9]{16}[0-9Xx]", fullmatch=True)


def chosen(given_id: bytes) -> bytes:
    """The id of a request that came with this one."""
    scope: Any = {"state": {}, "headers": [(b"x-request-id", given_id)]}
    return name_request(scope)


@pytest.mark.parametrize(
    "fit", ["abcdefab-cdef-abcd-efab-cdefabcdefab", "4bf92f3577b34da6a3ce929d0e0e4736"]
)
def test_uuids_and_trace_ids_are_kept(fit: str) -> None:
    assert chosen(fit.encode()) == fit.encode()
    assert chosen(fit.upper().encode()) == fit.upper().encode()


def test_most_random_ones_are_kept() -> None:
    kept = sum(chosen(one) == one for one in (str(uuid4()).encode() for _ in range(500)))
    assert kept > 470


@given(
    st.one_of(
        phones,
        documents,
        st.text(min_size=1, max_size=70),
        st.tuples(st.sampled_from(["register-", "r", "", "0" * 21]), phones | documents).map(
            "".join
        ),
        phones.map(lambda phone: phone.rjust(32, "0")),
        phones.map(lambda phone: f"{secrets.token_hex(16)}{phone}"),
    )
)
def test_nothing_else_is(given_id: str) -> None:
    found = chosen(given_id.encode())
    assert OUR_OWN.fullmatch(found) or not re.search(rb"[0-9]{11}", found)
    assert found == given_id.encode() or OUR_OWN.fullmatch(found)
    if not re.fullmatch(r"[0-9a-fA-F-]{32,36}", given_id):
        assert OUR_OWN.fullmatch(found)


async def test_the_audit_log_has_our_id_and_the_answer_names_it(api: Api) -> None:
    for given_id, kept in (("13800138000", False), (str(uuid4()).replace("0", "a"), True)):
        answer = await api.auditor.post("/awards", {}, headers={"X-Request-Id": given_id})
        assert (answer.headers["x-request-id"] == given_id) is kept
        entry = (await api.auditor.get("/audit-log", limit=1)).json()["data"][0]
        assert entry["request_id"] == answer.headers["x-request-id"]


async def test_keys_are_not_stored_as_they_came(api: Api) -> None:
    """Callers make an Idempotency-Key of all sorts of things: it tells nothing in the database."""
    key = "register-13800138000"
    answer = await api.system.post("/accounts", {"kind": "pool", "unit": "points"}, key=key)
    assert answer.status_code == 201
    rows = await api.book.pool.fetch(
        "SELECT r::text FROM request r WHERE bank_id = $1", api.book.bank_id
    )
    assert len(rows) == 1
    assert "13800138000" not in rows[0][0]
