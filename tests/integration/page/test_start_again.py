"""*Start again*: not offered where it could only be refused."""

from __future__ import annotations

import pytest

from butler_mqtt.daemon.page_sources.page_sources import page_backend
from butler_mqtt.domain.senders import Senders
from butler_mqtt.http.exposition import Levels
from butler_mqtt.http.page.page_backend import ActionDeclined
from butler_mqtt.journal.search import Filters
from butler_mqtt.settings import MqttSettings, Sender, Settings
from tests.pipeline.fixtures import MakeHarness, harness, make_harness

#: Fixtures are found here as well.
__all__ = ["harness", "make_harness"]

ERP = Sender("erp", "start/erp")
CRM = Sender("crm", "start/crm")


@pytest.mark.parametrize(("senders", "barred"), [((ERP, CRM), False), ((CRM,), True)], ids=["there", "gone"])
def test_it_says_why_it_is_not_offered_where_the_sender_is_gone(
    make_harness: MakeHarness, senders: tuple[Sender, ...], barred: bool
) -> None:
    mqtt = MqttSettings(sender_topics=("start/erp", "start/crm"))
    harness = make_harness(Settings(senders=(ERP, CRM), mqtt=mqtt))
    body = {"taskId": harness.site.add("Sales", enabled=False), "requestId": "r"}
    harness.deliver(harness.message(body)._replace(topic="start/erp"))
    harness.replied()
    backend = page_backend(
        harness.path,
        filters=lambda _: Filters(),
        tasks=lambda _: [],
        levels=Levels,
        subscription=lambda: None,
        senders=lambda: Senders(Settings(senders=senders)),
    )
    reason = "its sender erp is not configured any more (senders)" if barred else ""
    assert [one.barred for one in backend.request("r")] == [reason]
    assert [one.barred for _, one in backend.failures(5, None)] == [reason]
    if barred:
        with pytest.raises(ActionDeclined, match="is not configured any more"):
            backend.again("r", None)
    else:
        assert backend.again("r", None)["taskId"] == [body["taskId"]]
