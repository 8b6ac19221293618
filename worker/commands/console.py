"""`metrics-worker console`: the dead letters in a browser, until SIGTERM."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from importlib.util import find_spec
from os import getpid

import click
import structlog

from worker.commands.command_line import exit_without_joining_threads
from worker.commands.connections import GC_THRESHOLD, open_reader
from worker.commands.help_page import format_examples
from worker.commands.replay_connections import ReplayConnections, base_policy
from worker.commands.service import load_service_settings, log_fatal_errors
from worker.core.errors import SettingsError
from worker.core.process import relax_garbage_collection, return_large_buffers, run_unless_stopped, stop_on_signals
from worker.core.version import VERSION
from worker.kafka.connection import ping
from worker.kafka.group_progress import fetch_group_progress
from worker.kafka.retention import fetch_retention_seconds
from worker.kafka.topic_reader import KafkaTopicReader
from worker.replay.watch import DeadLetterWatch
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable
from worker.settings.targets import kafka_target

log = structlog.get_logger(__name__)

_FETCH_BYTES = 65_536
"""Of each request for single dead letters: with the 4 MiB of a scan each of them took ten times as long."""


_EXAMPLES = format_examples(
    "metrics-worker console",
    "CONSOLE_PORT=9000 metrics-worker console",
)


@click.command(epilog=_EXAMPLES)
@click.option(
    "--allow-anonymous-actions",
    is_flag=True,
    help="Everybody who reaches the console may act, as `anonymous`: also CONSOLE_ALLOW_ANONYMOUS_ACTIONS.",
)
def console(*, allow_anonymous_actions: bool) -> None:
    """Serve pages about the open dead letters to a browser, until SIGTERM. There they are read and settled.

    It listens on CONSOLE_HOST and CONSOLE_PORT, reads KAFKA_DLQ_TOPIC when it has changed, at most every 15 s and for
    at most a tenth of the time, and needs the extra `console`. Replays need CLICKHOUSE_HOST. CONSOLE_OIDC_ISSUER or
    CONSOLE_PROXY_USER_HEADER makes its users known; otherwise it is for loopback, and only shows.
    """
    with log_fatal_errors():
        settings = load_service_settings(RequiredVariable.KAFKA)
        if None in map(find_spec, ("starlette", "uvicorn", "authlib")):
            raise SettingsError("it needs the extra `console`: pip install 'execution-metrics-worker[console]'")
        if allow_anonymous_actions:
            settings = settings.model_copy(update={"console_allow_anonymous_actions": True})
        asyncio.run(_serve(settings))
    exit_without_joining_threads(0)


async def _serve(settings: Settings) -> None:
    """Serve until a signal. Raises SettingsError if CONSOLE_HOST and CONSOLE_PORT cannot be listened on."""
    # Only here: a worker that is installed without the extra has all other commands.
    from worker.commands.console_users import choose_identification, knows_users
    from worker.console.actions.actions import Actions
    from worker.console.actions.runner import ActionRunner
    from worker.console.app import Console
    from worker.console.group import GroupWatch
    from worker.console.interruptible_sleep import InterruptibleSleep
    from worker.console.kafka_watch import KafkaWatch
    from worker.console.mask_rules import NO_RULES, parse_mask_rules
    from worker.console.probes import Probes
    from worker.console.server import listen, serve
    from worker.console.snapshot import Snapshots
    from worker.console.workers import WorkersWatch

    stop = stop_on_signals()
    relax_garbage_collection(GC_THRESHOLD)
    return_large_buffers()
    target, topic, group = kafka_target(settings), settings.kafka_dlq_topic, settings.kafka_group_id
    open_topic = lambda: open_reader(KafkaTopicReader(target, topic))  # noqa: E731 - three lines would hide the rest
    open_letters = lambda: open_reader(KafkaTopicReader(target, topic, fetch_bytes=_FETCH_BYTES))  # noqa: E731
    snapshots, pause = Snapshots(), InterruptibleSleep()
    watch = DeadLetterWatch(
        open_topic, partial(fetch_retention_seconds, target, topic), pause.sleep, create_observer=snapshots.begin
    )
    runner = ActionRunner(ReplayConnections(settings), base_policy(settings))
    actions = Actions(runner, pause.wake, settings.shutdown_timeout_seconds)
    progress = GroupWatch(partial(fetch_group_progress, target, settings.kafka_topic, group))
    kafka = KafkaWatch(partial(ping, target))
    workers = WorkersWatch(settings.console_workers_url) if settings.console_workers_url else None
    console = Console(
        VERSION,
        topic,
        group,
        snapshots,
        lambda: watch.state,
        lambda: progress.state,
        open_letters,
        choose_identification(settings),
        actions,
        _find_replay_problem(settings),
        settings.console_public_url,
        parse_mask_rules(settings.console_mask) if settings.console_mask else NO_RULES,
        (lambda: workers.state) if workers else None,
        lambda: kafka.silent_since,
    )
    app = Probes(console.create_app(), lambda: snapshots.current is not None)
    with listen(settings.console_host, settings.console_port, knows_users=knows_users(settings)) as listening:
        host, port = listening.getsockname()[:2]
        address = settings.console_public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        log.info("console runs", version=VERSION, topic=topic, address=address, http_port=port, pid=getpid())
        running = [watch.run(), progress.run(), kafka.run(), actions.run(), serve(app, listening)]
        await run_unless_stopped(stop, _run_all(*running, *([workers.run()] if workers else [])))
    log.info("console stops")


def _find_replay_problem(settings: Settings) -> str | None:
    """Why the console cannot replay; None if it can."""
    if not settings.persistence_enabled:
        return "PERSISTENCE_ENABLED=false: a replay writes, so it must be true where the console runs."
    if not settings.clickhouse_host:
        return "A replay writes to ClickHouse: CLICKHOUSE_HOST is not set where the console runs."
    return None


async def _run_all(*work: Coroutine[None, None, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
