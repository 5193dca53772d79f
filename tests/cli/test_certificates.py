"""`timebank keys` and `certificate`: from a key to a certificate that verifies offline."""

import asyncio
from pathlib import Path

import msgspec
from click.testing import Result

from tests.book import Book
from tests.cli.test_cli import run
from tests.people.desk import Desk
from tests.service.programme import Programme, at
from timebank.domain.certificates import Document
from timebank.embedded import Server


async def test_from_key_to_paper(
    book: Book, server: Server, worker_database: str, tmp_path: Path
) -> None:
    url = server.dsn(worker_database, "timebank_app")
    key_file = str(tmp_path / "master.key")
    desk = await Desk.open(book, tmp_path)
    programme = await Programme.open(book)
    person = await desk.member()
    await programme.confirm(await programme.record(person, at("2026-01-02 09:00"), 90))

    async def call(*words: str) -> Result:
        return await asyncio.to_thread(run, *words, DATABASE_URL=url, MASTER_KEY_FILE=key_file)

    asked = ["--from", "2026-01-01", "--until", "2026-01-31", "--bank", book.bank.code]
    said = ["--in-charge", "甲", "--handler", "乙", "--contact", "丙"]
    missing = await call("certificate", "issue", str(person), *asked, *said)
    assert missing.exit_code == 1
    assert "timebank keys make" in missing.stderr
    assert (await call("keys", "make", "--bank", book.bank.code)).exit_code == 0
    published = await call("keys", "publish", "--bank", book.bank.code)
    issued = await call("certificate", "issue", str(person), *asked, *said)
    assert issued.exit_code == 0, issued.output
    keys, paper, forged = (tmp_path / name for name in ("keys", "paper.json", "forged.json"))
    keys.write_text(published.stdout)
    paper.write_text(issued.stdout)
    good = await asyncio.to_thread(run, "certificate", "verify", str(paper), "--keys", str(keys))
    assert good.exit_code == 0, good.output
    assert "1 小时 30 分" in good.stdout
    forged.write_text(issued.stdout.replace('\\"minutes\\":90', '\\"minutes\\":91'))
    assert forged.read_text() != paper.read_text()
    for bad, known, code in ((forged, keys, 1), (keys, keys, 1), (paper, paper, 2)):
        refused = await asyncio.to_thread(
            run, "certificate", "verify", str(bad), "--keys", str(known)
        )
        assert refused.exit_code == code, refused.output
    page = await asyncio.to_thread(
        run,
        "certificate",
        "print",
        str(paper),
        "--base-url",
        "https://bank.example",
        "--form",
        "html",
    )
    document = msgspec.json.decode(issued.stdout, type=Document)
    assert document.printed.name in page.stdout
    address = {"PUBLIC_URL": "https://bank.example", "FONT_DIR": str(tmp_path)}
    pdf = await asyncio.to_thread(run, "certificate", "print", str(paper), **address)
    assert pdf.exit_code == 1
    assert "fonts-noto-cjk" in pdf.stderr
    nowhere = await asyncio.to_thread(run, "certificate", "print", str(paper))
    assert "TIMEBANK_PUBLIC_URL" in nowhere.stderr
