"""Asking what a message links to whether it is there: from public addresses only, for 3 seconds, remembered 10 minutes.

The addresses a name stands for are looked up once, judged, and the connection goes to the one that was judged: a
campaign's author must not make this server call what only this server can reach.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from django.conf import settings
from django.core.cache import cache

from campaigns import contents
from campaigns.document import Content, Variant
from campaigns.models import Picture

SECONDS = 3.0
REMEMBERED = 600
MOST_HOPS = 3
MOST_LINKS = 20
LARGEST_IMAGE = 500 * 1024  # recommended for pushes; phones on slow networks give up on larger ones
AGENT = {"User-Agent": "Carillon link check", "Accept": "*/*"}
# All of IPv6 that is routed; within it, addresses in which a private one may be wrapped.
ROUTED = ipaddress.IPv6Network("2000::/3")
TRANSLATED = [ipaddress.IPv6Network(name) for name in ("2002::/16", "2001::/32")]
ASSIGNED = ipaddress.IPv4Network(
    "192.0.0.0/24"
)  # by the IETF to protocols; Python takes most of it for public

SAFE = "/%:=&?~+!$,;'@()*[]-._"


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="links")


class Answer(NamedTuple):
    """fault: why it will not do, "" if it will. words: what it answered."""

    words: str
    fault: str = ""


class Refused(Exception):
    """It is not asked, or not answered; in words."""


# --- what there is to ask ---------------------------------------------------------------------


def links(variant: Variant) -> Iterator[tuple[str, str]]:
    """Pointer in the variant, and URL; of all locales and platforms."""
    yield from _with(variant.content, "url")
    for number, action in enumerate(variant.content.actions):
        if action.url:
            yield f"/content/actions/{number}/url", action.url
    # A browser takes a path on its own site as well, which nobody can ask from here.
    yield from (
        (pointer, url) for pointer, url in contents.own_links(variant) if ":" in url.partition("/")[0]
    )


def images(content: Content) -> Iterator[tuple[str, str]]:
    yield from _with(content, "image")


def _with(content: Content, field: str) -> Iterator[tuple[str, str]]:
    if url := getattr(content, field):
        yield f"/content/{field}", url
    for locale, texts in content.locales.items():
        url = getattr(texts, field)
        if isinstance(url, str) and url:
            yield f"/content/locales/{locale}/{field}", url


def is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def shown(url: str) -> str:
    """Short enough for a line, without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that nothing closes
        return "A link that cannot be read"
    said = f"{parts.hostname or ''}{parts.path if parts.path != '/' else ''}"
    return said if len(said) <= 60 else f"{said[:59]}…"


# --- asking -----------------------------------------------------------------------------------


def known(urls: Sequence[str], is_image: bool) -> dict[str, Answer]:
    """What is remembered of them."""
    keys = {_key(url, is_image): url for url in urls}
    return {keys[key]: answer for key, answer in cache.get_many(list(keys)).items()}


def ask(urls: Sequence[str], *, is_image: bool) -> dict[str, Answer]:
    """All at once; none takes longer than SECONDS. What is remembered is not asked again."""
    found = known(urls, is_image)
    fresh = {url: _own_picture(url) for url in urls[:MOST_LINKS] if url not in found}
    asked = {url: _threads().submit(_ask, url, is_image) for url, own in fresh.items() if own is None}
    wait(asked.values(), timeout=SECONDS)
    for url, own in fresh.items():
        found[url] = own or _of(asked[url])
    cache.set_many({_key(url, is_image): found[url] for url in asked}, timeout=REMEMBERED)
    return {**dict.fromkeys(urls, Answer("too many to ask them all")), **found}


def forget(urls: Sequence[str], *, is_image: bool) -> None:
    cache.delete_many([_key(url, is_image) for url in urls])


def _key(url: str, is_image: bool) -> str:
    return f"carillon:link:{int(is_image)}:{hashlib.sha256(url.encode()).hexdigest()}"


def _of(future: Future[Answer]) -> Answer:
    if not future.done():
        future.cancel()
        return _late()
    return future.result()


def _late() -> Answer:
    return Answer("", f"no answer within {SECONDS:.0f} seconds")


