"""Lots by example: in which order points are spent and what comes back."""

from collections.abc import Iterator
from datetime import date
from itertools import count
from uuid import UUID

import pytest

from timebank.domain.expiry import ExpiryRule, ExpiryRules
from timebank.domain.ledger import TransferKind
from timebank.domain.lots import LotFold, Move

ANN, BOB = UUID(int=1), UUID(int=2)
RULES = ExpiryRules([ExpiryRule(date(2026, 1, 1), 12, 30)])
HOLD = UUID(int=77)


class Story:
    """Posts transfers day by day into a fold."""

    def __init__(self) -> None:
        self.fold = LotFold(RULES)
        self.on = date(2026, 3, 6)
        self._numbers: Iterator[int] = count(1)

    def post(
        self,
        kind: str,
        amount: int,
        debit: UUID | None = None,
        credit: UUID | None = None,
        *,
        subject: UUID | None = None,
        reverses: UUID | None = None,
    ) -> UUID:
        number = next(self._numbers)
        transfer_id = UUID(int=1000 + number)
        move = Move(
            transfer_id=transfer_id,
            kind=TransferKind(kind),
            amount=amount,
            debit_id=debit,
            debit_seq=number,
            credit_id=credit,
            credit_seq=number,
            recorded_us=self.on.toordinal() * 1000 + number,
            recorded_on=self.on,
            subject_id=subject,
            reverses_id=reverses,
        )
        self.fold.apply(move)
        return transfer_id

    def lots(self, wallet: UUID = ANN) -> list[tuple[int, date, date | None]]:
        """Amount, day earned and last day of each lot, in the order they would be spent."""
        lots = self.fold.list_lots(wallet, self.on)
        return [(lot.amount, lot.earned_on, lot.expires_on) for lot in lots]


@pytest.fixture
def story() -> Story:
    """Ann has 10 of March, good to the end of March, and 20 of April."""
    story = Story()
    story.post("award", 10, credit=ANN)
    story.on = date(2026, 4, 3)
    story.post("award", 20, credit=ANN)
    return story


MARCH = (date(2026, 3, 6), date(2027, 3, 31))
APRIL = (date(2026, 4, 3), date(2027, 4, 30))


def test_what_expires_first_is_spent_first(story: Story) -> None:
    story.post("hold", 12, ANN, subject=HOLD)
    assert story.lots() == [(18, *APRIL)]


def test_a_gift_keeps_its_age(story: Story) -> None:
    story.on = date(2026, 9, 1)
    story.post("gift", 12, ANN, BOB)
    assert story.lots(BOB) == [(10, *MARCH), (2, *APRIL)]


def test_a_release_gives_back_what_would_expire_last(story: Story) -> None:
    story.post("hold", 15, ANN, subject=HOLD)
    story.post("release", 7, credit=ANN, subject=HOLD)
    assert story.lots() == [(2, *MARCH), (20, *APRIL)]
    story.post("refund", 8, credit=ANN, subject=HOLD)
    assert story.lots() == [(10, *MARCH), (20, *APRIL)]


def test_what_comes_back_too_late_has_a_grace(story: Story) -> None:
    story.post("hold", 30, ANN, subject=HOLD)
    story.on = date(2027, 4, 5)
    story.post("release", 30, credit=ANN, subject=HOLD)
    assert story.lots() == [(20, *APRIL), (10, date(2026, 3, 6), date(2027, 5, 5))]


def test_points_of_another_hold_are_not_given_back(story: Story) -> None:
    story.post("hold", 10, ANN, subject=HOLD)
    story.on = date(2026, 5, 1)
    story.post("refund", 4, credit=ANN, subject=UUID(int=78))
    assert story.lots() == [(20, *APRIL), (4, date(2026, 5, 1), date(2027, 5, 31))]


def test_a_reversed_award_takes_its_own_points_first(story: Story) -> None:
    award = story.post("award", 5, credit=ANN)
    story.post("reversal", 5, ANN, reverses=award)
    assert story.lots() == [(10, *MARCH), (20, *APRIL)]
    award = story.post("award", 5, credit=ANN)
    story.post("hold", 33, ANN, subject=HOLD)
    story.post("debt", 3, credit=ANN)
    story.post("reversal", 5, ANN, reverses=award)
    assert story.lots() == []


def test_a_reversed_gift_goes_back_with_its_age(story: Story) -> None:
    gift = story.post("gift", 10, ANN, BOB)
    story.post("award", 10, credit=BOB)
    story.post("reversal", 10, BOB, ANN, reverses=gift)
    assert story.lots() == [(10, *MARCH), (20, *APRIL)]
    assert story.lots(BOB) == [(10, *APRIL)]


def test_a_loan_never_expires_and_is_spent_last(story: Story) -> None:
    story.post("debt", 3, credit=ANN)
    assert story.lots()[-1] == (3, date(2026, 4, 3), None)


def test_what_a_merchant_gives_on_is_a_new_lot(story: Story) -> None:
    story.on = date(2026, 8, 8)
    story.post("reissue", 4, credit=ANN)
    assert story.lots()[-1] == (4, date(2026, 8, 8), date(2027, 8, 31))


def test_an_expiry_of_points_that_are_good_is_noticed(story: Story) -> None:
    story.on = date(2027, 4, 1)
    assert story.fold.count_expired(ANN, story.on) == 10
    story.post("expiry", 10, ANN)
    assert story.fold.early == []
    expiry = story.post("expiry", 1, ANN)
    assert story.fold.early == [(expiry, 0, 1)]
    assert story.lots() == [(19, *APRIL)]


def test_an_expiry_reversed_gives_a_grace(story: Story) -> None:
    story.on = date(2027, 4, 1)
    expiry = story.post("expiry", 10, ANN)
    story.post("reversal", 10, credit=ANN, reverses=expiry)
    assert story.lots() == [(20, *APRIL), (10, date(2026, 3, 6), date(2027, 5, 1))]


def test_holding_and_releasing_does_not_splinter_a_lot(story: Story) -> None:
    for number in range(100):
        story.post("hold", 7, ANN, subject=UUID(int=number))
        story.post("release", 3, credit=ANN, subject=UUID(int=number))
        story.post("release", 4, credit=ANN, subject=UUID(int=number))
    assert len(story.fold.list_parts(ANN, story.on)) == 2
