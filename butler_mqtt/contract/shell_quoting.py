"""
Requests as shells and programs mangle them: read where the meaning is plain, else refused with the cause.

What arrives when `mosquitto_pub -m '{"tag":["one"]}'` is typed: in bash the JSON,
in cmd.exe and PowerShell before 7.3 a text whose double quotes the Windows
runtime has removed as its own, in cmd.exe with the single quotes around it.
"""

from __future__ import annotations

import re

from butler_mqtt.contract import schema_errors, strict_json
from butler_mqtt.contract.strict_json import JsonError

#: The longest text that may be a GUID with quotes, braces and white space around it.
_MAX_GUID = 64
#: The longest request of a sender that is written again in a refusal, in characters.
_MAX_SHOWN = 200
_EXAMPLE = '{"tag":["one"]}'

_BARE_KEY = re.compile(r"[\s\[{]*\{\s*[A-Za-z]+\s*:")
_ESCAPED_KEY = re.compile(r'[\s\[{]*\{\s*\\"')


def bare_guid(text: str) -> str | None:
    """Return the GUID that is all of *text*, quotes, braces and white space around it aside; else None."""
    bare = text.strip()
    if len(bare) > _MAX_GUID:
        return None
    for opening, closing in ('""', "''", "{}"):
        if len(bare) > 1 and bare[0] == opening and bare[-1] == closing:
            bare = bare[1:-1].strip()
    return bare if schema_errors.GUID.match(bare) else None


def loads(text: str, *, repeated_keys: bool = False) -> object:
    """
    Read one JSON value, as `strict_json.loads` does.

    Raises:
        JsonError: No strict JSON, or JSON encoded twice; with the line that works
            in the shell that makes such a text of a good one.
    """
    try:
        value = strict_json.loads(text, repeated_keys=repeated_keys)
    except JsonError as error:
        cause = _cause(text)
        if cause is None:
            raise
        raise JsonError(cause, error.line, error.column) from None
    if isinstance(value, str) and _is_request(value):
        message = f"the JSON is encoded twice, a string that holds the request; send {_again(value)}"
        raise strict_json.error_at(message, text, text.index('"'))
    return value


def _cause(text: str) -> str | None:
    """Return what has happened to the JSON on its way, None if no shell does that."""
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == "'":
        inner = bare[1:-1].replace('\\"', '"')
        if not _is_request(inner) and not _BARE_KEY.match(inner):
            return None
        return (
            "the single quotes around the JSON were sent with it, as cmd.exe does; "
            f"in cmd.exe write {_in_cmd(_again(inner))} (curl: -d)"
        )
    if _BARE_KEY.match(bare) and '"' not in bare:
        return (
            "the double quotes of the JSON are missing, as PowerShell before 7.3 and cmd.exe remove them; "
            f"in PowerShell 5.1 write {_in_powershell(_EXAMPLE)}, "
            f"in cmd.exe {_in_cmd(_EXAMPLE)} (curl: -d)"
        )
    if _ESCAPED_KEY.match(bare):
        return (
            "the backslashes before the double quotes were sent with them, as bash and PowerShell 7 do; "
            f"there write -m '{_again(bare.replace(chr(92) + chr(34), chr(34)))}' (curl: -d)"
        )
    return None


def _is_request(text: str) -> bool:
    try:
        return isinstance(strict_json.loads(text), dict | list)
    except JsonError:
        return False


def _again(text: str) -> str:
    """Return a request to be shown in a line for a shell: *text*, if every shell leaves it as it is."""
    text = text.strip()
    plain = len(text) <= _MAX_SHOWN and text.isprintable() and not set(text) & set("\\'%!`$&|<>^")
    return text if plain and _is_request(text) else _EXAMPLE


def _in_cmd(json_text: str) -> str:
    escaped = json_text.replace('"', '\\"')
    return f'-m "{escaped}"'


def _in_powershell(json_text: str) -> str:
    escaped = json_text.replace('"', '\\"')
    return f"-m '{escaped}'"
