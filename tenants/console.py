"""What all our admin pages share: changes by POST only, an audit entry for each, secrets shown once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ClassVar

from django.contrib.admin import RelatedFieldListFilter
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import ForeignKey, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST, require_safe
from unfold.admin import ModelAdmin

from tenants import access
from tenants.models import Application

View = Callable[..., HttpResponse]


class SeenFilter(RelatedFieldListFilter):
    """Offers what the person may see of the other model."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        ordering = self.field_admin_ordering(field, request, model_admin)
        seen = model_admin.seen(request, field.remote_field.model)
        limit = {} if seen is None else {"pk__in": seen.values("pk")}
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=limit)


class Scoped:
    """Rights by application, for pages and the tables within them. application_path: from a row to the id of its
    application, as in a lookup."""

    application_path: ClassVar[str] = "application_id"
    opts: Any
    admin_site: Any

    def allowed(self, request: HttpRequest, permission: str, obj: Model | None = None) -> bool:
        """permission: "app.codename". Without an object: in any application."""
        if obj is None:
            return access.allowed(request.user, permission)
        return access.allowed(request.user, permission, access.application_id(obj, self.application_path))

    def permission(self, action: str) -> str:
        return f"{self.opts.app_label}.{action}_{self.opts.model_name}"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allowed(request, self.permission("view"), obj) or self.allowed(
            request, self.permission("change"), obj
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allowed(request, self.permission("add"), obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allowed(request, self.permission("change"), obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allowed(request, self.permission("delete"), obj)

    def seen(self, request: HttpRequest, model: type[Model]) -> QuerySet[Any] | None:
        """Of another model, what the person may choose from; None where it is of no application."""
        if model is Application:
            return access.applications(request.user, *map(self.permission, ("view", "add", "change")))
        if model is User:
            return access.colleagues(request.user, *map(self.permission, ("view", "add", "change")))
        other = self.admin_site._registry.get(model)
        return other.get_queryset(request) if isinstance(other, ConsoleAdmin) else None

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        seen = self.seen(request, db_field.remote_field.model)
        if db_field.remote_field.model is Application:
            seen = access.applications(request.user, *map(self.permission, ("add", "change")))
        if seen is not None and "queryset" not in kwargs:
            kwargs["queryset"] = seen
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]


class ConsoleAdmin(Scoped, ModelAdmin):
    """An unfold ModelAdmin whose extra pages are named by `pages` (read) and `deeds` (change, POST only).

    Everybody sees the rows of the applications in which they may look at this model, and nothing else: an object of
    another application does not exist (404), in lists, filters, choices and pages alike.

    Both map a method's name to the permission it needs: "view", "change", or "app.codename". The URL is
    `<object id>/<name with dashes>/`, its name `<app>_<model>_<name>`.
    """

    pages: ClassVar[dict[str, str]] = {}
    deeds: ClassVar[dict[str, str]] = {}
    # False: every field is read-only, and only deeds change anything.
    saves: ClassVar[bool] = True
    actions = None
    list_per_page = 50

    def get_urls(self) -> list[URLPattern]:
        return [
            *(self._route(name, permission, require_safe) for name, permission in self.pages.items()),
            *(self._route(name, permission, require_POST) for name, permission in self.deeds.items()),
            *super().get_urls(),
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if not self.saves:
            context |= {"show_save": False, "show_save_and_continue": False}
        context.setdefault("show_save_and_add_another", False)
        if object_id is not None:
            self.found(request, object_id)
        return super().changeform_view(request, object_id, form_url, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Where there is one application, it need not be chosen."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        own = access.applications(request.user, self.permission("add"))
        applications = list(own.values_list("pk", flat=True)[:2])
        return {"application": applications[0], **initial} if len(applications) == 1 else initial

    # --- whose rows -----------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        seen = access.ids(request.user, self.permission("view"), self.permission("change"))
        return access.narrowed(super().get_queryset(request), seen, self.application_path)

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [self._seen_filter(name) for name in super().get_list_filter(request)]

    def _seen_filter(self, name: Any) -> Any:
        is_relation = isinstance(name, str) and isinstance(self.opts.get_field(name), ForeignKey)
        return (name, SeenFilter) if is_relation else name

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """The choices offered are narrowed already; this is for whoever sends others."""
        obj = super().save_form(request, form, change)
        # A new application has no id, and nobody has a role in it yet.
        if obj.pk is None and isinstance(obj, Application):
            return obj
        if not self.allowed(request, self.permission("change" if change else "add"), obj):
            raise PermissionDenied
        return obj

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        self.found(request, object_id)
        return super().history_view(request, object_id, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        self.found(request, object_id)
        return super().delete_view(request, object_id, extra_context)

    def _route(self, name: str, permission: str, allow: Callable[[View], View]) -> URLPattern:
        method = getattr(self, name)

        @wraps(method)
        def view(request: HttpRequest, object_id: str, **kwargs: Any) -> HttpResponse:
            obj = self.found(request, object_id)
            if not self.may(request, permission, obj):
                raise PermissionDenied
            return method(request, obj, **kwargs)

        route = f"<path:object_id>/{name.replace('_', '-')}/"
        return path(route, self.admin_site.admin_view(allow(view)), name=self.url_name(name))

    def url_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def url(self, name: str, obj: Model | None = None) -> str:
        """The URL of one of this model's admin pages."""
        return reverse(f"admin:{self.url_name(name)}", args=[obj.pk] if obj else [])

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """Raises Http404; PermissionDenied for whoever may see none at all."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            if not self.has_view_or_change_permission(request):
                raise PermissionDenied
            raise Http404(f"This {self.opts.verbose_name} does not exist.")
        return obj

    def may(self, request: HttpRequest, permission: str, obj: Model | None = None) -> bool:
        if "." in permission:
            return self.allowed(request, permission, obj)
        if permission == "add":
            is_here = obj is None or self.allowed(request, self.permission("add"), obj)
            return is_here and bool(self.has_add_permission(request))
        return bool(getattr(self, f"has_{permission}_permission")(request, obj))

    def audit(self, request: HttpRequest, obj: Model, message: str) -> None:
        """An entry in the object's history. Never put a secret into the message."""
        self.log_change(request, obj, message)

    def render(
        self, request: HttpRequest, template: str, obj: Model | None, context: dict[str, Any]
    ) -> TemplateResponse:
        """One of our own pages, with all that unfold's frame needs."""
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "inline_admin_formsets": [],
            "has_change_permission": self.has_change_permission(request, obj),
        }
        return TemplateResponse(request, template, {**frame, **context})

    def render_once(
        self, request: HttpRequest, obj: Model, *, title: str, secrets: Iterable[tuple[str, str, str]]
    ) -> TemplateResponse:
        """The answer that shows secrets (label, value, what for): in no session and, as all pages here, in no cache."""
        context = {"title": title, "secrets": secrets, "back": self.url("change", obj)}
        return self.render(request, "tenants/secrets.html", obj, context)


def staff(request: HttpRequest) -> User:
    """Who is at the admin; anonymous visitors do not come this far."""
    assert isinstance(request.user, User)
    return request.user


class ReadOnlyAdmin(ConsoleAdmin):
    """Rows the pipeline writes; staff only look."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
