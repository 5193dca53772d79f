"""`timebank settlement`: what merchants are paid for, from the draft to the closed statement."""

import asyncio
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec

from timebank.cli.running import command, err, out, settings_from_environment
from timebank.database import open_database
from timebank.db import repeat_on_conflict, transaction
from timebank.domain.errors import NotFoundError
from timebank.domain.settlement import Settlement
from timebank.ledger.banks import get_bank
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.people.parties import PartyKind, is_party
from timebank.redemption import settlements
from timebank.redemption.merchants import get_merchant
from timebank.redemption.statements import (
    statement_csv,
    statement_html,
    statement_xlsx,
    summary_rows,
)

BANK = click.option("--bank", "bank_code", default="demo", show_default=True, metavar="CODE")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
ID = click.argument("settlement_id", metavar="SETTLEMENT", type=click.UUID)
INSTANT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def settlement() -> None:
    """Settlements: draft up to a day, two persons approve, close, export."""


@settlement.command()
@BANK
@click.argument("merchant", type=click.UUID)
@click.option(
    "--until", type=INSTANT, required=True, help="The first day (or second) that is not in it."
)
@click.option(
    "--fen-rate", type=click.IntRange(0, 10**8), help="Fen (分钱) for 10,000 points, if paid."
)
@AS_JSON
@command
async def draft(
    bank_code: str, merchant: UUID, until: datetime, fen_rate: int | None, as_json: bool
) -> None:
    """Draft the statement of a merchant: all that was recorded before a day and not settled yet.

    It begins where the one before ended, so that nothing is settled twice or never. What is
    refunded later goes to the next one.

    \b
    Example:
      timebank settlement draft 0198f0c2-… --bank jianxi --until 2026-12-01
      timebank settlement draft 0198f0c2-… --bank jianxi --until 2026-12-01 --fen-rate 10000
    """
    async with open_database(settings_from_environment()) as pool:
        async with transaction(pool) as connection:
            bank = await get_bank(connection, bank_code)
        settlement_id, cut_off = new_id(), until.replace(tzinfo=bank.zone)
        drafted = await repeat_on_conflict(
            pool,
            lambda c: settlements.draft_settlement(
                c,
                bank.bank_id,
                settlement_id,
                merchant,
                cut_off=cut_off,
                fen_rate=fen_rate,
                actor_id=OPERATOR_ID,
            ),
        )
    _tell(drafted, as_json=as_json)


@settlement.command("list")
@BANK
@click.option("--merchant", type=click.UUID, help="Only of this one.")
@AS_JSON
@command
async def list_all(bank_code: str, merchant: UUID | None, as_json: bool) -> None:
    """List settlements, the latest first: id, number, state, points.

    \b
    Example:
      timebank settlement list --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        found = await settlements.list_settlements(
            connection, bank.bank_id, merchant_id=merchant, limit=1000
        )
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for one in found:
        points = one.payable if one.paid is None else one.paid
        out.print(f"{one.settlement_id}  {one.number}  {one.state}  {points:,}", soft_wrap=True)


@settlement.command()
@BANK
@ID
@AS_JSON
@command
async def show(bank_code: str, settlement_id: UUID, as_json: bool) -> None:
    """Show a settlement, and the hash that whoever approves it names.

    \b
    Example:
      timebank settlement show 0198f0c2-… --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        found = await settlements.get_settlement(connection, bank.bank_id, settlement_id)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for label, value in summary_rows(found, bank.zone):
        out.print(f"{label}: {value}", markup=False, soft_wrap=True)
    approvers = [one for one in (found.first_approver, found.second_approver) if one]
    out.print(f"复核人 approved by: {', '.join(map(str, approvers)) or '–'}", soft_wrap=True)
    out.print(f"hash: {found.content_hash.hex()}", soft_wrap=True)


@settlement.command()
@BANK
@ID
@click.option("--by", "person", type=click.UUID, required=True, help="Who approves: a person.")
@click.option("--hash", "content_hash", required=True, help="What `show` says of what they saw.")
@AS_JSON
@command
async def approve(
    bank_code: str, settlement_id: UUID, person: UUID, content_hash: str, as_json: bool
) -> None:
    """Record that a person approves a statement; the second person's approval makes it approved.

    Neither may act for the merchant.

    \b
    Example:
      timebank settlement approve 0198f0c2-… --bank jianxi --by 0198a1b3-… --hash 5d41…
    """
    try:
        seen = bytes.fromhex(content_hash)
    except ValueError as error:
        raise click.UsageError("--hash is hexadecimal, as `show` prints it.") from error
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        if not await is_party(connection, bank.bank_id, person, PartyKind.PERSON):
            raise NotFoundError(f"There is no person {person} in {bank_code}.")
        approved = await settlements.approve_settlement(
            connection, bank.bank_id, settlement_id, content_hash=seen, actor_id=person
        )
    _tell(approved, as_json=as_json)


@settlement.command()
@BANK
@ID
@AS_JSON
@command
async def close(bank_code: str, settlement_id: UUID, as_json: bool) -> None:
    """Pay an approved settlement: its points leave the merchant, and it never changes again.

    What the merchant gave back since the cut-off is not paid but carried. Closing twice is
    harmless.

    \b
    Example:
      timebank settlement close 0198f0c2-… --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool:
        async with transaction(pool) as connection:
            bank = await get_bank(connection, bank_code)
        closed = await repeat_on_conflict(
            pool,
            lambda c: settlements.close_settlement(
                c, bank.bank_id, settlement_id, actor_id=OPERATOR_ID
            ),
        )
    _tell(closed, as_json=as_json)


@settlement.command()
@BANK
@ID
@command
async def discard(bank_code: str, settlement_id: UUID) -> None:
    """Take back a settlement that is not closed, to draft it anew.

    \b
    Example:
      timebank settlement discard 0198f0c2-… --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        await settlements.discard_settlement(connection, bank.bank_id, settlement_id)
    out.print(f"{settlement_id}  discarded")


@settlement.command()
@BANK
@ID
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@command
async def export(bank_code: str, settlement_id: UUID, file: Path) -> None:
    """Write a statement to FILE: .csv, .xlsx, or .html to print and sign.

    No resident is named in it.

    \b
    Example:
      timebank settlement export 0198f0c2-… november.csv --bank jianxi
      timebank settlement export 0198f0c2-… november.html --bank jianxi
    """
    if file.suffix not in {".csv", ".xlsx", ".html"}:
        raise click.UsageError("FILE ends in .csv, .xlsx or .html.")
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, bank_code)
        found = await settlements.get_settlement(connection, bank.bank_id, settlement_id)
        lines = await settlements.list_lines(connection, bank.bank_id, found)
        merchant = await get_merchant(connection, bank.bank_id, found.merchant_id)
    if file.suffix == ".csv":
        content = statement_csv(found, lines, bank.zone)
    elif file.suffix == ".html":
        content = statement_html(found, lines, bank.zone, merchant.name).encode()
    else:
        content = statement_xlsx(found, lines, bank.zone, merchant.name)
    await asyncio.to_thread(file.write_bytes, content)
    err.print(f"{len(lines):,} lines, {found.total:,} points.")


def _tell(found: Settlement, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    points = found.payable if found.paid is None else found.paid
    out.print(f"{found.settlement_id}  {found.state}  {points:,} points", soft_wrap=True)
    out.print(f"hash: {found.content_hash.hex()}", soft_wrap=True)