def _ask(url: str, is_image: bool) -> Answer:
    """Never raises."""
    begun = time.monotonic()
    try:
        said = _fetched(url, is_image, begun + SECONDS)
    except Refused as error:
        return Answer("", str(error))
    except TimeoutError:
        return _late()
    except ssl.SSLError:
        return Answer("", "its certificate is not valid")
    except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
        if time.monotonic() >= begun + SECONDS:  # cut
            return _late()
        return Answer("", f"it cannot be reached from this server ({type(error).__name__})")
    return said if is_image else Answer(f"answered in {(time.monotonic() - begun) * 1000:.0f} ms")


def _fetched(url: str, is_image: bool, deadline: float) -> Answer:
    for _ in range(MOST_HOPS + 1):
        parts = urlsplit(url)
        methods = ("GET",) if is_image else ("HEAD", "GET")  # not every server answers HEAD
        for method in methods:
            status, location, said = _one(parts, method, is_image, deadline)
            if status < 400:
                break
        if status in (301, 302, 303, 307, 308) and location:
            url = urljoin(url, location)
            continue
        if status >= 400:
            raise Refused(f"the server answers {status}")
        return said
    raise Refused("it leads in circles")


def _one(parts: SplitResult, method: str, is_image: bool, deadline: float) -> tuple[int, str, Answer]:
    connection = _connection(parts, deadline)
    # A socket's timeout begins anew with each byte: a server that drips would keep the thread for hours.
    cut = threading.Timer(max(0, deadline - time.monotonic()), _cut, [connection.sock])
    cut.daemon = True
    cut.start()
    try:
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request(method, quote(path, safe=SAFE), headers=AGENT)
        response = connection.getresponse()
        is_final = response.status < 300
        said = _image(response, deadline) if is_image and is_final else Answer("")
        return response.status, response.headers.get("Location", ""), said
    finally:
        cut.cancel()
        connection.close()


def _cut(sock: socket.socket) -> None:
    """Its reader finds the end of it. Not as ssl does it, which forgets that it is encrypted."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _image(response: http.client.HTTPResponse, deadline: float) -> Answer:
    kind = response.headers.get_content_type()
    if not kind.startswith("image/"):
        raise Refused(f"it is no picture but {kind}")
    size = 0
    while size <= LARGEST_IMAGE and (part := response.read1(65_536)):
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
    return _sized(size)


def _sized(size: int) -> Answer:
    if size > LARGEST_IMAGE:
        return Answer("", f"it is larger than {LARGEST_IMAGE // 1024} KB: phones may not show it")
    return Answer(f"{max(1, size // 1024)} KB")


def _own_picture(url: str) -> Answer | None:
    """One this installation serves: it need not ask itself."""
    start = f"{settings.BASE_URL}/pictures/"
    if not url.startswith(start):
        return None
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".local") or _is_private_literal(host):
        return Answer("", f"phones cannot reach {host}: set BASE_URL to this installation's public address")
    picture = Picture.objects.filter(digest=url.removeprefix(start).partition(".")[0]).first()
    return _sized(len(picture.data)) if picture else Answer("", "there is no such picture any more")


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return False


# --- the guard --------------------------------------------------------------------------------


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach it. Raises ValueError for what is no address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return is_public(str(found.ipv4_mapped))
        if found not in ROUTED or any(found in network for network in TRANSLATED):
            return False
    elif found in ASSIGNED:
        return False
    return found.is_global and not found.is_multicast


def _connection(parts: SplitResult, deadline: float) -> http.client.HTTPConnection:
    """To the very address that was judged, so that the name cannot stand for another one meanwhile."""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("it leads to no web page")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise Refused("there is no server of this name") from None
    addresses = [str(row[4][0]) for row in rows]
    if not addresses or not all(map(is_public, addresses)):
        raise Refused("it is not on the public internet, so it was not asked")
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    made: http.client.HTTPConnection
    if parts.scheme == "https":
        made = http.client.HTTPSConnection(host, port, timeout=left, context=_tls())
    else:
        made = http.client.HTTPConnection(host, port, timeout=left)
    made.sock = socket.create_connection((addresses[0], port), timeout=left)
    if parts.scheme == "https":
        try:
            made.sock = _tls().wrap_socket(made.sock, server_hostname=host)
        except OSError:
            made.close()
            raise
    return made


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
