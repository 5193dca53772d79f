"""The first administrator gets in as the README says, with no password that was there before."""

import json
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyotp

from tests.api.service import free_port

README = Path(__file__).parents[2] / "README.md"
PASSWORD = "four quiet lanterns"  # noqa: S105 - made up here


def readme_commands() -> list[str]:
    """The commands of the README's block, a line for each."""
    marked = re.search(
        r"<!-- first administrator:.*?-->\n```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL
    )
    assert marked
    return re.sub(r"\n +", " ", marked[1]).splitlines()


def words(line: str) -> list[str]:
    """A `timebank` command of the README as this checkout runs it."""
    name, *rest = shlex.split(line, comments=True)
    assert name == "timebank"
    return [sys.executable, "-m", "timebank", *rest]


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command that must succeed; return what it printed."""
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@contextmanager
def served(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Serve the API; yields its base URL once it answers."""
    base = f"http://127.0.0.1:{environment['TIMEBANK_PORT']}/api/v1"
    command = [sys.executable, "-m", "timebank", "serve"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        ) as process,
    ):
        try:
            for _ in range(300):
                try:
                    httpx.get(f"{base}/health/live")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield base
        finally:
            process.terminate()
            process.wait(timeout=30)


def enrol(command: list[str], environment: Mapping[str, str], code: str) -> tuple[str, str]:
    """Do what the invited person does; return their number and their second factor."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(f"{code}\n")
        process.stdin.flush()
        secret = ""
        while not secret:
            line = process.stdout.readline()
            assert line, "the command ended early"
            found = re.search(r"type in ([A-Z2-7]{32})", line)
            secret = found[1] if found else ""
        told, _ = process.communicate(f"{PASSWORD}\n{pyotp.TOTP(secret).now()}\n", timeout=60)
    number = re.search(r"log in with: (\d{8})", told)
    assert number, told
    return number[1], secret


def next_digits(secret: str) -> str:
    """The digits of the step after this one: this one was spent by the enrolment."""
    return pyotp.TOTP(secret).at(int(time.time()) + 30)


def test_the_first_administrator(environment: dict[str, str], tmp_path: Path) -> None:
    environment = environment | {"TIMEBANK_PORT": str(free_port())}
    invite, enrolment, login = readme_commands()
    run([*words("timebank bank open jianxi"), "--name", "涧贤银行"], environment)
    with served(environment, tmp_path / "log") as base:
        code = run(words(invite), environment).strip()
        assert re.fullmatch(r"([0-9A-Z]{5}-){4}[0-9A-Z]{6}", code)
        number, secret = enrol(words(enrolment), environment, code)
        told = run(
            ["bash", "-euo", "pipefail", "-c", login],
            environment
            | {"BASE": base, "NUMBER": number, "PASSWORD": PASSWORD, "DIGITS": next_digits(secret)},
        )
        session = json.loads(told)
        assert (session["role"], session["method"]) == ("administrator", "password")
        bearer = {"Authorization": f"Bearer {session['token']}"}
        grants = httpx.get(f"{base}/role-grants", headers=bearer).json()["data"]
        assert [grant["role"] for grant in grants] == ["administrator"]
        # The invitation is spent; there is no other way in.
        again = subprocess.run(
            words(enrolment),
            env=environment,
            input=f"{code}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        body = {"type": "password", "bank": "jianxi", "staff_number": number, "totp": "000000"}
        for guess in ("admin", "timebank", secrets.token_hex(8)):
            answer = httpx.post(f"{base}/sessions", json={**body, "password": guess})
            assert answer.status_code == 401
    log = (tmp_path / "log").read_text("utf-8")
    for hidden in (code, PASSWORD, secret, number, session["token"]):
        assert hidden not in log
