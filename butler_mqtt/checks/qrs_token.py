"""Checks the token (JWT) with which the daemon logs in at a Qlik proxy, by what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.domain import days_left
from butler_mqtt.qrs import jwt_file

#: Claims that name the user, as in Qlik's own example of a virtual proxy; a site may choose other names.
USER_CLAIMS = ("userId", "userDirectory")
_NAME = "qlik.token"
_RENEW = "have a new token issued and put it into configQRS.jwtFile; the daemon reads it by itself"


def check(path: Path) -> Iterator[Finding]:
    """Check whether the token in the file *path* can be read, is valid now, and names a user."""
    try:
        claims = jwt_file.claims(jwt_file.read(path))
    except (OSError, ValueError) as error:
        yield wrong(_NAME, f"{path} {error}", "write the token alone into the file, one line")
        return
    yield _judged(path, claims)
    missing = [name for name in USER_CLAIMS if name.lower() not in {one.lower() for one in claims.names}]
    if missing:
        yield warning(
            _NAME,
            f"{path} has no claim {' and no '.join(missing)}; it has {', '.join(claims.names) or 'none'}",
            "the virtual proxy must name its claims for user id and user directory as the token does"
            " (QMC, Virtual proxies, Authentication)",
        )


def _judged(path: Path, claims: jwt_file.Claims) -> Finding:
    now = datetime.now(UTC)
    if claims.not_before is not None and claims.not_before > now:
        begins = f"{claims.not_before:%Y-%m-%d %H:%M} UTC"
        return wrong(_NAME, f"{path} is not valid before {begins}", "check this machine's clock")
    if claims.expires is None:
        return warning(
            _NAME,
            f"{path} has no claim exp: it is valid for ever",
            "have one issued that ends, or guard it well",
        )
    if claims.expires <= now:
        return wrong(_NAME, f"{path} expired on {claims.expires:%Y-%m-%d %H:%M} UTC", _RENEW)
    days = (claims.expires - now).days
    if days < days_left.TOKEN:
        return warning(_NAME, f"{path} expires {days_left.within(days)}", f"{_RENEW}, in time")
    return ok(_NAME, f"{path} is valid for {days} more days")
