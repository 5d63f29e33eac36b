"""Which push services a subscription may point to.

An endpoint comes from whoever registers a device and becomes a request from inside our network, so only the
browsers' own services pass, by name, over TLS, on the usual port. Literal addresses, and with them the
private ones, never match a name. Nor does it help to point such a name elsewhere (DNS rebinding): the zones
belong to the vendors, and who answers must hold a certificate for the name. What the operator lists in
WEBPUSH_ALLOWED_HOSTS passes as it is: "host" on any port, "host:port" on that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HOSTS = frozenset({"fcm.googleapis.com", "updates.push.services.mozilla.com"})
ZONES = (".push.services.mozilla.com", ".notify.windows.com", ".push.apple.com")
LONGEST = 2048  # characters of an endpoint

_ENDPOINT = re.compile(
    r"(?P<origin>https://(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<path>/[!-\"$-\[\]-~]*)"  # printable ASCII without space, # and \
)


class BadEndpoint(ValueError):
    """An endpoint that is not on a known push service."""


class PushServices:
    def __init__(self, extra: Iterable[str] = ()) -> None:
        self._extra = frozenset(host.strip().lower() for host in extra)

    def split(self, endpoint: str) -> tuple[str, str]:
        """(origin, path) of an endpoint that may be posted to. Raises BadEndpoint."""
        found = _ENDPOINT.fullmatch(endpoint) if len(endpoint) <= LONGEST else None
        if found is None:
            raise BadEndpoint("must be an https URL of a push service")
        host, port = found["host"].lower(), found["port"]
        if not self._allows(host, port):
            raise BadEndpoint(f"{host} is not a known push service (see WEBPUSH_ALLOWED_HOSTS)")
        return origin(host, port), found["path"]

    def _allows(self, host: str, port: str | None) -> bool:
        if host in self._extra or f"{host}:{port or 443}" in self._extra:
            return True
        return port in (None, "443") and (host in HOSTS or _in_zone(host))


def origin(host: str, port: str | None) -> str:
    """RFC 6454 serialisation, which is also what VAPID calls the audience: no default port."""
    return f"https://{host}" if port in (None, "443") else f"https://{host}:{port}"


def _in_zone(host: str) -> bool:
    return host.endswith(ZONES) and ".." not in host and not host.startswith((".", "-"))
