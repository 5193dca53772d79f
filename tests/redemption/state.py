"""All that can be seen of a bank with one merchant, compared with the model."""

from tests.redemption.market import Market
from tests.redemption.model import Model

STATE = """
SELECT 'balance', a.kind::text, a.owner_id::text, b.balance::text
FROM account a JOIN balance b USING (bank_id, account_id)
WHERE bank_id = $1 AND a.kind <> 'issuance'
  AND (b.balance <> 0 OR a.kind NOT IN ('held', 'retired'))  -- opened at their first use
UNION ALL
SELECT 'hold', hold_id::text, state::text, format('%s %s %s', captured, refunded, returned)
FROM hold WHERE bank_id = $1
UNION ALL
SELECT 'stock', offer_id::text, '', available::text FROM stock WHERE bank_id = $1
UNION ALL
SELECT 'cap', scope::text, format('%s %s', subject_id, nullif(offer_id, nil_id())), used::text
FROM cap_use WHERE bank_id = $1 AND used <> 0
UNION ALL
SELECT 'act', act_id::text, status::text, coalesce(cap::text, '')
FROM redemption_act WHERE bank_id = $1 AND kind <> 'expire'
"""


async def check_state(market: Market, model: Model) -> None:
    """Balances, holds, stock, caps and acts are those of the model, and there are no others."""
    stands = [("merchant", market.merchant_id, model.till)]
    stands += [
        ("wallet" if account in model.wallets else "pool", owner, model.points[account])
        for account, owner in model.owners.items()
    ]
    stands += [("held", owner, points) for owner, points in model.held.items() if points]
    stands += [("retired", None, model.retired)] if model.retired else []
    expected = {
        *(("balance", kind, owner and str(owner), str(n)) for kind, owner, n in stands),
        *(
            (
                "hold",
                str(key),
                held.state.value,
                f"{held.captured} {held.refunded} {held.returned}",
            )
            for key, held in model.holds.items()
        ),
        *(
            ("stock", str(key), "", str(thing.stock))
            for key, thing in model.things.items()
            if thing.stock is not None
        ),
        *(
            ("cap", scope.value, f"{subject} {offer or ''}", str(used))
            for (scope, subject, offer), used in model.used.items()
            if used
        ),
        *(
            ("act", str(key), told.status.value, told.cap.value if told.cap else "")
            for key, (_, told) in model.acts.items()
        ),
    }
    rows = {tuple(row) for row in await market.book.pool.fetch(STATE, market.bank_id)}
    assert rows == expected, f"{rows - expected} instead of {expected - rows}"
