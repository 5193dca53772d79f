"""`timebank keys` and `timebank certificate`: what a bank signs with, and what it signed."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import click
import msgspec

from timebank.cli.running import command, out, settings_from_environment
from timebank.database import open_database
from timebank.db import transaction
from timebank.domain.certificates import Document, PublicKeys, RevocationReason, say_time
from timebank.domain.service_errors import CertificateForgedError, PublicUrlMissingError
from timebank.files import read_file
from timebank.ledger.banks import get_bank
from timebank.ledger.ids import new_id
from timebank.people.grants import OPERATOR_ID
from timebank.people.seals import Seals
from timebank.people.vault_keys import open_key_ring
from timebank.service.certificate_pdf import make_pdf
from timebank.service.certificate_print import render
from timebank.service.certificates import Order, issue_certificate, revoke_certificate
from timebank.service.signing import make_signing_key, publish_keys, verify

_BANK = click.option("--bank", "code", default="demo", show_default=True, help="Code of the bank.")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def keys() -> None:
    """Keys that a bank signs certificates with."""


@keys.command("make")
@_BANK
@command
async def make_key(code: str) -> None:
    """Make a key that signs from now on; certificates of the keys before stay good.

    \b
    Example:
      timebank keys make --bank jianxi
    """
    settings = settings_from_environment()
    async with open_database(settings) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, code)
        seals = Seals(open_key_ring(settings))
        made = await make_signing_key(connection, seals, bank.bank_id, OPERATOR_ID)
    out.print(f"{made.key_id} signs from now on. Publish it: timebank keys publish --bank {code}")


@keys.command()
@_BANK
@command
async def publish(code: str) -> None:
    """Print the public keys as JSON, for all who verify without us.

    The service tells the same at /api/v1/certificate-keys/CODE.

    \b
    Example:
      timebank keys publish --bank jianxi > jianxi-keys.json
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        published = await publish_keys(connection, await get_bank(connection, code))
    click.echo(msgspec.json.encode(published))


@click.group()
def certificate() -> None:
    """Certificates of voluntary service 志愿服务记录证明."""


@certificate.command()
@click.argument("person_id", metavar="PERSON", type=click.UUID)
@click.option("--from", "from_on", type=_DAY, required=True, help="First local day.")
@click.option("--until", "until_on", type=_DAY, required=True, help="Last local day.")
@click.option("--in-charge", required=True, help="负责人, as printed.")
@click.option("--handler", required=True, help="经办人, as printed.")
@click.option("--contact", required=True, help="联系方式, as printed.")
@click.option("--notes", default="", help="备注, as printed.")
@click.option("--by", "actor_id", type=click.UUID, help="Who issues; the operator, if not said.")
@_BANK
@command
async def issue(
    person_id: UUID, from_on: datetime, until_on: datetime, actor_id: UUID | None, **said: str
) -> None:
    """Issue a certificate and print it as JSON; it is not kept, so store it.

    \b
    Example:
      timebank certificate issue 0198f0c2-… --bank jianxi --from 2026-01-01 --until 2026-12-31 \\
        --in-charge 王某 --handler 李某 --contact 0379-… > certificate.json
    """
    settings = settings_from_environment()
    async with open_database(settings) as pool:
        async with transaction(pool) as connection:
            bank = await get_bank(connection, said.pop("code"))
        order = Order(
            person_id=person_id,
            from_on=from_on.date(),
            until_on=until_on.date(),
            issued_on=_today(bank.zone),
            **said,
        )
        issued = await issue_certificate(
            pool,
            open_key_ring(settings),
            bank,
            order,
            actor_id=actor_id or OPERATOR_ID,
            request_id=f"command {new_id()}",
        )
    click.echo(msgspec.json.encode(issued.document))


@certificate.command()
@click.argument("certificate_id", metavar="CERTIFICATE", type=click.UUID)
@click.option(
    "--reason", type=click.Choice(list(RevocationReason)), required=True, help="Why it is ended."
)
@_BANK
@command
async def revoke(certificate_id: UUID, reason: RevocationReason, code: str) -> None:
    """End a certificate for good.

    \b
    Example:
      timebank certificate revoke 0198f0c2-… --reason lost --bank jianxi
    """
    async with open_database(settings_from_environment()) as pool, transaction(pool) as connection:
        bank = await get_bank(connection, code)
        done = await revoke_certificate(
            connection, bank.bank_id, OPERATOR_ID, certificate_id, reason
        )
    out.print(f"{done.number}: {done.status}")


@certificate.command("verify")
@click.argument("path", metavar="CERTIFICATE.json", type=_FILE)
@click.option("--keys", "keys_path", type=_FILE, required=True, help="What the bank published.")
@command
async def verify_file(path: Path, keys_path: Path) -> None:
    """Verify a certificate with the published keys; asks no service and no database.

    Exit code 0: the bank signed just this. 1: it did not. 2: the keys cannot be read. Whether it
    was revoked since, only the public check of its number tells.

    \b
    Example:
      timebank certificate verify certificate.json --keys jianxi-keys.json
    """
    try:
        published = msgspec.json.decode(read_file(keys_path), type=PublicKeys)
    except (msgspec.MsgspecError, ValueError) as error:
        raise click.BadParameter(
            "This is no list of a bank's keys.", param_hint="--keys"
        ) from error
    try:
        document = msgspec.json.decode(read_file(path), type=Document)
    except (msgspec.MsgspecError, ValueError):
        raise CertificateForgedError from None
    found = verify(document, published)
    printed = document.printed
    out.print(
        f"✓ {found.number}: {found.from_on} – {found.until_on}, {say_time(found.minutes)} "
        f"({found.issuer})\n  {printed.name} {printed.id_number}\n"
        "  The paper must say so too. Whether it was revoked, only the check of its number tells.",
        markup=False,
        soft_wrap=True,
    )


@certificate.command("print")
@click.argument("path", metavar="CERTIFICATE.json", type=_FILE)
@click.option("--base-url", help="Where the check is served, https; TIMEBANK_PUBLIC_URL.")
@click.option("--form", type=click.Choice(["pdf", "html"]), default="pdf", show_default=True)
@command
async def print_form(path: Path, base_url: str | None, form: str) -> None:
    """Write the certificate as PDF, or as an HTML page, with the QR code of its check.

    It prints what it is given: verify a document that comes from elsewhere first. PDF needs the
    extra `pdf`, and a Chinese font (see TIMEBANK_FONT_DIR).

    \b
    Example:
      timebank certificate print certificate.json --base-url https://bank.example > c.pdf
    """
    settings = settings_from_environment()
    base_url = base_url or settings.public_url
    if base_url is None:
        raise PublicUrlMissingError
    try:
        document = msgspec.json.decode(read_file(path), type=Document)
    except (msgspec.MsgspecError, ValueError):
        raise CertificateForgedError from None
    if form == "html":
        click.echo(render(document, base_url).encode())  # UTF-8 wherever it runs
    else:
        pdf = await asyncio.to_thread(make_pdf, document, base_url, settings.font_dir)
        click.echo(pdf, nl=False)


def _today(zone: ZoneInfo) -> date:
    return datetime.now(UTC).astimezone(zone).date()
