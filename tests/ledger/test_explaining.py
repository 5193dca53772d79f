"""A balance explained from a real book: which service paid for the rice."""

import pytest
from msgspec.structs import replace

from tests.book import Book
from timebank.domain.errors import NotFoundError
from timebank.domain.explaining import Payment
from timebank.domain.ledger import AccountKind, TransferKind, Unit
from timebank.ledger.explaining import explain_balance
from timebank.ledger.ids import new_id


async def test_which_service_paid_for_the_rice(book: Book) -> None:
    owner, rice, oil, cleaning, lesson = (new_id() for _ in range(5))
    wallet = await book.open_account(owner_id=owner)
    held = await book.open_account(AccountKind.HELD, owner_id=owner)
    shop = await book.open_account(AccountKind.MERCHANT)
    for service, points in ((cleaning, 10), (lesson, 20)):
        await book.post_all(replace(book.award(wallet, points), subject_id=service))
    for hold, debit, credit, amount, kind in (
        (rice, wallet, held, 15, TransferKind.HOLD),
        (oil, wallet, held, 8, TransferKind.HOLD),
        (rice, held, shop, 12, TransferKind.CAPTURE),
        (rice, held, wallet, 3, TransferKind.RELEASE),
        (oil, held, shop, 6, TransferKind.CAPTURE),
        (rice, shop, wallet, 1, TransferKind.REFUND),
    ):
        transfer = book.transfer(debit, credit, amount, kind=kind)
        await book.post_all(replace(transfer, subject_id=hold))
    async with book.pool.acquire() as connection:
        explanation = await explain_balance(connection, book.bank, wallet)
    paid = {
        use.subject_id: [(paid.source.subject_id, paid.amount) for paid in use.paid_by]
        for use in explanation.uses
    }
    assert paid == {rice: [(cleaning, 10), (lesson, 1)], oil: [(lesson, 8)]}
    assert {use.subject_id: use.still_held for use in explanation.uses} == {rice: 0, oil: 2}
    [left] = explanation.unspent
    assert (left.source.subject_id, left.amount, left.expires_on) == (lesson, 11, None)
    assert explanation.balance == 11 == await book.balance(wallet)
    assert Payment(left.source, 1) in explanation.uses[0].paid_by


@pytest.mark.parametrize(
    ("kind", "unit"), [(AccountKind.WALLET, Unit.HOURS), (AccountKind.HELD, Unit.POINTS)]
)
async def test_only_wallets_and_pools_of_points_have_lots(
    book: Book, kind: AccountKind, unit: Unit
) -> None:
    account = await book.open_account(kind, unit)
    async with book.pool.acquire() as connection:
        for unknown in (account, new_id()):
            with pytest.raises(NotFoundError):
                await explain_balance(connection, book.bank, unknown)
