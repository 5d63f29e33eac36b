"""Uploaded images: looked at before they are kept, served to phones and browsers under the digest of their bytes."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import NamedTuple

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from PIL import Image, UnidentifiedImageError

from campaigns.models import Picture
from config.problems import InvalidField
from tenants.models import Application

MOST_BYTES = 1024 * 1024
MOST_PIXELS = 25_000_000
# Of what the phones and browsers show. SVG is none of them: it can carry scripts.
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
HEADERS = {
    # The address changes with the bytes.
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class Seen(NamedTuple):
    content_type: str
    width: int
    height: int


def store(application: Application, data: bytes, *, by: User | None) -> Picture:
    """Kept once per application, however often it is uploaded. Raises InvalidField."""
    seen = look(data)
    picture, _ = Picture.objects.get_or_create(
        application=application,
        digest=hashlib.sha256(data).hexdigest(),
        defaults={"data": data, "uploaded_by": by, **seen._asdict()},
    )
    return picture


def look(data: bytes) -> Seen:
    """What it is, by its bytes: a name or a header may say anything. Raises InvalidField."""
    if len(data) > MOST_BYTES:
        raise InvalidField("/file", "larger than 1 MB: phones load it over a mobile connection")
    try:
        with warnings.catch_warnings(action="error"):
            return _decoded(data)
    except InvalidField:
        raise
    except UnidentifiedImageError:
        raise InvalidField("/file", "not a JPEG, PNG, GIF or WebP picture") from None
    except Exception as error:  # whatever a decoder makes of broken bytes
        raise InvalidField("/file", "the picture is damaged: it cannot be shown") from error


def _decoded(data: bytes) -> Seen:
    with Image.open(io.BytesIO(data), formats=tuple(TYPES)) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise InvalidField("/file", f"{width} × {height} pixels are too many")
        image.load()
        return Seen(TYPES[image.format or ""], width, height)


def url(request: HttpRequest, picture: Picture) -> str:
    """Where phones get it. In the open only on one's own machine."""
    host = request.get_host()
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    return f"{scheme}://{host}/pictures/{picture.digest}"


@require_safe
def serve(request: HttpRequest, digest: str) -> HttpResponse:
    """Public: whoever has a message can see its picture; whose it is cannot be told from the address."""
    etag = f'"{digest}"'
    found = Picture.objects.filter(digest=digest)
    if request.headers.get("If-None-Match") == etag and found.exists():
        return HttpResponse(status=304, headers={**HEADERS, "ETag": etag})
    if (picture := found.first()) is None:
        raise Http404("There is no such picture.")
    return HttpResponse(
        bytes(picture.data), content_type=picture.content_type, headers={**HEADERS, "ETag": etag}
    )
