"""The command `timebank`: help with examples, misuse, refusals in one line, banks and tokens."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import click
import httpx
import pytest
from click.testing import CliRunner, Result

from tests.api.client import Api, Caller, new_key, register
from tests.api.conftest import api, app, http
from tests.api.service import free_port
from tests.book import Book
from timebank import __version__
from timebank.cli.main import main
from timebank.cli.serving import base_url
from timebank.embedded import Server
from timebank.ledger.ids import new_id
from timebank.people.access import Principal, Role
from timebank.people.grants import grant_role, list_grants, revoke_grant
from timebank.people.parties import PartyKind, register_parties
from timebank.people.sessions import find_principals, hash_token

__all__ = ["api", "app", "http"]
"""Some commands are seen by what the API says afterwards."""

USED = 0
REFUSED = 1
MISUSED = 2
INTERRUPTED = 130


def leaves(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something, but for those that help hides."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *words, name)
        elif not command.hidden:
            yield (*words, name)


def groups(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that only gathers others."""
    yield words
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *words, name)


@pytest.fixture
def url(server: Server, worker_database: str) -> str:
    """The worker's database, as the service sees it."""
    return server.dsn(worker_database, "timebank_app")


def run(*words: str, stdin: str | None = None, **environment: str) -> Result:
    """Run `timebank` with these words in this process."""
    cleared = {name: None for name in os.environ if name.startswith("TIMEBANK_")}
    given = {f"TIMEBANK_{name}": value for name, value in environment.items()}
    return CliRunner().invoke(main, words, input=stdin, env={**cleared, **given})


