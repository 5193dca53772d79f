"""Explaining a resident's balance: which points paid for what, from the book alone."""

from uuid import UUID

from timebank.db import Connection, load_queries
from timebank.domain.explaining import Explainer, Explanation
from timebank.domain.ledger import AccountKind, Unit
from timebank.ledger.accounts import find_account_of, get_account
from timebank.ledger.banks import Bank
from timebank.ledger.expiry import read_today
from timebank.ledger.lots import fold_account, get_expiry_rules

_QUERIES = load_queries(__package__)


async def explain_balance(connection: Connection, bank: Bank, account_id: UUID) -> Explanation:
    """Return what the points of a wallet or pool were used for and where the rest comes from.

    NotFoundError if there is no such account of points. It reads the account's whole history, that
    of its holds, and of givers up to their gifts.
    """
    rules = await get_expiry_rules(connection, bank.bank_id)
    explainer = Explainer(account_id)
    fold, _ = await fold_account(connection, bank, account_id, rules, explainer.hear)
    account = await get_account(connection, bank.bank_id, account_id)
    held = await find_account_of(
        connection, bank.bank_id, Unit.POINTS, AccountKind.HELD, account.owner_id
    )
    captured = {}
    if held:
        rows = await connection.fetch(_QUERIES["list_captures"], bank.bank_id, held.account_id)
        captured = dict(map(tuple, rows))
    return explainer.explain(fold, await read_today(connection, bank), captured)
