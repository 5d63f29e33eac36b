"""The admin of templates: write one and see it as somebody will get it; its versions, and going back to one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_POST
from unfold.decorators import display

from config.problems import InvalidField
from notifications import template_diff, template_forms, template_preview, template_versions
from notifications.models import Template
from notifications.template_forms import Editor
from notifications.template_preview import Preview
from tenants import access
from tenants.console import ConsoleAdmin
from tenants.models import Application

VERSIONS_SHOWN = 50


@admin.register(Template)
class TemplateAdmin(ConsoleAdmin):
    pages: ClassVar = {"versions": "view"}
    deeds: ClassVar = {"restore": "change", "remove": "delete"}

    list_display = ("what", "application", "languages", "version", "changed")
    list_display_links = ("what",)
    list_filter = ("application",)
    list_before_template = "notifications/template_list_before.html"
    search_fields = ("name", "slug")
    search_help_text = "Search by name"
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Template]:
        return super().get_queryset(request).filter(is_listed=True).select_related("application", "current")

    @display(description="Template", header=True, ordering="name")
    def what(self, obj: Template) -> list[str]:
        return [
            obj.name,
            (obj.current and (obj.current.content["title"] or obj.current.content["body"])) or "",
        ]

    @display(description="Languages")
    def languages(self, obj: Template) -> str:
        codes = [obj.application.default_locale, *sorted(obj.current.locales if obj.current else ())]
        return format_html_join(" ", '<span class="c-chip c-off">{}</span>', ((code,) for code in codes))

    @display(description="Version")
    def version(self, obj: Template) -> str:
        return str(obj.current.number) if obj.current else "—"

    @display(description="Changed", ordering="updated_at")
    def changed(self, obj: Template) -> str:
        by = obj.current.created_by if obj.current else ""
        return format_html(
            "{} <span class='c-quiet'>{}</span>", obj.updated_at.strftime("%-d %b %Y, %H:%M"), by
        )

    # --- the page -------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if not self._applications(request).exists():
            messages.info(request, "Create an application first: a template belongs to one.")
            return HttpResponseRedirect("../../../tenants/application/add/")
        return self._page(request, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        template = self.found(request, object_id)
        if not self.has_view_or_change_permission(request, template):
            raise PermissionDenied
        if request.method == "POST" and not self.has_change_permission(request, template):
            raise PermissionDenied
        return self._page(request, template)

    def _applications(self, request: HttpRequest) -> QuerySet[Application]:
        """Of which this person may write templates."""
        return access.applications(request.user, self.permission("add"))

    def _page(self, request: HttpRequest, template: Template | None) -> HttpResponse:
        if request.method != "POST":
            return self._shown(request, Editor(template, applications=self._applications(request)))
        if more := template_forms.added(request.POST):
            return self._shown(request, Editor(template, more, applications=self._applications(request)))
        editor = Editor(template, request.POST, applications=self._applications(request))
        said = editor.understood()
        if said is None:
            return self._shown(request, editor)
        by = request.user.get_username()
        if template is None:
            return self._create(request, editor, said, by)
        before = template.current_id
        template = template_versions.change(template, said, by=by)
        assert template.current
        if template.current_id == before:
            messages.info(request, "Nothing in the message has changed, so there is no new version.")
        else:
            self.audit(request, template, f"Version {template.current.number}.")
            messages.success(
                request,
                f"Saved as version {template.current.number}. Messages accepted before keep their version.",
            )
        return HttpResponseRedirect(self.url("change", template))

    def _create(self, request: HttpRequest, editor: Editor, said: Any, by: str) -> HttpResponse:
        about = editor.about.cleaned_data
        try:
            template = template_versions.create(about["application"].pk, about["slug"], said, by=by)
        except template_versions.Taken:
            editor.about.add_error("slug", "There is a template of this name already.")
            return self._shown(request, editor)
        self.log_addition(request, template, "Version 1.")
        messages.success(request, f"Saved. Your systems send it as “{template.slug}”.")
        return HttpResponseRedirect(self.url("change", template))

    def _shown(self, request: HttpRequest, editor: Editor) -> HttpResponse:
        template = editor.template
        may_change = (
            self.has_change_permission(request, template) if template else self.has_add_permission(request)
        )
        context = {
            "title": template.name if template else "New template",
            "editor": editor,
            "template_object": template,
            "missing_words": {value: help for value, (_, help) in template_diff.MISSING.items()},
            "has_errors": any(_has_errors(part) for part in editor.parts),
            "may_change": may_change,
            "may_delete": template is not None and self.has_delete_permission(request, template),
            "variables_url": self.url("variables"),
            "preview_url": self.url("preview"),
            **self._variables(editor),
        }
        return self.render(request, "notifications/template.html", template, context)

    # --- fragments ------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            *(
                path(f"{name}/", wrap(require_POST(getattr(self, name))), name=self.url_name(name))
                for name in ("variables", "preview")
            ),
            *super().get_urls(),
        ]

    def variables(self, request: HttpRequest) -> HttpResponse:
        """What the texts of the page read, and what is wrong with them."""
        editor = self._edited(request)
        return TemplateResponse(request, "notifications/_template_variables.html", self._variables(editor))

    def preview(self, request: HttpRequest) -> HttpResponse:
        """The page as somebody would get it."""
        editor = self._edited(request)
        context: dict[str, Any] = {}
        try:
            context["shown"] = self._previewed(request, editor)
        except InvalidField as error:
            context["error"] = _said(error)
        return TemplateResponse(request, "notifications/_template_preview.html", context)

    def _edited(self, request: HttpRequest) -> Editor:
        template = self.found(request, request.POST["template"]) if request.POST.get("template") else None
        if not self.has_view_or_change_permission(request, template):
            raise PermissionDenied
        # Of whoever may only look, the page's fields are disabled and not sent.
        posted = request.POST if "own-title" in request.POST else None
        return Editor(template, posted, applications=self._applications(request))

    def _variables(self, editor: Editor) -> dict[str, Any]:
        try:
            return {"variables": template_forms.variables(editor.wording(), editor)}
        except InvalidField as error:
            return {"fault": _said(error), "kept_defaults": editor.defaults, "kept_samples": editor.samples}

    def _previewed(self, request: HttpRequest, editor: Editor) -> Preview:
        wording = editor.wording()
        application = (
            editor.template.application if editor.template else editor.about.cleaned_data.get("application")
        )
        if application is None:
            raise InvalidField("/application", "choose an app first")
        subscriber, named = None, request.POST.get("person", "").strip()
        if named and (subscriber := template_preview.subscriber(application.pk, named)) is None:
            raise InvalidField("/person", f"there is no person “{named[:60]}” in {application}")
        return template_preview.of(
            wording,
            application=application,
            subscriber=subscriber,
            variables=editor.samples,
            locale=request.POST.get("language") or None,
        )

    # --- versions -------------------------------------------------------------------------

    def versions(self, request: HttpRequest, template: Template) -> HttpResponse:
        found = list(template.versions.all()[: VERSIONS_SHOWN + 1])
        pairs = zip(found, [*found[1:], None], strict=True)
        rows = [(version, template_diff.between(earlier, version)) for version, earlier in pairs]
        context = {
            "title": f"Versions of {template.name}",
            "rows": rows[:VERSIONS_SHOWN],
            "template_object": template,
            "may_restore": self.has_change_permission(request, template),
        }
        return self.render(request, "notifications/template_versions.html", template, context)

    def restore(self, request: HttpRequest, template: Template) -> HttpResponse:
        """POST: what an earlier version says is said from now on."""
        number = request.POST.get("number", "")
        version = template.versions.filter(number=int(number)).first() if number.isdigit() else None
        if version is None:
            messages.error(request, "There is no such version. Nothing was changed.")
            return HttpResponseRedirect(self.url("versions", template))
        restored = template_versions.restore(version, by=request.user.get_username())
        assert restored.current
        self.audit(request, template, f"Version {restored.current.number}, as version {version.number}.")
        messages.success(
            request, f"Version {restored.current.number} says what version {version.number} said."
        )
        return HttpResponseRedirect(self.url("versions", template))

    def remove(self, request: HttpRequest, template: Template) -> HttpResponse:
        """POST: delete it, unless messages wait for it."""
        self.log_deletions(request, Template.objects.filter(pk=template.pk))
        try:
            template_versions.delete(template)
        except template_versions.InUse as error:
            messages.error(request, f"{error} Nothing was deleted.")
            return HttpResponseRedirect(self.url("change", template))
        messages.success(request, f"“{template.name}” is deleted.")
        return HttpResponseRedirect(self.url("changelist"))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return HttpResponseRedirect(self.url("change", self.found(request, object_id)))


def _has_errors(part: Any) -> bool:
    return part.is_bound and (
        part.total_error_count() if hasattr(part, "total_error_count") else bool(part.errors)
    )


PLACES = {
    "title": "Title",
    "body": "Text",
    "image": "Picture",
    "url": "Opens",
    "data": "Data",
    "actions": "Button",
}


def _said(error: InvalidField) -> str:
    """With the field's own name on the page."""
    _, root, *rest = error.pointer.split("/")
    at = rest[1:] if root == "locales" else rest
    language = f" ({rest[0]})" if root == "locales" and rest else ""
    place = PLACES.get(at[0], "") if at and root in ("content", "locales") else ""
    if root == "defaults":
        place = rest[0] if rest else ""
    return (
        f"{place}{language}: {error.detail}"
        if place or language
        else error.detail[0].upper() + error.detail[1:]
    )
