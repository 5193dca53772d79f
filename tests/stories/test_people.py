"""A member's life: registered with paper, card and PIN, a helper, a grandchild, frozen, erased."""

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.api.service import free_port
from tests.stories.test_first_administrator import run, served

TIMEBANK = [sys.executable, "-m", "timebank"]
PIN = "492716"
GRANDMOTHER = {
    "name": "王秀英",
    "phone": "13937910001",
    "born_on": "1949-10-01",
    "address": "涧西区长安路街道一号院",
}


@dataclass(frozen=True)
class Caller:
    """Somebody with a token at the service."""

    base: str
    token: str | None = None

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request; a write goes under a new key."""
        headers = {"Accept-Language": "en"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if method != "GET":
            headers["Idempotency-Key"] = secrets.token_hex(16)
        sent = {} if body is None else {"json": body}
        return httpx.request(method, self.base + path, headers=headers, **sent)

    def get(self, path: str) -> Any:
        """GET what must be there."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def do(self, path: str, body: Any = None) -> Any:
        """POST what must succeed."""
        answer = self.ask("POST", path, {} if body is None else body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def refused(self, path: str, body: Any = None, method: str = "POST") -> str:
        """Return the code of a refusal."""
        answer = self.ask(method, path, body)
        assert 400 <= answer.status_code < 500, answer.text
        return str(answer.json()["code"])


@dataclass(frozen=True)
class Town:
    """The people who run the bank, by the tokens of a command."""

    base: str
    system: Caller
    desk: Caller
    checker: Caller
    admins: tuple[Caller, Caller]
    root_id: str
    witness_id: str

    @classmethod
    def open(cls, base: str, environment: Mapping[str, str]) -> "Town":
        """Issue tokens, and look up who is who."""

        def token(role: str) -> Caller:
            command = [*TIMEBANK, "token", "issue", "--bank", "jianxi", "--role", role]
            return Caller(base, run(command, environment).strip())

        admins = token("administrator"), token("administrator")
        desk, checker = token("coordinator"), token("coordinator")
        witness_id = checker.get("/sessions/me")["party_id"]
        root_id = admins[0].get("/role-grants")["data"][0]["branch_id"]
        return cls(base, token("integrator"), desk, checker, admins, root_id, witness_id)

    def paper(self, kind: str) -> dict[str, str]:
        """A printed sheet, signed before the witness."""
        run = {"count": 1, "kind": kind, "issued_to": self.root_id}
        sheet = self.desk.do("/sheet-runs", run)["first_number"]
        return {"sheet": sheet, "witness_id": self.witness_id}

    def register(self, **person: Any) -> dict[str, Any]:
        """Register somebody at the counter and have another coordinator approve."""
        body = {**person, "consents": ["membership"], "paper": self.paper("registration")}
        made: dict[str, Any] = self.desk.do("/residents", body)
        decision = f"/residents/{made['resident_id']}/decision"
        assert self.desk.refused(decision, {"decision": "approved"}) == "second_person_needed"
        assert self.checker.do(decision, {"decision": "approved"})["state"] == "approved"
        return made

    def card(self, member: Mapping[str, Any]) -> str:
        """Issue a card; return what is printed under its code."""
        card = self.desk.do(f"/residents/{member['resident_id']}/card")
        assert card["qr_svg"].startswith("<svg")
        return str(card["typed"])

    def log_in(self, card: str, **secret: str) -> Caller:
        """Log in with a card and its PIN or a code."""
        kind = "card_pin" if "pin" in secret else "one_time_code"
        body = {"type": kind, "bank": "jianxi", "card": card, **secret}
        return Caller(self.base, Caller(self.base).do("/sessions", body)["token"])

    def log_in_by_code(self, member: Mapping[str, Any], card: str) -> Caller:
        """Fetch a one-time code, not from who issued the card, and log in with it."""
        asked = {"resident_id": member["resident_id"]}
        assert self.desk.refused("/one-time-codes", asked) == "second_person_needed"
        pin = {"resident_id": member["resident_id"], "pin": PIN}
        assert self.desk.refused("/credentials/pin", pin) == "second_person_needed"
        code = self.checker.do("/one-time-codes", asked)["code"]
        return self.log_in(card, code=code)


def test_a_members_life(environment: dict[str, str], tmp_path: Path) -> None:
    environment = environment | {"TIMEBANK_PORT": str(free_port())}
    run([*TIMEBANK, "bank", "open", "jianxi", "--name", "涧贤银行"], environment)
    with served(environment, tmp_path / "log") as base:
        town = Town.open(base, environment)
        member, card = become_a_member(town)
        passbook = earn(town, member)
        look_with_the_pin(town, card, passbook)
        name_a_helper(town, member, card, passbook)
        bring_the_grandchild(town)
        freeze_and_copy(town, member, card)
        erase(town, member, card)
    log = (tmp_path / "log").read_text("utf-8")
    for hidden in (*GRANDMOTHER.values(), card, card.replace("-", ""), PIN):
        assert hidden not in log
    proof = subprocess.run(
        [*TIMEBANK, "reconcile", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (proof.returncode, json.loads(proof.stdout)["ok"]) == (0, True)


def become_a_member(town: Town) -> tuple[dict[str, Any], str]:
    """Registration with a sheet, a card, and a PIN by way of a one-time code."""
    member = town.register(**GRANDMOTHER)
    lookup = {"purpose": "identification", "phone": GRANDMOTHER["phone"]}
    [found] = town.checker.do("/residents/lookups", lookup)["data"]
    assert (found["resident_id"], found["masked_name"]) == (member["resident_id"], "王*英")
    card = town.card(member)
    town.log_in_by_code(member, card).do("/credentials/pin", {"pin": PIN})
    return member, card


def earn(town: Town, member: Mapping[str, Any]) -> str:
    """A wallet with points; return the path of its passbook."""
    wallet = town.desk.do("/accounts", {"unit": "points", "owner_id": member["resident_id"]})
    award = {"account_id": wallet["account_id"], "points": 90}
    town.system.do("/awards", award)
    return f"/accounts/{wallet['account_id']}/passbook"


def look_with_the_pin(town: Town, card: str, passbook: str) -> None:
    """Card and PIN are good for the passbook, and for nothing that changes anything."""
    mine = town.log_in(card.lower().replace("-", " "), pin=PIN)
    assert mine.get(passbook)["data"][0]["points"] == 90
    assert mine.refused("/me", method="GET") == "stronger_login_needed"
    assert mine.refused("/me/export", {}) == "stronger_login_needed"


def name_a_helper(town: Town, member: Mapping[str, Any], card: str, passbook: str) -> None:
    """The daughter sees the passbook, gives nothing, and sees no more when it ends."""
    daughter = town.register(name="李小梅", phone="13937910002", born_on="1975-03-08")
    hers = town.log_in_by_code(daughter, town.card(daughter))
    assert hers.refused(passbook, method="GET") == "not_found"
    mine = town.log_in_by_code(member, card)
    helpers = f"/residents/{member['resident_id']}/helpers"
    mine.do(helpers, {"member_number": daughter["member_number"], "days": 90})
    assert hers.get(passbook)["data"][0]["balance_after"] == 90
    account = passbook.split("/")[2]
    gift = {"from_account_id": account, "to_account_id": account, "points": 1}
    assert hers.refused("/transfers", gift) == "forbidden"
    oneself = {"member_number": daughter["member_number"]}
    assert hers.refused(helpers, oneself) == "guardian_needed"  # only the resident consents
    assert mine.ask("DELETE", f"{helpers}/{daughter['resident_id']}").status_code == 204
    assert hers.refused(passbook, method="GET") == "not_found"


def bring_the_grandchild(town: Town) -> None:
    """Under 14 the guardian applies, consents and sees the passbook."""
    child = {"name": "李明", "born_on": f"{datetime.now(UTC).year - 9}-01-01"}
    assert town.desk.refused("/residents", child) == "guardian_needed"
    mother = town.register(name="李兰", phone="13937910003", born_on="1988-08-08")
    grandchild = town.register(**child, guardian_id=mother["resident_id"])
    assert grandchild["is_minor"]
    theirs = earn(town, grandchild)
    assert town.log_in_by_code(mother, town.card(mother)).get(theirs)["data"][0]["points"] == 90


def freeze_and_copy(town: Town, member: Mapping[str, Any], card: str) -> None:
    """Frozen data is for the law and for oneself alone."""
    person = f"/persons/{member['resident_id']}"
    town.admins[0].do(f"{person}/freeze")
    contact = f"{person}/personal?purpose=contact"
    assert town.desk.refused(contact, method="GET") == "person_frozen"
    copy = town.log_in_by_code(member, card).do("/me/export")
    assert copy["personal"]["name"] == GRANDMOTHER["name"]
    assert {"register", "look_up", "freeze", "export"} <= {one["act"] for one in copy["accesses"]}
    town.admins[1].do(f"{person}/unfreeze")
    assert town.desk.get(contact)["phone"] == GRANDMOTHER["phone"]


def erase(town: Town, member: Mapping[str, Any], card: str) -> None:
    """Two administrators; then there is nobody of this name, and the points stand."""
    deed = {"deed": "erasure", "person_id": member["resident_id"]}
    proposal = town.admins[0].do("/approvals", deed)
    decision = f"/approvals/{proposal['approval_id']}/decision"
    body = {"decision": "approved", "content_hash": proposal["content_hash"]}
    assert town.admins[0].refused(decision, body) == "second_person_needed"
    assert town.admins[1].do(decision, body)["state"] == "approved"
    log_in = {"type": "card_pin", "bank": "jianxi", "card": card, "pin": PIN}
    assert Caller(town.base).refused("/sessions", log_in) == "login_failed"
    contact = f"/persons/{member['resident_id']}/personal?purpose=contact"
    assert town.desk.refused(contact, method="GET") == "person_erased"
    lookup = {"purpose": "registration", "phone": GRANDMOTHER["phone"]}
    assert town.desk.do("/residents/lookups", lookup) == {"data": []}
    points = [
        row["credit"]
        for row in town.system.get("/trial-balance")["rows"]
        if (row["unit"], row["kind"]) == ("points", "wallet")
    ]
    assert points == [180]
