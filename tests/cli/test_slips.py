"""`timebank slip`: a key for the bank, a list for the tills, and the till's checker."""

import asyncio
from pathlib import Path

from click.testing import Result

from tests.book import Book
from tests.cli.test_cli import run
from tests.people.desk import Desk
from tests.redemption.market import Market
from tests.redemption.slip_desk import SlipDesk
from timebank.domain.redemption import CapScope
from timebank.embedded import Server
from timebank.people.seals import Seals


async def test_from_key_to_till(
    book: Book, server: Server, worker_database: str, tmp_path: Path
) -> None:
    url = server.dsn(worker_database, "timebank_app")
    key_file = str(tmp_path / "master.key")
    desk = SlipDesk(await Market.open(book), Seals((await Desk.open(book, tmp_path)).ring))
    await desk.market.cap(CapScope.SLIP, 10)

    async def call(*words: str) -> Result:
        return await asyncio.to_thread(run, *words, DATABASE_URL=url, MASTER_KEY_FILE=key_file)

    made = await call("slip", "make-key", "--bank", book.bank.code)
    assert made.exit_code == 0, made.output
    published = await call("slip", "keys", "--bank", book.bank.code)
    keys = tmp_path / "keys.json"
    keys.write_text(published.stdout)
    assert f'"{made.stdout[:16]}"' in published.stdout
    certificates = await call("keys", "publish", "--bank", book.bank.code)
    assert made.stdout[:16] not in certificates.stdout
    text = await desk.text(await desk.issued(await desk.market.resident(10)))
    journal = ["--journal", str(tmp_path / "till.journal")]
    assert (await call("slip", "check", "init", *journal)).exit_code == 0
    given = ["--keys", str(keys), "--merchant", str(desk.market.merchant_id), *journal]
    for code, said in ((0, "✓ 可以兑换"), (1, "✗ 凭单已在本机用过")):
        taken = await call("slip", "check", "accept", *given, text)
        assert (taken.exit_code, said in taken.stdout) == (code, True), taken.output
    exported = await call("slip", "check", "export", *journal)
    assert text in exported.stdout
    assert (await call("slip", "check", "accept", *journal)).exit_code == 2