def check_one_line(result: Result, *parts: str) -> None:
    """Assert that the command was refused in one line on stderr."""
    assert result.exit_code == REFUSED, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("✗ ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == USED
    assert __version__ in result.output


@pytest.mark.parametrize("words", list(leaves(main)), ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_of_every_command_has_an_example(words: tuple[str, ...], flag: str) -> None:
    result = run(*words, flag)
    assert result.exit_code == USED
    assert "Example:" in result.output
    assert f" timebank {' '.join(words)}" in result.output.partition("Example:")[2]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("words", [["-h"], ["branch", "-h"]], ids=" ".join)
@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_help_needs_no_unicode(words: list[str], encoding: str) -> None:
    result = CliRunner(charset=encoding).invoke(main, words)
    assert result.exit_code == USED, result.exception


def test_the_demo_leaves_a_database_of_somebody_alone(server: Server, own_database: str) -> None:
    url = server.dsn(own_database, "timebank_app")
    check_one_line(run("demo", "--no-serve", DATABASE_URL=url), "TIMEBANK_DATABASE_URL")
    assert run("reconcile", "--bank", "demo", DATABASE_URL=url).exit_code == MISUSED
    shown = run("demo", "--no-serve", "--external", DATABASE_URL=url)
    assert shown.exit_code == USED, shown.output
    assert run("reconcile", "--bank", "demo", DATABASE_URL=url).exit_code == USED
    nowhere = run("demo", "--external", DATABASE_URL=url, HOST="192.0.2.1")
    assert nowhere.exit_code == REFUSED
    assert "✗ Nothing can listen on 192.0.2.1" in nowhere.stderr


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert base_url("::1", 8470) == "http://[::1]:8470"
    assert base_url("127.0.0.1", 8470) == "http://127.0.0.1:8470"


@pytest.mark.parametrize("words", list(groups(main)), ids=" ".join)
def test_the_help_of_every_group_lists_its_commands(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == USED
    assert "Commands:" in result.output


@pytest.mark.parametrize(
    "words",
    [
        "dance",
        "--dance",
        "serve --dance",
        "serve now",
        "serve --port x",
        "serve --port 65536",
        "serve --port -1",
        "bank open",
        "bank open x",
        "bank close x",
        "token issue",
        "token issue --role king",
        "token issue --role integrator --days 0",
        "token issue --role integrator --days x",
        "token issue --role resident",
        "token issue --role resident --resident x",
        "token issue --role auditor --system 0198f0c2-0000-7000-8000-000000000000",
        "token issue --role integrator --resident 0198f0c2-0000-7000-8000-000000000000",
        "token revoke tb_x",
    ],
)
def test_misuse_exits_with_2(words: str) -> None:
    result = run(*words.split())
    assert result.exit_code == MISUSED
    assert "Usage:" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("words", ["serve", "token revoke", "bank open x --name x"])
@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("PORT", "99999", "port"),
        ("LOG_LEVEL", "loud", "log_level"),
        ("POOL_SIZE", "0", "pool_size"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/timebank", "cannot be reached"),
        ("DATABASE_URL", "mysql://127.0.0.1/timebank", "cannot be reached"),
        ("DATABASE_URL", "nonsense", "cannot be reached"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(
    words: str, setting: str, value: str, part: str
) -> None:
    check_one_line(run(*words.split(), stdin="", **{setting: value}), part)


def test_a_mistyped_setting_is_one_line(open_dir: Path) -> None:
    mistyped = {"DATABASE_ULR": "postgresql://a", "DATA_DIR": str(open_dir / "data")}
    result = run("bank", "open", "x", "--name", "x", **mistyped)
    check_one_line(result, "There is no setting TIMEBANK_DATABASE_ULR; there are")
    assert not (open_dir / "data").exists()


@pytest.mark.parametrize("words", ["serve", "token issue --role integrator"])
def test_a_database_that_is_not_ours_is_one_line(server: Server, words: str) -> None:
    result = run(*words.split(), DATABASE_URL=server.dsn("postgres"))
    check_one_line(result, "another schema.sql")


async def test_a_password_is_not_told() -> None:
    url = "postgresql://timebank_app:s3cret@127.0.0.1:1/timebank"
    result = await asyncio.to_thread(run, "token", "revoke", stdin="", DATABASE_URL=url)
    check_one_line(result)
    assert "s3cret" not in result.output


def test_a_bank_is_opened_once(url: str) -> None:
    code = f"b{new_id().hex[:16]}"
    for name in ("涧贤银行 [bold]", "another"):
        result = run("bank", "open", code, "--name", name, DATABASE_URL=url)
        assert result.exit_code == USED
        assert result.stdout == f"bank {code}: 涧贤银行 [bold], Asia/Shanghai, 10 points an hour\n"


@pytest.mark.parametrize(
    ("code", "name"),
    [("Upper", "x"), ("1st", "x"), ("涧贤", "x"), ("a" * 33, "x"), ("b", "x" * 81)],
)
def test_a_code_and_a_name_have_their_form(url: str, code: str, name: str) -> None:
    check_one_line(run("bank", "open", code, "--name", name, DATABASE_URL=url), "a-z")


def issued(book: Book, url: str, *options: str) -> str:
    """Issue a token from the command line."""
    result = run("token", "issue", "--bank", book.bank.code, *options, DATABASE_URL=url)
    assert result.exit_code == USED, result.stderr
    assert "not shown again" in " ".join(result.stderr.split())
    [token] = result.stdout.splitlines()
    return token


async def whose(book: Book, token: str) -> Principal | None:
    async with book.pool.acquire() as connection:
        return (await find_principals(connection, [hash_token(token)]))[0]


@pytest.mark.parametrize("role", [Role.INTEGRATOR, Role.AUDITOR])
async def test_a_token_is_printed_alone_and_works(book: Book, url: str, role: Role) -> None:
    token = await asyncio.to_thread(issued, book, url, "--role", role.value)
    principal = await whose(book, token)
    assert principal
    assert (principal.bank_id, principal.role) == (book.bank_id, role)


async def test_a_token_for_a_registered_resident(book: Book, url: str) -> None:
    resident_id = await register(book)
    options = ("--role", "resident", "--resident", str(resident_id), "--days", "1")
    token = await asyncio.to_thread(issued, book, url, *options)
    principal = await whose(book, token)
    assert principal
    assert (principal.principal_id, principal.role) == (resident_id, Role.RESIDENT)


async def test_a_token_needs_a_bank_and_a_registered_resident(book: Book, url: str) -> None:
    def issue(bank: str, *options: str) -> Result:
        return run("token", "issue", "--bank", bank, *options, DATABASE_URL=url)

    nowhere = await asyncio.to_thread(issue, "nowhere", "--role", "integrator")
    check_one_line(nowhere, "no bank nowhere")
    nobody: UUID = new_id()
    options = ("--role", "resident", "--resident", str(nobody))
    check_one_line(await asyncio.to_thread(issue, book.bank.code, *options), str(nobody))


async def test_another_token_of_a_system_repeats_what_the_first_one_sent(
    api: Api, url: str
) -> None:
    def issue(*options: str) -> Result:
        words = ("token", "issue", "--bank", api.book.bank.code, "--role", "integrator", *options)
        return run(*words, DATABASE_URL=url)

    first = await asyncio.to_thread(issue)
    told = re.search(r"--system (\S+)", first.stderr)
    assert told, first.stderr
    wallet, key = await api.book.open_account(), new_key()
    body = {"account_id": str(wallet), "points": 3}
    answer = await Caller(api.http, first.stdout.strip()).post("/awards", body, key=key)
    assert answer.status_code == 201
    await asyncio.to_thread(run, "token", "revoke", stdin=first.stdout, DATABASE_URL=url)
    second = await asyncio.to_thread(issue, "--system", told[1])
    assert (second.exit_code, told[1] in second.stderr) == (USED, True)
    again = await Caller(api.http, second.stdout.strip()).post("/awards", body, key=key)
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    assert await api.book.balance(wallet) == 3
    async with api.book.pool.acquire() as connection:
        [grant] = await list_grants(connection, api.book.bank_id, UUID(told[1]))
        await revoke_grant(connection, api.book.bank_id, grant.grant_id)
    for nobody in (told[1], str(new_id())):
        check_one_line(await asyncio.to_thread(issue, "--system", nobody), nobody)


async def test_a_system_that_two_persons_made_an_integrator_is_given_a_token(
    book: Book, url: str
) -> None:
    system, administrators = new_id(), [new_id(), new_id()]
    async with book.pool.acquire() as connection:
        await register_parties(connection, book.bank_id, PartyKind.SYSTEM, [system])
        await register_parties(connection, book.bank_id, PartyKind.PERSON, administrators)
        await grant_role(
            connection,
            book.bank_id,
            system,
            Role.INTEGRATOR,
            None,
            granted_by=administrators[0],
            approved_by=administrators[1],
        )
    options = ("--role", "integrator", "--system", str(system))
    principal = await whose(book, await asyncio.to_thread(issued, book, url, *options))
    assert principal
    assert (principal.principal_id, principal.role) == (system, Role.INTEGRATOR)


async def test_a_token_is_revoked_once(book: Book, url: str) -> None:
    token = await asyncio.to_thread(issued, book, url, "--role", "integrator")
    for code, said in ((USED, "Revoked."), (REFUSED, "revoked before")):
        result = await asyncio.to_thread(
            run, "token", "revoke", stdin=f" {token}\n", DATABASE_URL=url
        )
        assert (result.exit_code, result.stdout) == (code, "")
        assert said in result.stderr
        assert token not in result.output
        assert await whose(book, token) is None


@pytest.mark.parametrize("stdin", ["", "\n", "tb_unknown\n", "王\n"])
def test_an_unknown_token_cannot_be_revoked(url: str, stdin: str) -> None:
    result = run("token", "revoke", stdin=stdin, DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (REFUSED, "")


async def test_serve_stops_at_ctrl_c(url: str) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timebank", "serve", "--port", str(port)),
        env={**os.environ, "TIMEBANK_DATABASE_URL": url},
        stderr=asyncio.subprocess.PIPE,
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for _ in range(300):
            try:
                assert (await http.get("/api/v1/health/ready")).status_code == 200
                break
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == INTERRUPTED
    assert b"Traceback" not in told


async def test_a_port_in_use_is_told(url: str) -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "timebank", "serve", "--port", str(port)),
        env={**os.environ, "TIMEBANK_DATABASE_URL": url},
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(process.communicate(), 30)
    listener.close()
    await listener.wait_closed()
    assert process.returncode == REFUSED
    assert b"address already in use" in told
    assert b"Traceback" not in told
