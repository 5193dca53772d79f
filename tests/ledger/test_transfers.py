"""Posting: statuses, chains, repeats and conflicts, one case a test."""

from datetime import UTC, datetime, timedelta

from tests.book import Book
from tests.properties.strategies import OUT_OF_RANGE
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.ledger.ids import new_id


async def test_an_award_moves_points_from_issuance(book: Book) -> None:
    wallet = await book.open_account()
    assert await book.post(book.award(wallet, 30)) == ["posted"]
    assert await book.balance(wallet) == 30
    assert await book.balance(book.issuance[Unit.POINTS]) == -30


async def test_a_refusal_changes_what_follows(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    statuses = await book.post(
        book.transfer(b, a, 1),
        book.transfer(a, b, 10),
        book.transfer(b, a, 4),
        book.transfer(b, a, 7),
    )
    assert statuses == ["insufficient_balance", "posted", "posted", "insufficient_balance"]
    assert (await book.balance(a), await book.balance(b)) == (4, 6)


async def test_a_chain_is_all_or_nothing(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    outcomes = await book.post_chains(
        [book.transfer(a, b, 6), book.transfer(a, b, 6), book.transfer(b, a, 1)],
        [book.transfer(a, b, 5), book.transfer(b, a, 5)],
    )
    assert [o.status for o in outcomes] == [
        "chain_broken",
        "insufficient_balance",
        "chain_broken",
        "posted",
        "posted",
    ]
    assert await book.balance(a) == 10


async def test_what_is_faulty_in_itself_is_refused_by_name(book: Book) -> None:
    wallet, pool = await book.open_account(balance=10), await book.open_account(AccountKind.POOL)
    hours = await book.open_account(unit=Unit.HOURS)
    issuance = book.issuance[Unit.POINTS]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    cases = {
        "amount_out_of_range": [book.award(wallet, amount) for amount in OUT_OF_RANGE],
        "account_not_found": [book.award(new_id(), 1), book.transfer(new_id(), wallet, 1)],
        "same_account": [book.transfer(wallet, wallet, 1)],
        "unit_mismatch": [book.award(hours, 1), book.transfer(wallet, hours, 1)],
        "occurred_in_future": [book.award(wallet, 1, occurred_at=tomorrow)],
        "account_kind_mismatch": [
            book.transfer(issuance, wallet, 1),
            book.transfer(wallet, issuance, 1),
            book.transfer(wallet, pool, 1, kind=TransferKind.AWARD),
            book.transfer(wallet, pool, 1, kind=TransferKind.DEBT),
        ],
        "insufficient_balance": [book.award(wallet, 2**53 - 1)],
    }
    for status, transfers in cases.items():
        assert await book.post(*transfers) == [status] * len(transfers)
    assert await book.balance(wallet) == 10


async def test_an_amount_at_the_edge_of_what_is_stored_is_refused_alone(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account(balance=10)
    for amount in (-(2**63), 2**63 - 1):
        edge = book.transfer(a, b, amount)
        calls = await book.post(edge, edge, book.transfer(a, b, 1)), await book.post(edge)
        refused = "amount_out_of_range"
        assert calls == ([refused, refused, "posted"], [refused])


async def test_the_same_id_is_answered_the_same_for_ever(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    paid, refused = book.transfer(a, b, 10), book.transfer(a, b, 1)
    first = await book.post_chains([paid], [refused])
    await book.post_all(book.award(a, 100))
    assert await book.post_chains([paid], [refused], [paid]) == [*first, first[0]]
    assert await book.balance(b) == 10


async def test_the_same_id_with_other_content_is_a_conflict(book: Book) -> None:
    a, b = await book.open_account(balance=10), await book.open_account()
    first = book.transfer(a, b, 1)
    other = book.transfer(a, b, 2, transfer_id=first.transfer_id)
    assert await book.post(first, other, first) == ["posted", "id_conflict", "posted"]
    assert await book.post(other) == ["id_conflict"]
    assert await book.balance(b) == 1
