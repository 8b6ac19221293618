"""What a broker says of a group, or leaves out; `tests/kafka` asks a real one."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aiokafka.protocol.coordination import FindCoordinatorRequest

from worker.kafka.authorization import AclOperation, RequiredAcl, describe_static_members, has_group_acl

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient


class _BrokerWithoutGroups:
    """Answers DescribeGroups without the group, as a proxy does that hides it."""

    def get_random_node(self) -> int:
        return 0

    async def send(self, _node: int, request: object) -> Any:
        if isinstance(request, FindCoordinatorRequest):
            return SimpleNamespace(error_code=0, coordinator_id=0)
        return SimpleNamespace(to_object=lambda: {"groups": []})


async def test_group_that_the_broker_leaves_out_is_one_without_an_answer() -> None:
    client = cast("AIOKafkaClient", _BrokerWithoutGroups())
    assert await has_group_acl(client, RequiredAcl(AclOperation.READ, "g", "KAFKA_GROUP_ID")) is None
    assert await describe_static_members(client, "g") == {}
