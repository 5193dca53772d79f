"""Stars are counted, never kept; named honours one nominates and another awards."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.stars import DEFAULT_RULE, StarRule, Stars, count_stars, find_faults
from timebank.ledger.ids import new_id
from timebank.people.parties import check_persons

_QUERIES = load_queries(__package__)


class HonourStatus(StrEnum):
    """nominated -> awarded or declined; awarded -> withdrawn."""

    NOMINATED = "nominated"
    AWARDED = "awarded"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class HonourTitle(Struct, frozen=True):
    """A named honour of a bank, such as 榜样 or 先锋."""

    title_id: UUID
    code: str
    name: str


class Honour(Struct, frozen=True, kw_only=True):
    """A named honour for a person and year, or the nomination for it."""

    honour_id: UUID
    title_id: UUID
    person_id: UUID
    year: int
    status: HonourStatus
    nominated_by: UUID
    decided_by: UUID | None
    decided_at: datetime | None


# ---- Stars -------------------------------------------------------------------------------------


async def set_star_rule(
    connection: Connection, bank_id: int, actor_id: UUID, rule: StarRule
) -> None:
    """Add a version that takes effect on its day; InvalidInputError, StarRuleExistsError."""
    if fault := find_faults(rule):
        raise InvalidInputError(fault)
    await connection.execute(
        _QUERIES["set_star_rule"], bank_id, rule.effective_on, rule.hours, rule.grades, actor_id
    )


async def get_star_rule(connection: Connection, bank_id: int, on: date) -> StarRule:
    """Return the version in force on a local day, the default before a bank has one."""
    row = await connection.fetchrow(_QUERIES["find_star_rule"], bank_id, on)
    return DEFAULT_RULE if row is None else as_struct(row, StarRule)


async def list_star_rules(connection: Connection, bank_id: int) -> list[StarRule]:
    """Return all rules that were set, by the day they begin."""
    rows = await connection.fetch(_QUERIES["list_star_rules"], bank_id)
    return [as_struct(row, StarRule) for row in rows]


async def get_stars(connection: Connection, bank_id: int, person_id: UUID, on: date) -> Stars:
    """Return a person's stars by the rule in force on that day and all that is confirmed now.

    None for somebody nobody knows. The hours of a reversed record are gone, and with them a star
    that needed them; that is seen at the next look and nothing has to be told.
    """
    rule = await get_star_rule(connection, bank_id, on)
    row = await connection.fetchrow(_QUERIES["read_merit"], bank_id, person_id)
    return count_stars(rule, row["minutes"], row["grade"])


async def grade_record(
    connection: Connection, bank_id: int, actor_id: UUID, record_id: UUID, grade: int
) -> None:
    """Grade a confirmed record from 1 to 5, once.

    NotFoundError, WrongStepError if it is not confirmed, SecondPersonNeededError for one's own,
    GradedAlreadyError.
    """
    if not 1 <= grade <= 5:
        raise InvalidInputError("A grade is from 1 to 5.", pointer="/grade")
    await connection.execute(_QUERIES["grade_record"], bank_id, record_id, actor_id, grade)


# ---- Named honours -----------------------------------------------------------------------------


async def open_honour_title(
    connection: Connection, bank_id: int, code: str, name: str
) -> HonourTitle:
    """Add a named honour; HonourTitleExistsError if there is one of this code."""
    title = HonourTitle(new_id(), code, name)
    await connection.execute(_QUERIES["open_honour_title"], bank_id, title.title_id, code, name)
    return title


async def list_honour_titles(connection: Connection, bank_id: int) -> list[HonourTitle]:
    """Return the named honours of a bank by their codes."""
    rows = await connection.fetch(_QUERIES["list_honour_titles"], bank_id)
    return [as_struct(row, HonourTitle) for row in rows]


async def nominate(
    connection: Connection,
    bank_id: int,
    actor_id: UUID,
    *,
    title_id: UUID,
    person_id: UUID,
    year: int,
) -> Honour:
    """Nominate a person for a named honour of a year; another one decides.

    NotFoundError, HonourExistsError, SecondPersonNeededError for oneself.
    """
    await check_persons(connection, bank_id, [person_id])
    titles = await list_honour_titles(connection, bank_id)
    if title_id not in {title.title_id for title in titles}:
        raise NotFoundError
    if not 2000 <= year <= 2999:
        raise InvalidInputError("The year has four digits.", pointer="/year")
    honour_id = new_id()
    await connection.execute(
        _QUERIES["nominate"], bank_id, honour_id, title_id, person_id, year, actor_id
    )
    return await get_honour(connection, bank_id, honour_id)


async def decide_honour(
    connection: Connection, bank_id: int, actor_id: UUID, honour_id: UUID, status: HonourStatus
) -> Honour:
    """Award or decline what was nominated, or withdraw what was awarded.

    NotFoundError, WrongStepError; SecondPersonNeededError for who nominated or is nominated.
    """
    await connection.execute(_QUERIES["decide_honour"], bank_id, honour_id, actor_id, status)
    return await get_honour(connection, bank_id, honour_id)


async def get_honour(connection: Connection, bank_id: int, honour_id: UUID) -> Honour:
    """Return the honour; NotFoundError if there is none."""
    row = await connection.fetchrow(_QUERIES["find_honour"], bank_id, honour_id)
    if row is None:
        raise NotFoundError
    return as_struct(row, Honour)


async def list_honours(
    connection: Connection,
    bank_id: int,
    *,
    person_id: UUID | None = None,
    status: HonourStatus | None = None,
    within: UUID | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[Honour]:
    """Return honours and nominations, newest first; of one person or status if given.

    Of those who hang on the branch `within` or below, and older than `before`, if given.
    """
    rows = await connection.fetch(
        _QUERIES["list_honours"], bank_id, person_id, status, within, before, limit
    )
    return [as_struct(row, Honour) for row in rows]
