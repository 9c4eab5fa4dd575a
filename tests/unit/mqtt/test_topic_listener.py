"""What is subscribed to in order to hear what rules would."""

from __future__ import annotations

import pytest

from butler_mqtt.mqtt.topic_listener import TopicListener
from butler_mqtt.settings import MqttSettings


class Recorder(TopicListener):
    """A listener without a broker, that records what it would subscribe to."""

    def __init__(self) -> None:
        super().__init__(MqttSettings())
        self.filters: list[str] = []

    def subscribe(self, topic_filter: str) -> None:
        self.filters.append(topic_filter)


@pytest.mark.parametrize(
    ("filters", "subscribed"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a"]),
        (["a/b", "a/+", "a/#"], ["a/#"]),
        (["a/+", "a/#"], ["a/#"]),
        (["+/+", "+/#"], ["+/#"]),
        (["#", "$SYS/#", "a"], ["#", "$SYS/#"]),
    ],
)
def test_what_others_cover_is_left_out_and_never_all(filters: list[str], subscribed: list[str]) -> None:
    listener = Recorder()
    listener.listen(filters)
    assert listener.filters == subscribed
