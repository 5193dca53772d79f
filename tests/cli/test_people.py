"""`timebank people` and `timebank vault` as an operator runs them: output, exit codes, messages."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

import pytest

from tests.book import Book
from tests.people.desk import Desk, person
from tests.people.test_import_approval import importer
from tests.people.test_person_import import OLD, YOUNG, row, write
from timebank.domain.personal import IdDocument
from timebank.embedded import Server
from timebank.people.vault_keys import read_key_file


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Commands:
    """The commands, with the settings of one database and key file."""

    desk: Desk
    environment: dict[str, str]

    async def __call__(self, *arguments: str, bank: bool = True, stdin: str = "") -> Ran:
        if bank:
            arguments = (*arguments, "--bank", self.desk.book.bank.code)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "timebank", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        out, err = await process.communicate(stdin.encode())
        return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def run(own_book: Book, own_database: str, server: Server, tmp_path: Path) -> Commands:
    desk = await Desk.open(own_book, tmp_path)
    settings = {
        "TIMEBANK_DATABASE_URL": server.dsn(own_database, "timebank_app"),
        "TIMEBANK_MASTER_KEY_FILE": str(desk.ring.path),
        "NO_COLOR": "1",
    }
    return Commands(desk, {**os.environ, **settings})


async def test_importing_people(run: Commands, tmp_path: Path) -> None:
    path = str(write(tmp_path, [row("a"), row("kid", YOUNG, guardian_ref="a")]))
    dry = await run("people", "import", path, "--dry-run", "--json")
    summary = {"rows": 2, "known": 0, "registered": 2, "minors": 1}
    assert (dry.code, json.loads(dry.out)) == (0, summary)
    assert dry.err == "This was a dry run, nothing was written.\n"
    first = await run("people", "import", path)
    assert (first.code, first.out) == (
        0,
        "2 rows: 2 people registered, 1 of them minors; 0 were known.\n",
    )
    again = await run("people", "import", path, "--json")
    assert json.loads(again.out) == {"rows": 2, "known": 2, "registered": 0, "minors": 0}


async def test_two_persons_import_people(run: Commands, tmp_path: Path) -> None:
    path = str(write(tmp_path, [row("a")]))
    (_, one), (_, two) = await importer(run.desk), await importer(run.desk)
    alone = await run("people", "import", path)
    assert (alone.code, alone.out) == (1, "")
    assert "--propose" in alone.err
    proposed = await run("people", "import", path, "--propose", stdin=f"{one}\n")
    assert proposed.code == 0, proposed.err
    assert "1 rows: 1 people registered" in proposed.err
    approving = ("people", "import", path, "--approve", str(UUID(proposed.out.strip())), "--json")
    refused = await run(*approving, stdin=f"{one}\n")
    assert (refused.code, refused.out) == (1, "")
    other = str(write(tmp_path, [row("a")], "other.csv"))
    differs = await run("people", "import", other, *approving[3:], stdin=f"{two}\n")
    assert (differs.code, differs.out) == (1, "")
    done = await run(*approving, stdin=f"{two}\n")
    assert json.loads(done.out) == {"rows": 1, "known": 0, "registered": 1, "minors": 0}
    for ran in (proposed, refused, differs, done):
        assert one not in ran.out + ran.err
        assert two not in ran.out + ran.err
    both = await run("people", "import", path, "--propose", "--approve", proposed.out.strip())
    assert both.code == 2


async def test_faulty_rows_are_told_by_line_and_not_quoted(run: Commands, tmp_path: Path) -> None:
    secret = row("a", phone="12345", birth_date="13.1.1950")
    path = write(tmp_path, [row("good"), secret])
    refused = await run("people", "import", str(path))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith(f"{path}:3: birth_date must be a date such as 1953-06-29\n")
    for value in ("12345", "13.1.1950", secret["name"], secret["id_number"]):
        assert value not in refused.err


async def test_a_copy_of_ones_data(run: Commands) -> None:
    data = person()
    person_id = await run.desk.member(data)
    copied = await run("vault", "export", str(person_id))
    assert copied.code == 0
    personal = json.loads(copied.out)["personal"]
    assert isinstance(data.id_document, IdDocument)
    assert (personal["name"], personal["id_document"]["number"]) == (
        data.name,
        data.id_document.number,
    )
    listed = await run("vault", "accesses", "--person", str(person_id))
    acts = [json.loads(line)["act"] for line in listed.out.splitlines()]
    assert acts == ["register", "export"]
    assert str(data.name) not in listed.out


async def test_freezing_and_erasing(run: Commands) -> None:
    person_id = str(await run.desk.member())
    assert (await run("vault", "freeze", person_id, "--until", "2999-12-31")).out == "Frozen.\n"
    held = await run("vault", "erase", person_id, "--yes")
    assert (held.code, "Freeze it" in held.err) == (1, True)
    assert (await run("vault", "freeze", person_id, "--lift")).out == "Lifted.\n"
    other = str(await run.desk.member())
    assert (await run("vault", "erase", other)).code == 1  # nobody said yes
    assert (await run("vault", "erase", other, "--yes")).out == "Erased.\n"
    gone = await run("vault", "export", other)
    assert (gone.code, gone.out, gone.err.count("\n")) == (1, "", 1)
    both = await run("vault", "freeze", person_id, "--lift", "--until", "2030-01-01")
    assert both.code == 2


async def test_a_new_master_key(run: Commands) -> None:
    data = person(date(1970, 1, 1))
    person_id = await run.desk.member(data)
    rotated = await run("vault", "rotate-key", bank=False)
    assert rotated.code == 0
    assert rotated.out.endswith(": 1 persons and 0 secrets of 1 banks.\n")
    assert len(read_key_file(run.desk.ring.path)) == 2
    forgotten = await run("vault", "rotate-key", "--forget", bank=False)
    assert forgotten.err == "Keys taken out of the file: 2.\n"
    assert len(read_key_file(run.desk.ring.path)) == 1
    assert await run.desk.read(person_id) == data


async def test_an_open_key_file_is_refused_in_one_line(run: Commands) -> None:
    run.desk.ring.path.chmod(0o644)
    refused = await run("vault", "rotate-key", bank=False)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert f"chmod 600 {run.desk.ring.path}" in refused.err


async def test_a_database_of_yours_needs_a_key_file(run: Commands, tmp_path: Path) -> None:
    del run.environment["TIMEBANK_MASTER_KEY_FILE"]
    refused = await run("people", "import", str(write(tmp_path, [row("a", OLD)])))
    assert (refused.code, "TIMEBANK_MASTER_KEY_FILE" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "name",
    [
        ("people", "import"),
        ("vault", "export"),
        ("vault", "freeze"),
        ("vault", "erase"),
        ("vault", "accesses"),
        ("vault", "rotate-key"),
    ],
)
async def test_every_command_explains_itself_with_an_example(
    run: Commands, name: tuple[str, str]
) -> None:
    helped = await run(*name, "--help", bank=False)
    assert helped.code == 0
    assert "Example:\n    timebank " + " ".join(name) in helped.out
