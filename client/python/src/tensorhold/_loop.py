"""The thread that the synchronous client's calls run in: one event loop for a process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own."""

    _lock = threading.Lock()
    _shared: LoopThread | None = None

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="tensorhold", daemon=True
        )
        self._thread.start()

    @classmethod
    def shared(cls) -> LoopThread:
        """The process's own: grpcio supports one loop well, and a forked child needs a new one."""
        with cls._lock:
            if cls._shared is None or cls._shared.process != os.getpid():
                cls._shared = LoopThread()
            return cls._shared

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the loop and waits for it."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "a synchronous call in the client's own thread would wait for itself"
            )
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
