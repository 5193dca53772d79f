"""A client that is killed at a named point: `python -m tests.redemption.crash_client`.

It reads one order a line, forks, and the child does the act and kills itself with SIGKILL where
the order says. The parent answers what the child had been told by then, if anything. Forking costs
milliseconds where a new interpreter costs half a second.
"""

import asyncio
import os
import signal
import sys
from enum import StrEnum
from typing import NoReturn
from uuid import UUID

import asyncpg
import msgspec

from timebank.db import SERVER_SETTINGS, Connection
from timebank.domain.redemption import ActReason, Answer, Wish
from timebank.domain.slips import SlipResult
from timebank.redemption.holds import capture_hold, place_hold, refund_capture, release_hold
from timebank.redemption.slip_checker import Key
from timebank.redemption.slips import capture_slip


class Point(StrEnum):
    """Where the client dies; the server goes on with what it was sent."""

    BEFORE_BEGIN = "before BEGIN"
    IN_THE_CALL = "in the call"
    BEFORE_COMMIT = "before COMMIT"
    BEFORE_THE_REPLY = "after COMMIT, before the reply"
    AFTER_THE_REPLY = "after the reply"


class Order(msgspec.Struct, kw_only=True):
    """An act and where to die; `wish` is for a hold, `points` for a refund.

    A slip is told of by its acceptance; `act_id` is what is made of that.
    """

    dsn: str
    bank_id: int
    point: Point
    delay: float
    kind: str
    act_id: UUID
    actor_id: UUID
    merchant_id: UUID
    hold_id: UUID
    wish: Wish | None = None
    code: str | None = None
    points: int = 0
    slip: str = ""
    acceptance_id: UUID | None = None
    keys: dict[str, Key] = {}


class Report(msgspec.Struct):
    """How the child ended, and the status it was answered before."""

    killed: bool
    acknowledged: str | None


def die() -> NoReturn:
    """End at once, without a word to anybody."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives this")


async def act(connection: Connection, order: Order) -> str:
    """Do what the order says; what it is answered."""
    if order.acceptance_id:
        told = await capture_slip(
            connection,
            order.bank_id,
            order.keys,
            order.slip,
            order.acceptance_id,
            merchant_id=order.merchant_id,
            actor_id=order.actor_id,
        )
        return "done" if told.result is SlipResult.CAPTURED else str(told.result)
    return str((await act_on_hold(connection, order)).status)


async def act_on_hold(connection: Connection, order: Order) -> Answer:
    """Do it, as all but the telling of a slip."""
    bank_id, actor_id, hold_id = order.bank_id, order.actor_id, order.hold_id
    if order.wish is not None:
        placed = await place_hold(connection, bank_id, order.act_id, order.wish, actor_id=actor_id)
        return placed.answer
    if order.kind == "capture":
        return await capture_hold(
            connection,
            bank_id,
            order.act_id,
            hold_id,
            merchant_id=order.merchant_id,
            actor_id=actor_id,
            code=order.code,
        )
    if order.kind == "release":
        reason = ActReason.CHANGED_MIND
        return await release_hold(
            connection, bank_id, order.act_id, hold_id, reason=reason, actor_id=actor_id
        )
    return await refund_capture(
        connection,
        bank_id,
        order.act_id,
        hold_id,
        merchant_id=order.merchant_id,
        points=order.points,
        reason=ActReason.GOODS_RETURNED,
        actor_id=actor_id,
    )


async def act_and_die(order: Order, tell: int) -> NoReturn:
    """Do the act; die on the way."""
    connection = await asyncpg.connect(order.dsn, server_settings=SERVER_SETTINGS)
    if order.point is Point.BEFORE_BEGIN:
        die()
    transaction = connection.transaction()
    await transaction.start()
    call = asyncio.create_task(act(connection, order))
    if order.point is Point.IN_THE_CALL:
        await asyncio.sleep(order.delay)
        die()
    answer = await call
    if order.point is Point.BEFORE_COMMIT:
        die()
    commit = asyncio.create_task(transaction.commit())
    if order.point is Point.BEFORE_THE_REPLY:
        await asyncio.sleep(0)  # COMMIT is in the socket; nobody reads what comes back
        die()
    await commit
    os.write(tell, answer.encode())
    die()


def carry_out(order: Order) -> Report:
    """Fork, let the child die, and say what it was told."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        asyncio.run(act_and_die(order, tell))
    os.close(tell)
    with os.fdopen(hear, "rb") as told:
        acknowledged = told.read().decode() or None
    _, status = os.waitpid(child, 0)
    return Report(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, acknowledged)


def main() -> None:
    """Serve orders until the input ends."""
    for line in sys.stdin.buffer:
        report = carry_out(msgspec.json.decode(line, type=Order))
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
