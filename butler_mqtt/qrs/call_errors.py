"""What can go wrong between us and the server, for the operator, with what to do about it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.client import HTTPException

from requests import exceptions as rx
from urllib3.exceptions import HTTPError

from butler_mqtt.qrs.answer_limits import AnswerTooLarge
from butler_mqtt.qrs.json_fields import text
from butler_mqtt.qrs.tls_advice import advice
from butler_mqtt.settings import QrsSettings as Settings

#: What each exception of `requests` means to an operator; the first class of the MRO that is here counts.
FAILURES: Mapping[type[BaseException], str] = {
    rx.RequestException: "the call failed",
    rx.ConnectionError: "no connection, or it was cut",
    rx.ProxyError: "the proxy failed",
    rx.SSLError: "TLS failed",
    rx.Timeout: "no answer in time",
    rx.ConnectTimeout: "no connection in time",
    rx.ReadTimeout: "no answer in time",
    rx.ChunkedEncodingError: "the answer was cut off",
    rx.ContentDecodingError: "the answer cannot be decoded",
    rx.HTTPError: "the answer is not HTTP",
    rx.InvalidJSONError: "the answer is not JSON",
    rx.JSONDecodeError: "the answer is not JSON",
    rx.URLRequired: "the address cannot be used",
    rx.MissingSchema: "the address cannot be used",
    rx.InvalidSchema: "the address cannot be used",
    rx.InvalidURL: "the address cannot be used",
    rx.InvalidProxyURL: "the address cannot be used",
    rx.InvalidHeader: "a configured header cannot be sent",
    rx.TooManyRedirects: "the server sends us around",
    rx.StreamConsumedError: "the answer was read twice",
    rx.RetryError: "the call failed",
    rx.UnrewindableBodyError: "the call failed",
}
#: Everything a call can raise; ValueError: a host name or header that cannot be written.
RAISED = (rx.RequestException, HTTPError, HTTPException, OSError, ValueError)


def explain(error: BaseException, settings: Settings) -> str:
    """Explain what went wrong between us and the server and what to do; one line, no URL in it."""
    meaning = next((FAILURES[kind] for kind in type(error).__mro__ if kind in FAILURES), "the call failed")
    cause = _deepest(error)
    if isinstance(cause, ssl.SSLError):
        found = advice(cause, settings)
        return f"TLS failed: {text(str(cause), 200)}{'; ' if found else ''}{found}"
    if isinstance(cause, ValueError):
        # Its text may quote a header, and headers may hold secrets.
        return f"configQRS.host or one of configQRS.headers cannot be sent ({type(cause).__name__})"
    if isinstance(cause, TimeoutError) or isinstance(error, rx.Timeout):
        return (
            f"no answer in time (connectTimeoutSeconds {settings.connect_timeout_seconds:g},"
            f" readTimeoutSeconds {settings.read_timeout_seconds:g}): {text(str(cause), 200)}"
        )
    if isinstance(cause, AnswerTooLarge):
        return f"{cause}; check what stands at configQRS.host and port, and what is between"
    hint = ""
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionResetError | BrokenPipeError):
        hint = "; check configQRS.host and port, the network, and that the Repository Service runs"
    return f"{meaning}: {text(str(cause) or type(cause).__name__, 200)}{hint}"


def _deepest(error: BaseException) -> BaseException:
    """Unwrap what the libraries wrapped: only the innermost text says what happened."""
    seen = {id(error)}
    while True:
        inner = [getattr(error, "reason", None), error.__cause__, *reversed(error.args)]
        found = next((one for one in inner if isinstance(one, BaseException) and id(one) not in seen), None)
        if found is None:
            return error
        seen.add(id(found))
        error = found
