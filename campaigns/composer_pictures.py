"""The composer's upload of a picture."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from campaigns import pictures, services
from campaigns.composer_draft import answers, application, check_writer
from config.problems import InvalidField
from tenants.console import ConsoleAdmin, staff


@answers
def upload(admin: ConsoleAdmin, request: HttpRequest) -> dict[str, Any]:
    """POST, multipart {application: slug, file}: kept, with its address and size in pixels."""
    app = application(admin, request, request.POST.get("application", ""))
    check_writer(admin, request, services.drafted(app))
    file = request.FILES.get("file")
    if file is None:
        raise InvalidField("/file", "choose a picture")
    picture = pictures.store(app, file.read(pictures.MOST_BYTES + 1), by=staff(request))
    return {"url": pictures.url(request, picture), "width": picture.width, "height": picture.height}
