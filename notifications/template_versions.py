"""Templates and their versions: what may be in one, reads, writes. A version never changes; a change is a new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import orjson
from django.db import IntegrityError, transaction
from django.db.models import Max, ProtectedError, QuerySet

from config.problems import InvalidField
from config.types import Locale, Slug, text
from notifications import template_wording as wordings
from notifications.content import LONGEST_LINK, MOST_LOCALES, Words
from notifications.models import Notification, Template, TemplateVersion
from notifications.template_wording import Wording

Missing = TemplateVersion.Missing
LARGEST_DEFAULT = 1000  # characters

Name = Annotated[str, text(120, shortest=1)]
# With Liquid in it; what it comes to is checked when it is rendered.
LiquidLink = Annotated[str, msgspec.Meta(max_length=LONGEST_LINK)]
LiquidData = dict[Annotated[str, text(128, shortest=1)], Words]


class LiquidAction(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    id: Annotated[str, text(64, shortest=1)]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    url: LiquidLink | msgspec.UnsetType = msgspec.UNSET


LiquidActions = Annotated[list[LiquidAction], msgspec.Meta(max_length=5)]


class LiquidTexts(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is said differently in a locale; the rest is as in the template's content."""

    title: Words | msgspec.UnsetType = msgspec.UNSET
    body: Words | msgspec.UnsetType = msgspec.UNSET
    image: LiquidLink | msgspec.UnsetType = msgspec.UNSET
    url: LiquidLink | msgspec.UnsetType = msgspec.UNSET
    data: LiquidData | msgspec.UnsetType = msgspec.UNSET
    actions: LiquidActions | msgspec.UnsetType = msgspec.UNSET


Locales = Annotated[dict[Locale, LiquidTexts], msgspec.Meta(max_length=MOST_LOCALES)]


class LiquidContent(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """As in the send API, with Liquid in its texts."""

    title: Words
    body: Words
    image: LiquidLink | msgspec.UnsetType = msgspec.UNSET
    url: LiquidLink | msgspec.UnsetType = msgspec.UNSET
    data: LiquidData = {}
    actions: LiquidActions = []


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """`PUT /v1/templates/{slug}`: what the new version says, as a whole.

    defaults: by variable, as in {"subscriber.attributes.first_name": "friend"}.
    missing: what becomes of a person for whom a variable has neither value nor default.
    """

    content: LiquidContent
    name: Name | None = None
    locales: Locales = {}
    defaults: dict[
        Annotated[str, text(200, shortest=1)],
        Annotated[str, msgspec.Meta(max_length=LARGEST_DEFAULT)] | bool | int | float,
    ] = {}
    missing: Literal["fail", "default", "skip"] = "fail"


class New(Said, kw_only=True):
    """`POST /v1/templates`."""

    slug: Slug


class InUse(Exception):
    """Messages that are still to be sent need it."""


class Taken(Exception):
    """There is a template of this name."""


# --- reads ------------------------------------------------------------------------------------


def templates(application_id: int) -> QuerySet[Template]:
    """Those under a name of their own; what campaigns store for themselves is theirs."""
    return _templates(application_id).filter(is_listed=True)


def _templates(application_id: int) -> QuerySet[Template]:
    return Template.objects.select_related("current").filter(application_id=application_id)


def template(application_id: int, slug: str) -> Template | None:
    return templates(application_id).filter(slug=slug).first()


def current(application_id: int, slug: str) -> tuple[int, Wording] | None:
    """The id of what the template says now, and that."""
    id = _templates(application_id).filter(slug=slug).values_list("current_id", flat=True).first()
    if id is None:
        return None
    if known := wordings.known(id):
        return id, known
    version = TemplateVersion.objects.filter(template__application_id=application_id, id=id).first()
    return (id, wording(version)) if version else None


def wording(version: TemplateVersion) -> Wording:
    return wordings.of_version(
        version.pk, version.content, version.locales, version.defaults, version.missing
    )


def lenient(version: TemplateVersion) -> Wording:
    """To look at: whatever is missing is left empty."""
    return wordings.read(version.content, version.locales, version.defaults, wordings.LENIENT)


# --- writes -----------------------------------------------------------------------------------


def create(application_id: int, slug: str, said: Said, *, by: str, is_listed: bool = True) -> Template:
    """is_listed: False for what only its maker uses. Raises InvalidField, Taken."""
    fields = _fields(said)
    try:
        with transaction.atomic():
            created = Template.objects.create(
                application_id=application_id, slug=slug, name=said.name or slug, is_listed=is_listed
            )
            return _say(created, fields, by=by)
    except IntegrityError:
        raise Taken(slug) from None


def change(template: Template, said: Said, *, by: str) -> Template:
    """A new version, unless it says the same as the current one. Raises InvalidField."""
    fields = _fields(said)
    with transaction.atomic():
        locked = Template.objects.select_for_update().get(pk=template.pk)
        locked.name = said.name or locked.name
        return _say(locked, fields, by=by)


def restore(version: TemplateVersion, *, by: str) -> Template:
    """What this version says becomes the newest version."""
    with transaction.atomic():
        locked = Template.objects.select_for_update().get(pk=version.template_id)
        return _say(locked, _stored(version), by=by)


def delete(template: Template) -> None:
    """Raises InUse. Messages that are done forget which version they were made from."""
    with transaction.atomic():
        locked = Template.objects.select_for_update().get(pk=template.pk)
        versions = list(locked.versions.select_for_update().values_list("id", flat=True))
        users = Notification.objects.filter(
            application_id=locked.application_id, template_version__in=versions
        )
        if users.filter(status__in=Notification.OPEN).exists():
            raise InUse("Messages that use it are still to be sent.")
        users.update(template_version=None)
        Template.objects.filter(pk=locked.pk).update(current=None)
        try:
            locked.delete()
        except ProtectedError as error:
            raise InUse("It is in use elsewhere.") from error


def checked(said: Said) -> Wording:
    """Read, not stored. Raises InvalidField, naming the field, the line and what is wrong."""
    return wordings.read(**_fields(said))


def _fields(said: Said) -> dict[str, Any]:
    fields = {
        "content": msgspec.to_builtins(said.content),
        "locales": msgspec.to_builtins(said.locales),
        "defaults": dict(said.defaults),
        "missing": said.missing,
    }
    content = fields["content"]
    if not (content["title"] or content["body"] or content.get("data")):
        raise InvalidField("/content", "there is nothing in it: no title, no body, no data")
    try:
        orjson.dumps(fields["defaults"])
    except TypeError:
        raise InvalidField("/defaults", "numbers have to fit into 64 bits") from None
    wordings.read(**fields)
    return fields


def _stored(version: TemplateVersion) -> dict[str, Any]:
    return {name: getattr(version, name) for name in ("content", "locales", "defaults", "missing")}


def _say(template: Template, fields: Mapping[str, Any], *, by: str) -> Template:
    """In the caller's transaction, which holds the template's row."""
    if template.current is None or _stored(template.current) != fields:
        number = template.versions.aggregate(last=Max("number"))["last"] or 0
        template.current = TemplateVersion.objects.create(
            template=template, number=number + 1, created_by=by, **fields
        )
    template.save(update_fields=["name", "current", "updated_at"])
    return template
