"""Lots against a model of single points, over random lives of years and changing rules."""

from collections import Counter
from datetime import date, timedelta
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.properties.lives import FIRST_DAY, WALLETS, Life, draw_rules
from tests.properties.points import World
from timebank.domain.expiry import ExpiryRule, ExpiryRules
from timebank.domain.ledger import TransferKind
from timebank.domain.lots import LotFold, Move, in_order

DAYS = st.integers(0, 3000).map(lambda days: FIRST_DAY + timedelta(days=days))


def tags(fold: LotFold, wallet: Any, on: date) -> Counter[tuple[object, ...]]:
    found: Counter[tuple[object, ...]] = Counter()
    for part, _ in fold.list_parts(wallet, on):
        assert part.amount > 0
        found[part.lot.origin_id, part.came_by, part.grace_until] += part.amount
    return found


@settings(max_examples=3 * settings.default.max_examples)
@given(seed=st.integers(0, 2**32), acts=st.integers(1, 150))
@example(seed=0, acts=150)
def test_every_point_is_where_the_model_says(seed: int, acts: int) -> None:
    random = Random(seed)
    rules = draw_rules(random)
    fold = LotFold(ExpiryRules(rules))
    life = Life(random, World(rules))
    moves = []
    for move, expired in life.moves(acts):
        early = len(fold.early)
        fold.apply(move)
        moves.append(move)
        is_early = move.kind is TransferKind.EXPIRY and move.amount > expired
        assert len(fold.early) - early == is_early
        check_wallets(fold, life)
    check_order_does_not_matter(rules, moves, fold, life.day)


def check_wallets(fold: LotFold, life: Life) -> None:
    for wallet in WALLETS:
        assert fold.total(wallet) == life.balance(wallet)
        assert tags(fold, wallet, life.day) == life.world.tags(wallet)
        assert fold.count_expired(wallet, life.day) == life.world.count_expired(wallet, life.day)
        lots = fold.list_lots(wallet, life.day)
        assert sum(lot.amount for lot in lots) == life.balance(wallet)
        days = [lot.expires_on or date.max for lot in lots]
        assert days == sorted(days)


def check_order_does_not_matter(
    rules: list[ExpiryRule], moves: list[Move], fold: LotFold, on: date
) -> None:
    """Within an instant the journal has no order; that of the lines is enough."""
    shuffled = sorted(moves, key=lambda move: (move.recorded_us, move.transfer_id))
    again = LotFold(ExpiryRules(rules))
    for move in in_order(shuffled):
        again.apply(move)
    for wallet in WALLETS:
        assert again.list_parts(wallet, on) == fold.list_parts(wallet, on)


@given(seed=st.integers(0, 2**32), earned_on=DAYS, days=st.tuples(DAYS, DAYS))
def test_a_new_rule_never_shortens_what_was_promised(
    seed: int, earned_on: date, days: tuple[date, date]
) -> None:
    known = ExpiryRules(draw_rules(Random(seed)))
    earlier, later = sorted(max(day, earned_on) for day in days)
    before, after = known.find_last_day(earned_on, earlier), known.find_last_day(earned_on, later)
    if before and after:
        assert before <= after
    if rule := known.find_rule(later):
        assert after
        assert rule.months
        least = max(earned_on, rule.starts_on) + timedelta(days=30 * rule.months)
        assert after > least
        assert (after + timedelta(days=1)).day == 1
    else:
        assert after is None
