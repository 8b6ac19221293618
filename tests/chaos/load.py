"""Sends the records of a run; the expectations note each record that the topic has acknowledged."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from deploy.local.demo import topic
from deploy.local.demo.careless import Message
from deploy.local.demo.expectations import Expectations
from deploy.local.stack import Stack

_INTERVAL_SECONDS = 0.25


class Load:
    """Sends `count` records at most; from one thread at a time.

    Attributes:
        left: how many are still to be sent.
    """

    def __init__(self, stack: Stack, expectations: Expectations, messages: Iterator[Message], count: int) -> None:
        self._stack = stack
        self._expectations = expectations
        self._messages = messages
        self.left = count

    def send(self, count: int) -> None:
        """Send the next `count` records, or as many as are left; return when all are acknowledged."""
        count = min(count, self.left)
        self.left -= count
        messages = islice(self._messages, count)
        servers = self._stack.broker.bootstrap_servers
        asyncio.run(topic.send_messages(servers, self._stack.topic, messages, self._expectations.add_record))

    def send_rest(self) -> None:
        """Send what is left."""
        self.send(self.left)

    @contextmanager
    def send_in_background(self, per_second: float) -> Iterator[None]:
        """Send at about this rate until the block ends, or no record is left.

        Raises:
            aiokafka.errors.KafkaError: the broker has refused a record.
        """
        ended = threading.Event()
        failures: list[BaseException] = []

        def send() -> None:
            try:
                while self.left and not ended.is_set():
                    started = time.monotonic()
                    self.send(max(1, round(per_second * _INTERVAL_SECONDS)))
                    ended.wait(max(0.0, started + _INTERVAL_SECONDS - time.monotonic()))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
                failures.append(error)

        thread = threading.Thread(target=send, name="load")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if failures:
            raise failures[0]
