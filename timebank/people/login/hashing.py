"""Argon2id off the event loop, a few at a time: what is remembered of a PIN, password or code.

The hash is sealed as well: a PIN has a million values, which a thief of the database could try.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from timebank.config import Settings
from timebank.domain.errors import OverloadedError
from timebank.people.seals import Seals

T = TypeVar("T")

_MOST_WAITING = 64
"""A second or two of work; more would wait longer than anybody does."""


class Hasher:
    """Hashes and compares in threads of its own; `seal` also keeps what must be read back."""

    def __init__(self, seal: Seals, *, memory_kib: int, passes: int, at_once: int = 2) -> None:
        """`at_once`: two cores are kept busy and no more memory is held than so many times."""
        self.seal = seal
        self._argon2 = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys = self._argon2.hash("nobody's")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()

    async def keep(self, secret: str, bound_to: str) -> bytes:
        """Return what is stored of a secret; OverloadedError when too many wait."""
        hashed = await self._in_thread(lambda: self._argon2.hash(secret))
        return self.seal.close(hashed.encode(), bound_to)

    async def fits(self, kept: bytes | None, secret: str, bound_to: str) -> bool:
        """Return whether this is the secret; for None, nobody's, it takes as long to say no."""
        hashed = self._nobodys if kept is None else self.seal.open(kept, bound_to).decode()
        return await self._in_thread(lambda: self._fits(hashed, secret)) and kept is not None

    def _fits(self, hashed: str, secret: str) -> bool:
        try:
            return self._argon2.verify(hashed, secret)
        except VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MOST_WAITING:
            raise OverloadedError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def open_hasher(settings: Settings, seals: Seals) -> Hasher:
    """Return the hasher of this deployment."""
    return Hasher(
        seals,
        memory_kib=settings.argon2_memory_kib,
        passes=settings.argon2_passes,
    )
