"""One life, explained: the sentences stand here word for word."""

from datetime import date
from uuid import UUID

import pytest

from tests.domain.test_lots import ANN, BOB, RULES, Story
from timebank.domain.explaining import Explainer, Explanation
from timebank.domain.languages import Language
from timebank.domain.lots import LotFold
from timebank.domain.plain_words import explain_in_words

CLEANING, LESSON, RICE, OIL, TEA = (UUID(int=n) for n in range(101, 106))
NAMES = {CLEANING: "周五清洁", RICE: "大米 5 公斤", OIL: "食用油"}

GOLDEN = {
    Language.ZH_HANS: """\
结余 24 分。
2026年4月2日，兑换「大米 5 公斤」用去 15 分：2026年3月6日服务「周五清洁」所得 10 分，\
2026年3月13日服务所得 5 分。
2026年4月3日，赠出 1 分：2026年3月13日服务所得 1 分。
2026年4月5日，为兑换「食用油」预留 4 分，尚未领取：2026年3月13日服务所得 4 分。
2026年4月20日，兑换用去 6 分（其中 2 分仍在预留）：2026年4月4日获赠 6 分。
2027年5月1日，过期 2 分：2026年4月4日获赠 2 分。
2027年5月2日，冲正收回 3 分：2027年4月15日服务所得 3 分。
现有 24 分：2027年4月10日商家回赠 20 分（2028年4月30日到期），2027年4月14日垫付 4 分。""",
    Language.ZH_HANT: """\
結餘 24 分。
2026年4月2日，兌換「大米 5 公斤」用去 15 分：2026年3月6日服務「周五清洁」所得 10 分，\
2026年3月13日服務所得 5 分。
2026年4月3日，贈出 1 分：2026年3月13日服務所得 1 分。
2026年4月5日，為兌換「食用油」預留 4 分，尚未領取：2026年3月13日服務所得 4 分。
2026年4月20日，兌換用去 6 分（其中 2 分仍在預留）：2026年4月4日獲贈 6 分。
2027年5月1日，過期 2 分：2026年4月4日獲贈 2 分。
2027年5月2日，沖正收回 3 分：2027年4月15日服務所得 3 分。
現有 24 分：2027年4月10日商家回贈 20 分（2028年4月30日到期），2027年4月14日墊付 4 分。""",
    Language.EN: """\
The balance is 24 points.
On 2026-04-02, redeemed “大米 5 公斤” for 15 points: \
10 points from service “周五清洁” on 2026-03-06, 5 points from service on 2026-03-13.
On 2026-04-03, gave away 1 point: 1 point from service on 2026-03-13.
On 2026-04-05, reserved “食用油” for 4 points, not yet collected: \
4 points from service on 2026-03-13.
On 2026-04-20, redeemed for 6 points (2 points of it still reserved): \
6 points given to you on 2026-04-04.
On 2027-05-01, 2 points expired: 2 points given to you on 2026-04-04.
On 2027-05-02, a correction took back 3 points: 3 points from service on 2027-04-15.
Left are 24 points: 20 points from a merchant on 2027-04-10 (good until 2028-04-30), \
4 points lent on 2027-04-14.""",
}


@pytest.fixture
def explanation() -> Explanation:
    """Two services, rice with a part given back, a gift each way, holds, expiry, corrections."""
    explainer = Explainer(ANN)
    story = Story()
    story.fold = LotFold(RULES, explainer.hear)
    story.post("award", 10, credit=ANN, subject=CLEANING)
    story.on = date(2026, 3, 13)
    story.post("award", 10, credit=ANN, subject=LESSON)
    story.post("award", 8, credit=BOB, subject=LESSON)
    story.on = date(2026, 4, 2)
    story.post("hold", 18, ANN, subject=RICE)
    story.post("release", 2, credit=ANN, subject=RICE)
    story.post("refund", 1, credit=ANN, subject=RICE)
    story.on = date(2026, 4, 3)
    story.post("gift", 1, ANN, BOB)
    mistaken = story.post("gift", 4, ANN, BOB)
    story.post("reversal", 4, BOB, ANN, reverses=mistaken)
    story.on = date(2026, 4, 4)
    story.post("gift", 8, BOB, ANN)
    story.on = date(2026, 4, 5)
    story.post("hold", 4, ANN, subject=OIL)
    story.on = date(2026, 4, 20)
    story.post("hold", 6, ANN, subject=TEA)
    story.on = date(2027, 4, 10)
    story.post("reissue", 20, credit=ANN)
    story.on = date(2027, 4, 14)
    story.post("debt", 4, credit=ANN)
    story.on = date(2027, 4, 15)
    doubtful = story.post("award", 3, credit=ANN, subject=LESSON)
    story.on = date(2027, 5, 1)
    story.post("expiry", 2, ANN)
    story.on = date(2027, 5, 2)
    story.post("reversal", 3, ANN, reverses=doubtful)
    return explainer.explain(story.fold, story.on, {RICE: 16, TEA: 4})


@pytest.mark.parametrize("language", Language)
def test_a_life_in_words(explanation: Explanation, language: Language) -> None:
    assert "\n".join(explain_in_words(explanation, language, NAMES)) == GOLDEN[language]


def test_a_gift_does_not_tell_the_givers_service(explanation: Explanation) -> None:
    given = [paid.source for use in explanation.uses for paid in use.paid_by]
    kinds = {source.kind: source.subject_id for source in given}
    assert kinds["gift"] is None
    assert kinds["award"]


def test_nothing_yet() -> None:
    explainer = Explainer(ANN)
    explanation = explainer.explain(LotFold(RULES), date(2026, 1, 1), {})
    assert explain_in_words(explanation, Language.EN, {}) == ["The balance is 0 points."]


def test_what_a_use_took_and_what_is_left_is_all_there_was(explanation: Explanation) -> None:
    came = 10 + 10 + 8 + 20 + 4 + 3
    used = sum(use.amount for use in explanation.uses)
    assert used + explanation.balance == came
    for use in explanation.uses:
        assert sum(paid.amount for paid in use.paid_by) == use.amount
