"""
Where a message may be published now: topics were judged when the request came, and may be ours since.

A reload, or a restart, can add a topic on which requests or messages for rules arrive; a
message to it would come back to us.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

from butler_mqtt.contract import topics
from butler_mqtt.domain.completions import PublicationRefused
from butler_mqtt.domain.model import Publication
from butler_mqtt.settings import MqttSettings

#: Topics of which the judgement is kept: a sender names the same in each request.
MANY = 1024

_log = logging.getLogger("butler_mqtt.outbox")


class PresentTopics:
    """
    Judges topics as messages are published.

    Args:
        mqtt: The topics of now.
        publish: Passes a message to the broker; False when there is no room.
        refuse: Gets an event that cannot be published.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        publish: Callable[[Publication], bool],
        refuse: Callable[[PublicationRefused], None],
    ) -> None:
        self._publish = publish
        self._refuse = refuse
        self.reconfigured(mqtt)

    def reconfigured(self, mqtt: MqttSettings) -> None:
        """Judge by other topics from now on; from any thread."""
        self._reply_problem = lru_cache(MANY)(partial(topics.may_reply, mqtt))
        self._event_problem = lru_cache(MANY)(partial(topics.comes_back, mqtt))
        self._default = mqtt.task_start_reply_topic
        # Nothing of ours meets these, by the configuration's own checks: only an event that was
        # written under another taskEventTopic can come back.
        self._events = f"{mqtt.task_event_topic}/"

    def placed(self, publication: Publication) -> Publication:
        """Return a message as it is published: a reply that may not go to its topic on the common one."""
        if publication.delivery is None or publication.topic == self._default:
            return publication
        if self._reply_problem(publication.topic) is None:
            return publication
        return replace(publication, topic=self._default, instead_of=publication.topic)

    def publish(self, publication: Publication) -> bool:
        """Pass a message to the broker; an event that may not go to its topic is refused for good."""
        if publication.delivery is None and not publication.topic.startswith(self._events):
            problem = self._event_problem(publication.topic)
            if problem is not None:
                self._refuse(PublicationRefused(publication.id, f"its topic {problem}", final=True))
                return True
        taken = self._publish(publication)
        if taken and publication.instead_of is not None:
            _log.warning(
                "request %s: its reply is not sent to %r any more: %s; it goes to %s",
                publication.request_id,
                publication.instead_of[:200],
                self._reply_problem(publication.instead_of),
                publication.topic,
                extra={"action": "reply_topic_refused", "request_id": publication.request_id},
            )
        return taken
