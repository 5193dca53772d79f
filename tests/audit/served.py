"""A programme in which everything of service has happened once: what tamperings are tried on."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from tests.book import Book
from tests.service.programme import CHECKER, MAKER, Programme, at, new_person
from timebank.ledger.ids import new_id
from timebank.service.records import reject_records

NINE = at("2026-01-02 09:00")
HOUR = timedelta(hours=1)


class Served(NamedTuple):
    """The ids that tests name."""

    person: UUID
    plain: UUID
    night: UUID
    hours_alone: UUID
    later: UUID
    reversed: UUID
    rounded: UUID
    rejected: UUID
    waiting: UUID
    rate: UUID
    plain_hours: UUID
    plain_points: UUID
    night_hours: UUID
    rounding: UUID
    certificate: UUID


async def served_programme(book: Book) -> Served:
    """Confirm, reject and reverse, with and without points, over midnight and between rates."""
    programme = await Programme.open(book)
    rate = await programme.set_rate(programme.category_id, 12, at("2026-01-02").date())
    person, other = new_person(), new_person()
    plain, later, hours_alone, reversed_, waiting = await programme.record_all(
        [(person, NINE + n * HOUR, minutes) for n, minutes in enumerate((60, 45, 2, 30, 20))]
    )
    night = await programme.record(person, at("2026-01-01 22:00"), 180)
    awards = await programme.confirm(hours_alone, plain, night, later, reversed_)
    await programme.reverse(reversed_)
    four, one = await programme.record_all([(other, NINE, 4), (other, NINE + HOUR, 1)])
    await programme.confirm(four, one)
    undone = await programme.reverse(four)
    assert undone.extra_points == 1
    rejected = await programme.record(person, NINE, 60)
    await programme.run(reject_records, CHECKER, [rejected])
    rounding = await book.pool.fetchval(
        "SELECT extra_transfer_id FROM award_reversal WHERE record_id = $1", four
    )
    certificate = new_id()
    await book.pool.execute(
        "SELECT close_certificate($1, $2, '0123456789ABCDEF', $3, '2026-01-01', '2026-12-31', $4, "
        "'{\"minutes\":105}', 'no key', $5, $6)",
        book.bank_id,
        certificate,
        person,
        [plain, later],
        bytes(64),
        MAKER,
    )
    by_record = {award.record_id: award for award in awards}
    assert by_record[hours_alone].points == 0
    points_id = by_record[plain].points_transfer_id
    assert points_id
    return Served(
        person=person,
        plain=plain,
        night=night,
        hours_alone=hours_alone,
        later=later,
        reversed=reversed_,
        rounded=four,
        rejected=rejected,
        waiting=waiting,
        rate=rate,
        plain_hours=by_record[plain].hours_transfer_id,
        plain_points=points_id,
        night_hours=by_record[night].hours_transfer_id,
        rounding=rounding,
        certificate=certificate,
    )
