"""Why service looks as if it never happened, in figures and in words. Pure.

A suspicion decides nothing: somebody looks, and holds the activity or lets it be.
"""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from timebank.domain.languages import Language


class Reason(StrEnum):
    """Why somebody should look; the value is a stable code."""

    MADE_AFTER_ITS_END = "activities_made_after_their_end"
    APPROVED_IN_HASTE = "records_approved_in_haste"
    NO_SPREAD = "check_ins_without_spread"
    TOO_FAST = "makers_too_fast"
    AT_NIGHT = "approvals_at_night"
    SAME_NAMES = "same_names_every_time"


class Bounds(Struct, frozen=True, kw_only=True):
    """From where on it is worth a look."""

    haste_minutes: int = 5
    haste_records: int = 3
    spread_persons: int = 5
    spread_seconds_each: int = 2
    fast_minutes_a_day: int = 30 * 60
    night_from_hour: int = 0
    night_to_hour: int = 5
    night_records: int = 3
    same_persons: int = 3
    same_shifts: int = 4


class Suspicion(Struct, frozen=True, kw_only=True):
    """`subject_id` is an activity, a shift or a person, as the reason says; `other_id` who did it.

    `times` is how often it was found, `minutes` the service that hangs on it.
    """

    reason: Reason
    subject_id: UUID
    other_id: UUID | None
    times: int
    minutes: int
    bound: int


_WORDS: Mapping[Reason, Mapping[Language, str]] = {
    Reason.MADE_AFTER_ITS_END: {
        Language.ZH_HANS: "活动在结束之后才建立，却已有 {times} 条记录，共 {minutes} 分钟。",
        Language.ZH_HANT: "活動在結束之後才建立，卻已有 {times} 條記錄，共 {minutes} 分鐘。",
        Language.EN: "The activity was made after its end and has {times} records, "
        "{minutes} minutes.",
    },
    Reason.APPROVED_IN_HASTE: {
        Language.ZH_HANS: "未经签到的 {times} 条记录在录入后 {bound} 分钟内即被同一人确认，"
        "共 {minutes} 分钟。",
        Language.ZH_HANT: "未經簽到的 {times} 條記錄在錄入後 {bound} 分鐘內即被同一人確認，"
        "共 {minutes} 分鐘。",
        Language.EN: "{times} records without check-in were confirmed by one person within "
        "{bound} minutes of being written, {minutes} minutes in all.",
    },
    Reason.NO_SPREAD: {
        Language.ZH_HANS: "{times} 人几乎同时签到，每人相隔不到 {bound} 秒。",
        Language.ZH_HANT: "{times} 人幾乎同時簽到，每人相隔不到 {bound} 秒。",
        Language.EN: "{times} persons checked in almost at once, less than {bound} seconds apart.",
    },
    Reason.TOO_FAST: {
        Language.ZH_HANS: "同一人一天内录入 {times} 条未经签到的记录，共 {minutes} 分钟，"
        "达到 {bound} 分钟的界限。",
        Language.ZH_HANT: "同一人一天內錄入 {times} 條未經簽到的記錄，共 {minutes} 分鐘，"
        "達到 {bound} 分鐘的界限。",
        Language.EN: "One person wrote {times} records without check-in in a day, {minutes} "
        "minutes; the bound is {bound}.",
    },
    Reason.AT_NIGHT: {
        Language.ZH_HANS: "同一人在一夜之间确认 {times} 条记录（界限 {bound}），"
        "共 {minutes} 分钟。",
        Language.ZH_HANT: "同一人在一夜之間確認 {times} 條記錄（界限 {bound}），"
        "共 {minutes} 分鐘。",
        Language.EN: "One person confirmed {times} records in one night (bound {bound}), "
        "{minutes} minutes.",
    },
    Reason.SAME_NAMES: {
        Language.ZH_HANS: "未经签到的名单 {times} 次一字不差（界限 {bound}），共 {minutes} 分钟。",
        Language.ZH_HANT: "未經簽到的名單 {times} 次一字不差（界限 {bound}），共 {minutes} 分鐘。",
        Language.EN: "The same persons, without check-in, {times} times over (bound {bound}), "
        "{minutes} minutes.",
    },
}


def describe(suspicion: Suspicion, language: Language) -> str:
    """Return the sentence that says why; it names nobody."""
    return _WORDS[suspicion.reason][language].format(
        times=suspicion.times, minutes=suspicion.minutes, bound=suspicion.bound
    )
