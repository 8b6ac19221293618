"""Apache Kafka as one process: a combined broker and controller (KRaft) with a small heap, on loopback."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from deploy.local.apache_kafka.jars import ensure_jars
from deploy.local.apache_kafka.listener import Listener
from deploy.local.broker import KafkaServer
from deploy.local.process import LOOPBACK, Process, ProcessFailedError, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 20.0
FIND_COORDINATOR = 10
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"

# Only the C1 compiler: the broker starts in half the time, and tests are too short to profit from C2.
_JAVA = ["java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
_ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAIN",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",  # records may have old timestamps; the first check comes half a minute after the start
    "broker.session.timeout.ms": "2000",  # a restart after SIGKILL waits this long for the old session to expire
    "broker.heartbeat.interval.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "group.max.session.timeout.ms": "300000",
    "group.initial.rebalance.delay.ms": "0",
}
_AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # every client of the plain listener: the broker itself and the tests
}


class ApacheKafka(KafkaServer):
    """A single Apache Kafka node that keeps its data in `directory` across restarts.

    Args:
        directory: for data, configuration and log file.
        port: of the plain listener; 0 chooses a free one.
        listeners: in addition to the plain one.
        authorize: whether clients need ACLs; clients of the plain listener never do.
        settings: further properties of the broker.

    Attributes:
        data: the broker's log directory, with one folder per partition.

    Raises:
        KafkaMissingError: Java, Maven or the jars are missing.
    """

    idempotence = True
    validates_batches = True
    finds_offsets_by_time = True

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        *,
        listeners: Sequence[Listener] = (),
        authorize: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.data = directory / "kafka"
        self._configuration = directory / "kafka.properties"
        self._listeners = listeners
        self._settings = {**_ONE_NODE, **(_AUTHORIZER if authorize else {}), **(settings or {})}
        self._controller_port = free_port()
        # The broker fetches keys only from addresses that its command line allows.
        allowed = ",".join(f"{listener.issuer}/keys" for listener in listeners if listener.issuer)
        urls = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={allowed}"] if allowed else []
        self._java = [*_JAVA, *urls, "-cp", f"{ensure_jars()}/*"]
        self.process = Process(
            "Apache Kafka", [*self._java, "kafka.Kafka", str(self._configuration)], directory / "kafka.log"
        )

    def start(self) -> None:
        """Start the broker with its existing data, if any, and wait until it answers requests and coordinates groups.

        Raises:
            ProcessFailedError: the broker did not start; the message ends with its output.
        """
        self._configure()
        if not self.data.exists():
            self._format()
        self.process.start(lambda _: self._coordinates_groups() or None, START_SECONDS)

    def stop(self) -> None:
        """Shut the broker down in order: it resigns leadership and flushes its logs."""
        self.process.stop(STOP_SECONDS)

    def _coordinates_groups(self) -> bool:
        """Whether the broker names a coordinator; the first request creates the topic of committed offsets."""
        answer = self._request(FIND_COORDINATOR, 1, b"\x00\x01g\x00")  # of the group "g"
        throttle_and_error = answer[:6]
        return throttle_and_error == bytes(6)

    def _configure(self) -> None:
        plain = Listener("PLAIN")
        plain.port = plain.advertised_port = self.port
        controller = Listener("CONTROLLER")
        controller.port = self._controller_port
        client_listeners = [plain, *self._listeners]
        listeners = [*client_listeners, controller]
        settings = {
            **self._settings,
            "log.dirs": str(self.data),
            "controller.quorum.bootstrap.servers": controller.address,
            "listeners": ",".join(f"{each.name}://{each.address}" for each in listeners),
            "advertised.listeners": ",".join(
                f"{each.name}://{LOOPBACK}:{each.advertised_port}" for each in client_listeners
            ),
            "listener.security.protocol.map": ",".join(f"{each.name}:{each.protocol}" for each in listeners),
        }
        for listener in self._listeners:
            settings.update(listener.settings())
        self._configuration.parent.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self) -> None:
        credentials = [
            argument
            for listener in self._listeners
            for credential in listener.scram_credentials()
            for argument in ("--add-scram", credential)
        ]
        finished = subprocess.run(
            [
                *(*self._java, "kafka.tools.StorageTool", "format", "--standalone"),
                *("--cluster-id", CLUSTER_ID, "--config", str(self._configuration), *credentials),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        if finished.returncode:
            raise ProcessFailedError(f"Apache Kafka could not format its storage\n{finished.stdout}{finished.stderr}")
