"""What the line says with which the daemon is ready."""

from __future__ import annotations

import pytest

from butler_mqtt.daemon.broker_watch import taken_from
from butler_mqtt.settings import MqttSettings, RestSettings, RestTls, Settings, WebPageSettings

REST = RestSettings(enable=True)
TLS = RestSettings(enable=True, server_host="::1", tls=RestTls(enable=True))
PAGE = WebPageSettings(enable=True)
NAMED = WebPageSettings(enable=True, origins=("https://butler.site",))
OFF = RestSettings()


@pytest.mark.parametrize(
    ("topics", "rest", "page", "text"),
    [
        ((), OFF, WebPageSettings(), "start on broker:1883"),
        (("start/erp", "start/crm"), OFF, PAGE, "start, start/erp, start/crm on broker:1883"),
        (tuple("abcdefghi"), OFF, PAGE, "start, a, b, c, d, 5 more on broker:1883"),
        ((), REST, PAGE, "start on broker:1883; the page is at http://127.0.0.1:8080/ui/"),
        ((), TLS, PAGE, "start on broker:1883; the page is at https://[::1]:8080/ui/"),
        ((), REST, NAMED, "start on broker:1883; the page is at https://butler.site/ui/"),
    ],
    ids=["topic", "senders", "many-senders", "page", "page-with-tls", "page-with-name"],
)
def test_it_names_the_topics_and_the_page(
    topics: tuple[str, ...], rest: RestSettings, page: WebPageSettings, text: str
) -> None:
    mqtt = MqttSettings(broker_host="broker", task_start_topic="start", sender_topics=topics)
    assert taken_from(Settings(mqtt=mqtt, rest=rest, web_page=page)) == text
