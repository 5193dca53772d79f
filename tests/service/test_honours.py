"""Stars follow what is confirmed and nothing else; honours need two persons besides."""

from datetime import date, timedelta

import pytest

from tests.service.programme import CHECKER, MAKER, OTHER_CHECKER, Programme, at, new_person
from timebank.domain.errors import (
    InvalidInputError,
    NotFoundError,
    SecondPersonNeededError,
)
from timebank.domain.ledger import SpentPolicy
from timebank.domain.service import RecordStatus
from timebank.domain.service_errors import (
    GradedAlreadyError,
    HonourExistsError,
    HonourTitleExistsError,
    StarRuleExistsError,
    WrongStepError,
)
from timebank.domain.stars import DEFAULT_RULE, StarRule
from timebank.ledger.ids import new_id
from timebank.service.honours import (
    HonourStatus,
    decide_honour,
    get_star_rule,
    get_stars,
    grade_record,
    list_honours,
    nominate,
    open_honour_title,
    set_star_rule,
)

START = at("2026-01-02 09:00")
TODAY = date(2026, 3, 1)
RULE = StarRule(effective_on=date(2026, 1, 1), hours=(1, 2), grades=(0, 400))


async def test_stars_count_confirmed_minutes_only(programme: Programme) -> None:
    await programme.run(set_star_rule, MAKER, RULE)
    person = new_person()
    first = await programme.record(person, START, 59)
    await programme.record(person, START + timedelta(days=1), 600)
    await programme.record_all(
        [(person, START + timedelta(days=2), 600)], status=RecordStatus.DRAFT
    )
    await programme.confirm(first)
    assert (await programme.run(get_stars, person, TODAY)).stars == 0
    second = await programme.record(person, START + timedelta(days=3), 1)
    await programme.confirm(second)
    assert (await programme.run(get_stars, person, TODAY)).stars == 1
    await programme.reverse(second)
    stars = await programme.run(get_stars, person, TODAY)
    assert (stars.stars, stars.minutes) == (0, 59)


async def test_stars_never_fall_because_points_were_spent(programme: Programme) -> None:
    await programme.run(set_star_rule, MAKER, RULE)
    person = new_person()
    await programme.confirm(await programme.record(person, START, 60))
    before = await programme.run(get_stars, person, TODAY)
    wallet = await programme.book.pool.fetchval(
        "SELECT account_id FROM account WHERE bank_id = $1 AND owner_id = $2 AND kind = 'wallet' "
        "AND unit = 'points'",
        programme.book.bank_id,
        person,
    )
    other = await programme.book.open_account()
    _, points = await programme.wallets(person)
    await programme.book.post_all(programme.book.transfer(wallet, other, points))
    assert await programme.wallets(person) == (60, 0)
    assert await programme.run(get_stars, person, TODAY) == before


async def test_quality_counts_where_the_rule_asks_for_it(programme: Programme) -> None:
    await programme.run(set_star_rule, MAKER, RULE)
    person = new_person()
    records = [await programme.record(person, START + timedelta(days=day), 60) for day in range(2)]
    with pytest.raises(WrongStepError):
        await programme.run(grade_record, CHECKER, records[0], 5)
    await programme.confirm(*records)
    assert (await programme.run(get_stars, person, TODAY)).stars == 1
    with pytest.raises(SecondPersonNeededError):
        await programme.run(grade_record, person, records[0], 5)
    await programme.run(grade_record, CHECKER, records[0], 3)
    assert (await programme.run(get_stars, person, TODAY)).stars == 1
    await programme.run(grade_record, CHECKER, records[1], 5)
    assert (await programme.run(get_stars, person, TODAY)).stars == 2
    with pytest.raises(GradedAlreadyError):
        await programme.run(grade_record, CHECKER, records[0], 5)
    with pytest.raises(InvalidInputError):
        await programme.run(grade_record, CHECKER, records[0], 6)
    await programme.reverse(records[1], SpentPolicy.REFUSE)
    assert (await programme.run(get_stars, person, TODAY)).grade == 300


async def test_rules_are_versions_that_stay(programme: Programme) -> None:
    await programme.run(set_star_rule, MAKER, RULE)
    with pytest.raises(StarRuleExistsError):
        await programme.run(set_star_rule, MAKER, RULE)
    with pytest.raises(InvalidInputError):
        await programme.run(set_star_rule, MAKER, StarRule(effective_on=TODAY, hours=(2, 1)))
    day_before = RULE.effective_on - timedelta(days=1)
    assert await programme.run(get_star_rule, day_before) == DEFAULT_RULE
    assert await programme.run(get_star_rule, RULE.effective_on) == RULE


async def test_an_honour_takes_two_others(programme: Programme) -> None:
    title = await programme.run(open_honour_title, "bangyang", "涧贤榜样")
    with pytest.raises(HonourTitleExistsError):
        await programme.run(open_honour_title, "bangyang", "榜样")
    person = new_person()
    asked = {"title_id": title.title_id, "person_id": person, "year": 2026}
    with pytest.raises(SecondPersonNeededError):
        await programme.run(nominate, person, **asked)
    with pytest.raises(NotFoundError):
        await programme.run(nominate, MAKER, **asked | {"title_id": new_id()})
    honour = await programme.run(nominate, MAKER, **asked)
    with pytest.raises(HonourExistsError):
        await programme.run(nominate, OTHER_CHECKER, **asked)
    for actor in (MAKER, person):
        with pytest.raises(SecondPersonNeededError):
            await programme.run(decide_honour, actor, honour.honour_id, HonourStatus.AWARDED)
    with pytest.raises(NotFoundError):
        await programme.run(decide_honour, CHECKER, new_id(), HonourStatus.AWARDED)
    awarded = await programme.run(decide_honour, CHECKER, honour.honour_id, HonourStatus.AWARDED)
    assert (awarded.status, awarded.decided_by) == (HonourStatus.AWARDED, CHECKER)
    with pytest.raises(WrongStepError):
        await programme.run(decide_honour, CHECKER, honour.honour_id, HonourStatus.DECLINED)
    assert await programme.run(list_honours, person_id=person) == [awarded]


async def test_declined_may_be_nominated_again_and_withdrawn_is_remembered(
    programme: Programme,
) -> None:
    title = await programme.run(open_honour_title, "xianfeng", "涧贤先锋")
    asked = {"title_id": title.title_id, "person_id": new_person(), "year": 2026}
    first = await programme.run(nominate, MAKER, **asked)
    await programme.run(decide_honour, CHECKER, first.honour_id, HonourStatus.DECLINED)
    second = await programme.run(nominate, MAKER, **asked)
    await programme.run(decide_honour, CHECKER, second.honour_id, HonourStatus.AWARDED)
    gone = await programme.run(decide_honour, MAKER, second.honour_id, HonourStatus.WITHDRAWN)
    assert (gone.status, gone.decided_by) == (HonourStatus.WITHDRAWN, CHECKER)
    listed = await programme.run(list_honours, person_id=asked["person_id"])
    assert [one.status for one in listed] == [HonourStatus.WITHDRAWN, HonourStatus.DECLINED]
