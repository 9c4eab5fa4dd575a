"""Where a listener listens."""

from __future__ import annotations

import pytest

from butler_mqtt.http.server.limited_socket import listen


@pytest.mark.parametrize("host", ["a..b", ".x", "a" * 64], ids=["empty part", "no part", "long part"])
def test_a_name_that_cannot_be_one_is_an_error_of_the_system_like_any_other(host: str) -> None:
    with pytest.raises(OSError, match="no host name"):
        listen(host, 0, 1)
