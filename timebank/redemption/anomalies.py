"""What a human should look at: nothing is decided by it, each reason says how often and who."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.db import Connection, as_struct, load_queries

_QUERIES = load_queries(__package__)


class AnomalyReason(StrEnum):
    """Why somebody should look; the value is the name of its query."""

    NEAR_CAP = "persons_near_their_cap"
    SAME_PAIR = "pairs_again_and_again"
    FOR_ONESELF = "captures_for_oneself"
    REFUND_OF_ANOTHERS = "refunds_of_others_captures"
    REFUNDS_TO_ONE = "refunds_to_one_resident"
    GUESSED_CODES = "actors_who_guess_codes"
    SLIPS_AGAIN = "slips_taken_again"


class Bounds(Struct, frozen=True, kw_only=True):
    """From how many times on it is worth a look; a day is near its cap from this share on."""

    near_cap_share: float = 0.9
    near_cap_days: int = 3
    same_pair: int = 5
    for_oneself: int = 1
    refunds_of_anothers: int = 2
    refunds_to_one: int = 3
    guessed_codes: int = 5
    slips_again: int = 1


class Anomaly(Struct, frozen=True, kw_only=True):
    """`subject_id` did it `times` times, with or to `other_id` where there is one."""

    reason: AnomalyReason
    subject_id: UUID
    other_id: UUID | None
    times: int


async def list_anomalies(
    connection: Connection,
    bank_id: int,
    since: date,
    *,
    bounds: Bounds | None = None,
    limit: int = 50,
) -> list[Anomaly]:
    """Return up to `limit` anomalies for each reason since that local day, the worst first."""
    bounds = bounds or Bounds()
    least = {
        AnomalyReason.NEAR_CAP: (bounds.near_cap_share, bounds.near_cap_days),
        AnomalyReason.SAME_PAIR: (bounds.same_pair,),
        AnomalyReason.FOR_ONESELF: (bounds.for_oneself,),
        AnomalyReason.REFUND_OF_ANOTHERS: (bounds.refunds_of_anothers,),
        AnomalyReason.REFUNDS_TO_ONE: (bounds.refunds_to_one,),
        AnomalyReason.GUESSED_CODES: (bounds.guessed_codes,),
        AnomalyReason.SLIPS_AGAIN: (bounds.slips_again,),
    }
    return [
        as_struct({**record, "reason": reason}, Anomaly)
        for reason, parameters in least.items()
        for record in await connection.fetch(_QUERIES[reason], bank_id, since, *parameters, limit)
    ]
