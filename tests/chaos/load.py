"""Putting the records of a run on the topic; the ledger takes down each that is acknowledged."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from deploy.local.demo import topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.demo.careless import Message
    from deploy.local.demo.expectations import Expectations
    from deploy.local.stack import Stack

_SLICE_SECONDS = 0.25


class Load:
    """Sends `count` records at most; from one thread at a time.

    Attributes:
        left: how many are still to be sent.
    """

    def __init__(self, stack: Stack, ledger: Expectations, generate_messages: Iterator[Message], count: int) -> None:
        self._stack = stack
        self._ledger = ledger
        self._messages = generate_messages
        self.left = count

    def send(self, count: int) -> None:
        """Send the next `count` records, or as many as are left; returns when all are acknowledged."""
        count = min(count, self.left)
        self.left -= count
        servers, name = self._stack.broker.bootstrap_servers, self._stack.topic
        asyncio.run(topic.send(servers, name, islice(self._messages, count), self._ledger.enter))

    def send_rest(self) -> None:
        """Send what is left."""
        self.send(self.left)

    @contextmanager
    def send_in_background(self, per_second: float) -> Iterator[None]:
        """Send at about this pace in the background for as long as the block lasts, or records do.

        Raises:
            aiokafka.errors.KafkaError: the broker did not take them.
        """
        ended = threading.Event()
        failures: list[BaseException] = []

        def flow() -> None:
            try:
                while self.left and not ended.is_set():
                    started = time.monotonic()
                    self.send(max(1, round(per_second * _SLICE_SECONDS)))
                    ended.wait(max(0.0, started + _SLICE_SECONDS - time.monotonic()))
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
                failures.append(error)

        thread = threading.Thread(target=flow, name="load")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if failures:
            raise failures[0]
