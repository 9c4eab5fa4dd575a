"""Refusals after which the same `requestId` may be sent again as a real retry (design: contract 4.1)."""

from __future__ import annotations

#: Besides those of a request that could not be read.
RETRYABLE = frozenset({"rate_limited", "qrs_unavailable"})
