"""What tests that kill share: a daemon of the test's own behind a relay to the broker, and a sender on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def relay(broker: Mosquitto) -> Iterator[Relay]:
    with Relay(broker.port) as made:
        yield made


@pytest.fixture
def sender(broker: Mosquitto) -> Iterator[Sender]:
    with Sender(broker.port) as made:
        yield made


@pytest.fixture
def daemon(make_daemon: MakeDaemon, relay: Relay) -> Daemon:
    return make_daemon(relay.port).start()
