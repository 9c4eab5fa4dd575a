"""For all tests: what the machine they run on must not decide."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from butler_mqtt import clock
from tests import compiled_statements

# Machines are shared: no property test is judged by its time.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Of the long tests: `--hypothesis-profile=thorough`.
settings.register_profile("thorough", settings.get_profile("shared-machine"), max_examples=1000)
settings.load_profile("shared-machine")

compiled_statements.share()

# Started in the background of a script, we would ignore Ctrl-C, and every program we start with us.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected, which stays to the end, out of every search for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Number cases of functions and bytes: an address or the time in gzip differs in every process."""
    return argname if (callable(val) and not isinstance(val, type)) or isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def own_clock() -> None:
    """Let each test begin with a clock that no journal of another test has made doubtful."""
    clock.STEADY.restart()


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """Let each test begin with the level of the log that the one before found."""
    logger = logging.getLogger("butler_mqtt")
    level = logger.level
    yield
    logger.setLevel(level)
