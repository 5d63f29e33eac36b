"""What all our admin pages share: changes by POST only, an audit entry for each, secrets shown once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ClassVar

from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST, require_safe
from unfold.admin import ModelAdmin

from tenants.models import Application

View = Callable[..., HttpResponse]


class ConsoleAdmin(ModelAdmin):
    """An unfold ModelAdmin whose extra pages are named by `pages` (read) and `deeds` (change, POST only).

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
        return super().changeform_view(request, object_id, form_url, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Where there is one application, it need not be chosen."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        applications = list(Application.objects.values_list("pk", flat=True)[:2])
        return {"application": applications[0], **initial} if len(applications) == 1 else initial

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
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(f"This {self.opts.verbose_name} does not exist.")
        return obj

    def may(self, request: HttpRequest, permission: str, obj: Model | None = None) -> bool:
        if "." in permission:
            return request.user.has_perm(permission)
        if permission == "add":
            return bool(self.has_add_permission(request))
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
