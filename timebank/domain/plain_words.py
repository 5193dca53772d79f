"""An explanation in sentences that a person reads: 简体, 繁體, English. Pure.

One sentence for each use, then one for what is left. The caller names what it knows by subject_id:
an activity, what a redemption was for.
"""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from msgspec import Struct

from timebank.domain.explaining import Explanation, Source, Unspent, Use
from timebank.domain.languages import Language
from timebank.domain.ledger import TransferKind as Kind


class _Words(Struct, frozen=True, kw_only=True):
    """The sentences of one language; {n} is an amount with its unit."""

    points: str
    points_one: str
    day: str
    name: str
    balance: str
    left: str
    good_until: str
    uses: Mapping[Kind, str]
    other_use: str
    held: str
    partly_held: str
    sources: Mapping[Kind, str]
    other_source: str
    between: str


_WORDS = {
    Language.ZH_HANS: _Words(
        points="{} 分",
        points_one="{} 分",
        day="{0.year}年{0.month}月{0.day}日",
        name="「{}」",
        balance="结余 {n}。",
        left="现有 {n}：{sources}。",
        good_until="（{day}到期）",
        uses={
            Kind.HOLD: "{day}，兑换{name}用去 {n}：{sources}。",
            Kind.GIFT: "{day}，赠出 {n}：{sources}。",
            Kind.EXPIRY: "{day}，过期 {n}：{sources}。",
            Kind.REPAYMENT: "{day}，归还欠分 {n}：{sources}。",
            Kind.REVERSAL: "{day}，冲正收回 {n}：{sources}。",
        },
        other_use="{day}，转出 {n}：{sources}。",
        held="{day}，为兑换{name}预留 {n}，尚未领取：{sources}。",
        partly_held="{day}，兑换{name}用去 {n}（其中 {held}仍在预留）：{sources}。",
        sources={
            Kind.AWARD: "{day}服务{name}所得 {n}",
            Kind.GIFT: "{day}获赠 {n}",
            Kind.REISSUE: "{day}商家回赠 {n}",
            Kind.DEBT: "{day}垫付 {n}",
            Kind.TRANSFER: "{day}转入 {n}",
        },
        other_source="{day}退回 {n}",
        between="，",
    ),
    Language.ZH_HANT: _Words(
        points="{} 分",
        points_one="{} 分",
        day="{0.year}年{0.month}月{0.day}日",
        name="「{}」",
        balance="結餘 {n}。",
        left="現有 {n}：{sources}。",
        good_until="（{day}到期）",
        uses={
            Kind.HOLD: "{day}，兌換{name}用去 {n}：{sources}。",
            Kind.GIFT: "{day}，贈出 {n}：{sources}。",
            Kind.EXPIRY: "{day}，過期 {n}：{sources}。",
            Kind.REPAYMENT: "{day}，歸還欠分 {n}：{sources}。",
            Kind.REVERSAL: "{day}，沖正收回 {n}：{sources}。",
        },
        other_use="{day}，轉出 {n}：{sources}。",
        held="{day}，為兌換{name}預留 {n}，尚未領取：{sources}。",
        partly_held="{day}，兌換{name}用去 {n}（其中 {held}仍在預留）：{sources}。",
        sources={
            Kind.AWARD: "{day}服務{name}所得 {n}",
            Kind.GIFT: "{day}獲贈 {n}",
            Kind.REISSUE: "{day}商家回贈 {n}",
            Kind.DEBT: "{day}墊付 {n}",
            Kind.TRANSFER: "{day}轉入 {n}",
        },
        other_source="{day}退回 {n}",
        between="，",
    ),
    Language.EN: _Words(
        points="{} points",
        points_one="{} point",
        day="{0:%Y-%m-%d}",
        name=" “{}”",
        balance="The balance is {n}.",
        left="Left are {n}: {sources}.",
        good_until=" (good until {day})",
        uses={
            Kind.HOLD: "On {day}, redeemed{name} for {n}: {sources}.",
            Kind.GIFT: "On {day}, gave away {n}: {sources}.",
            Kind.EXPIRY: "On {day}, {n} expired: {sources}.",
            Kind.REPAYMENT: "On {day}, repaid a debt of {n}: {sources}.",
            Kind.REVERSAL: "On {day}, a correction took back {n}: {sources}.",
        },
        other_use="On {day}, passed on {n}: {sources}.",
        held="On {day}, reserved{name} for {n}, not yet collected: {sources}.",
        partly_held="On {day}, redeemed{name} for {n} ({held} of it still reserved): {sources}.",
        sources={
            Kind.AWARD: "{n} from service{name} on {day}",
            Kind.GIFT: "{n} given to you on {day}",
            Kind.REISSUE: "{n} from a merchant on {day}",
            Kind.DEBT: "{n} lent on {day}",
            Kind.TRANSFER: "{n} passed to you on {day}",
        },
        other_source="{n} returned on {day}",
        between=", ",
    ),
}


def explain_in_words(
    explanation: Explanation, language: Language, names: Mapping[UUID, str]
) -> list[str]:
    """Return the balance, then what each use was paid with, then what is left, a sentence each.

    `names` are those of subjects; one that is missing is left out of its sentence.
    """
    writer = _Writer(_WORDS[language], names)
    sentences = [writer.balance(explanation.balance), *map(writer.use, explanation.uses)]
    if explanation.unspent:
        sentences.append(writer.left(explanation))
    return sentences


class _Writer:
    """Writes in one language."""

    def __init__(self, words: _Words, names: Mapping[UUID, str]) -> None:
        self._words = words
        self._names = names

    def balance(self, amount: int) -> str:
        return self._words.balance.format(n=self._amount(amount))

    def use(self, use: Use) -> str:
        words = self._words
        sentence = words.uses.get(use.kind, words.other_use)
        if use.still_held:
            sentence = words.held if use.still_held == use.amount else words.partly_held
        sources = [self._source(paid.source, paid.amount) for paid in use.paid_by]
        return sentence.format(
            day=self._day(use.on),
            name=self._name(use.subject_id),
            n=self._amount(use.amount),
            held=self._amount(use.still_held),
            sources=words.between.join(sources),
        )

    def left(self, explanation: Explanation) -> str:
        sources = map(self._unspent, explanation.unspent)
        return self._words.left.format(
            n=self._amount(explanation.balance), sources=self._words.between.join(sources)
        )

    def _unspent(self, unspent: Unspent) -> str:
        source = self._source(unspent.source, unspent.amount)
        if unspent.expires_on is None:
            return source
        return source + self._words.good_until.format(day=self._day(unspent.expires_on))

    def _source(self, source: Source, amount: int) -> str:
        sentence = self._words.sources.get(source.kind, self._words.other_source)
        return sentence.format(
            day=self._day(source.on), name=self._name(source.subject_id), n=self._amount(amount)
        )

    def _name(self, subject_id: UUID | None) -> str:
        name = self._names.get(subject_id) if subject_id else None
        return self._words.name.format(name) if name else ""

    def _amount(self, amount: int) -> str:
        return (self._words.points_one if amount == 1 else self._words.points).format(amount)

    def _day(self, day: date) -> str:
        return self._words.day.format(day)
