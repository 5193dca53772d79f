"""A newcomer's first hour: the demo, the README's example as it stands there, the auditor."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
TIMEBANK = [sys.executable, "-m", "timebank"]


@contextmanager
def running_demo(environment: dict[str, str]) -> Iterator[str]:
    """Run the demo until the block ends; yields what it printed until it served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [*TIMEBANK, "demo", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        told = []
        for line in process.stdout:
            told.append(line)
            if "Serving" in line:
                break
        try:
            yield "".join(told)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def readme_example() -> str:
    """The shell block that the README says a test runs."""
    marked = re.search(
        r"<!-- example:.*?-->\n```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL
    )
    assert marked
    return marked.group(1)


def run_example(environment: dict[str, str]) -> str:
    """Start the demo, run the README's block against it, and return what that printed."""
    with running_demo(environment) as told:
        staff = re.search(r"SYSTEM=(\S+)", told)
        base = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert staff and base, told
        wait = (
            f"curl -sS --retry 50 --retry-connrefused --retry-delay 1 {base[0]}/docs >/dev/null\n"
        )
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", wait + readme_example()],
            env=environment | {"SYSTEM": staff[1], "BASE": f"{base[0]}/api/v1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout


def test_the_readme_example_runs_against_the_demo_and_again_after_a_restart(
    environment: dict[str, str],
) -> None:
    told = run_example(environment)
    first, again = re.findall(r'\{"transfer_id":.*?\}', told)
    assert first == again
    assert '"points":90,"seq":1' in told
    assert "服务奖励,90,,90" in told
    assert '"balanced":true' in told
    assert run_example(environment) == told

    proof = subprocess.run(
        [*TIMEBANK, "reconcile", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert json.loads(proof.stdout)["ok"] is True


def test_the_demo_can_stop_after_the_import_and_imports_nothing_twice(
    environment: dict[str, str],
) -> None:
    told = [
        subprocess.run(
            [*TIMEBANK, "demo", "--no-serve"],
            env=environment | {"PYTHONIOENCODING": "latin-1"},  # the bank's name is Chinese
            capture_output=True,
            encoding="latin-1",
            timeout=60,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert re.search(r"[1-9]\d* transfers posted by this run", told[0])
    assert " 0 transfers posted by this run" in told[1]
