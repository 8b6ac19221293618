"""Apache Kafka as one process: broker and controller in one (KRaft), a small heap, everything on loopback."""

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
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"

# C1 alone: the broker is up in half the time, and no test lives long enough for C2 to pay.
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
    "broker.session.timeout.ms": "2000",  # so long a restart after SIGKILL waits for the broker that it was before
    "broker.heartbeat.interval.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
}
_AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # whoever comes by the plain listener: the broker itself, and the tests
}


class ApacheKafka(KafkaServer):
    """One node, with the interface of `deploy.local.broker.TansuBroker`. What it holds stays in `directory`.

    Args:
        directory: for its data, its configuration and its log.
        port: of the plain listener; 0 takes any that is free.
        listeners: doors beside the plain one.
        authorize: whether users need ACLs; who comes by the plain listener does not.
        settings: more of the broker's own, by their names.

    Attributes:
        data: its logs, one folder for each partition.

    Raises:
        KafkaMissingError: Java, Maven or the jars are missing.
    """

    idempotence = True
    validates_batches = True

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
        self._java = [*_JAVA, "-cp", f"{ensure_jars()}/*"]
        self.process = Process(
            "Apache Kafka", [*self._java, "kafka.Kafka", str(self._configuration)], directory / "kafka.log"
        )

    def start(self) -> None:
        """Start it, on its data if there is any; returns when it answers.

        Raises:
            ProcessFailedError: it does not; the text ends with what it wrote.
        """
        self._configure()
        if not self.data.exists():
            self._format()
        self.process.start(lambda _: self.is_responding() or None, START_SECONDS)

    def stop(self) -> None:
        """End it in good order: it hands its partitions over and writes down where its logs end."""
        self.process.stop(STOP_SECONDS)

    def _configure(self) -> None:
        plain = Listener("PLAIN")
        plain.port = plain.advertised_port = self.port
        controller = Listener("CONTROLLER")
        controller.port = self._controller_port
        doors = [plain, *self._listeners]
        settings = {
            **self._settings,
            "log.dirs": str(self.data),
            "controller.quorum.bootstrap.servers": controller.address,
            "listeners": ",".join(f"{door.name}://{door.address}" for door in (*doors, controller)),
            "advertised.listeners": ",".join(f"{door.name}://{LOOPBACK}:{door.advertised_port}" for door in doors),
            "listener.security.protocol.map": ",".join(f"{door.name}:{door.protocol}" for door in (*doors, controller)),
        }
        for door in self._listeners:
            settings.update(door.settings())
        self._configuration.parent.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self) -> None:
        scram = [
            word for door in self._listeners for record in door.scram_credentials() for word in ("--add-scram", record)
        ]
        finished = subprocess.run(
            [
                *(*self._java, "kafka.tools.StorageTool", "format", "--standalone"),
                *("--cluster-id", CLUSTER_ID, "--config", str(self._configuration), *scram),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        if finished.returncode:
            raise ProcessFailedError(f"Apache Kafka's storage was not formatted\n{finished.stdout}{finished.stderr}")
