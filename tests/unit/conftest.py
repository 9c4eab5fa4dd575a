"""What tests of single modules share."""

from __future__ import annotations

from tests.pipeline.fixtures import journal

#: Fixtures are found here as well.
__all__ = ["journal"]
