"""What callers may send to the ledger: mostly sound, often odd, and again what was sent before."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.book import STAFF
from tests.properties.model import BookAccount, kinds_between
from timebank.domain.ledger import (
    LARGEST_AMOUNT,
    Chain,
    ReversalReason,
    Transfer,
    TransferKind,
    Unit,
)
from timebank.ledger.ids import new_id

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]
Accounts = Mapping[UUID, BookAccount]

UNKNOWN = UUID(int=404)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS = st.integers(-3, 3).map(lambda hours: NOON + timedelta(hours=hours))
OCCURRED = st.one_of(HOURS, HOURS, st.none())
FUTURE = datetime(2999, 1, 1, tzinfo=UTC)
KINDS = [kind for kind in TransferKind if kind is not TransferKind.REVERSAL]
AMOUNTS = st.integers(1, 20)
OUT_OF_RANGE = [0, -1, LARGEST_AMOUNT + 1, 2**63 - 1, 1 - 2**63, -(2**63)]
BAD_AMOUNTS = st.sampled_from([*OUT_OF_RANGE, -LARGEST_AMOUNT])


def draw_transfer(draw: Draw[Any], accounts: Accounts) -> Transfer:
    """A new transfer of a kind its accounts allow: mostly covered, else about floor and ceiling."""
    unit = draw(st.sampled_from(Unit))
    mine = {key: account for key, account in accounts.items() if account.unit is unit}
    pairs = {
        debit: [
            key for key in mine if key != debit and kinds_between(mine[debit].kind, mine[key].kind)
        ]
        for debit in mine
    }
    sources = [debit for debit, partners in pairs.items() if partners]
    covered = [debit for debit in sources if mine[debit].balance > mine[debit].floor]
    debit = draw(st.sampled_from([*covered, *sources]))
    credit = draw(st.sampled_from(pairs[debit]))
    room = mine[debit].balance - mine[debit].floor
    limits = [room, mine[credit].ceiling - mine[credit].balance]
    small = st.integers(1, min(room, 20) or 20)
    edges = st.sampled_from([max(1, limit + above) for limit in limits for above in (0, 1)])
    return Transfer(
        transfer_id=new_id(),
        kind=draw(st.sampled_from(kinds_between(mine[debit].kind, mine[credit].kind))),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=draw(st.one_of(small, small, small, small, edges)),
        actor_id=STAFF,
        occurred_at=draw(OCCURRED),
    )


def draw_altered(draw: Draw[Any], accounts: Accounts, transfer: Transfer) -> Transfer:
    """The same transfer, id and all, but for one field."""
    changes: dict[str, st.SearchStrategy[Any]] = {
        "amount": AMOUNTS | BAD_AMOUNTS,
        "debit_account_id": st.sampled_from([*accounts, UNKNOWN]),
        "credit_account_id": st.sampled_from(
            [*accounts, UNKNOWN, transfer.debit_account_id, transfer.debit_account_id]
        ),
        "occurred_at": OCCURRED | st.just(FUTURE),
        "actor_id": st.just(UNKNOWN),
        "subject_id": st.just(UNKNOWN),
    }
    if transfer.kind is TransferKind.REVERSAL:
        changes["reason"] = st.sampled_from(ReversalReason)
        changes["reverses_id"] = st.just(UNKNOWN)
    else:
        changes["kind"] = st.sampled_from(KINDS)
    name = draw(st.sampled_from(list(changes)))
    return replace(transfer, **{name: draw(changes[name])})


def draw_malformed(draw: Draw[Any], accounts: Accounts) -> list[Transfer]:
    """New transfers in any order, each with a fault that shows whatever the balances are."""
    sound = draw_transfer(draw, accounts)
    unit = accounts[sound.debit_account_id].unit
    debit_kind = accounts[sound.debit_account_id].kind
    possible = kinds_between(debit_kind, accounts[sound.credit_account_id].kind)
    faults: list[dict[str, Any]] = [
        *({"amount": amount} for amount in OUT_OF_RANGE),
        {"debit_account_id": UNKNOWN},
        {"credit_account_id": UNKNOWN},
        {"credit_account_id": sound.debit_account_id},
        *({"credit_account_id": key} for key in accounts if accounts[key].unit is not unit),
        *(
            {"credit_account_id": key}
            for key in accounts
            if sound.kind not in kinds_between(debit_kind, accounts[key].kind)
        ),
        *({"kind": kind} for kind in KINDS if kind not in possible),
        {"occurred_at": FUTURE},
    ]
    return [
        replace(sound, transfer_id=new_id(), **fault) for fault in draw(st.permutations(faults))
    ]


def draw_mirror(draw: Draw[Any], sent: Sequence[Chain]) -> Transfer:
    """A reversal under a new id of something sent lately."""
    lately = [transfer for chain in sent for transfer in chain][-8:]
    original = draw(st.sampled_from(lately[::-1]))
    return replace(
        original,
        transfer_id=new_id(),
        kind=TransferKind.REVERSAL,
        debit_account_id=original.credit_account_id,
        credit_account_id=original.debit_account_id,
        reverses_id=original.transfer_id,
        reason=draw(st.sampled_from(ReversalReason)),
    )


def draw_member(draw: Draw[Any], accounts: Accounts, sent: Sequence[Chain]) -> Transfer:
    """A transfer for a chain: mostly new, else a reversal, sent before or likely malformed."""
    how = draw(st.sampled_from(["new"] * 12 + ["odd"] + ["mirror"] * 2 + ["again"]))
    if how == "odd":
        return draw_altered(draw, accounts, draw_transfer(draw, accounts))
    if how == "mirror" and sent:
        return draw_mirror(draw, sent)
    if how == "again" and sent:
        return draw(st.sampled_from([transfer for chain in sent for transfer in chain]))
    return draw_transfer(draw, accounts)


def draw_long_chain(draw: Draw[Any], accounts: Accounts, sent: Sequence[Chain]) -> Chain:
    """A chain of 2 to 4; a member may come twice, as may its first."""
    chain: list[Transfer] = []
    for _ in range(draw(st.integers(2, 4))):
        chain.append(draw_member(draw, accounts, [*sent, chain] if chain else sent))
    return chain


def draw_again(draw: Draw[Any], accounts: Accounts, sent: Sequence[Chain]) -> Chain:
    """A chain sent before: exactly, with one member altered under its own id, or longer."""
    long = [chain for chain in sent if len(chain) > 1]
    chain = list(draw(st.sampled_from([*long, *sent])))
    how = draw(st.sampled_from(["exactly", "altered", "longer"]))
    if how == "altered":
        place = draw(st.integers(0, len(chain) - 1))
        chain[place] = draw_altered(draw, accounts, chain[place])
    elif how == "longer":
        chain.insert(draw(st.integers(1, len(chain))), draw_transfer(draw, accounts))
    return chain


def draw_batch(
    draw: Draw[Any], accounts: Accounts, sent: Sequence[Chain], most: int
) -> list[Chain]:
    """Up to `most` chains of every sort, each free to come back to those before it."""
    batch: list[Chain] = []
    for _ in range(draw(st.integers(1, most))):
        before = [*sent, *batch]
        how = draw(st.sampled_from(["one"] * 3 + ["chain"] * 2 + ["again"] * 2 + ["twice"]))
        if how == "twice" and before:
            batch.append(before[-1])
        elif how == "again" and before:
            batch.append(draw_again(draw, accounts, before))
        elif how == "chain":
            batch.append(draw_long_chain(draw, accounts, before))
        else:
            batch.append([draw_member(draw, accounts, before)])
    return batch
