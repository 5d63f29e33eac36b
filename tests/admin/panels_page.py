"""The composer's panels on a page of their own, with the least draft that keeps their contract."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.template import engines
from django.test import RequestFactory

from campaigns import composer_audience, document
from campaigns.models import Campaign
from tests.conftest import Tenant

ADDRESS = "/admin/panels/"
PANELS = ("audience", "experiment", "schedule", "safety")
# As static/composer/draft.js has it, without saving.
DRAFT = """
  class Draft extends EventTarget {
    constructor(data) { super(); Object.assign(this, data, { faults: [], summaries: {}, posted: [] }); }
    get(path) { return structuredClone(path.split(".").reduce((at, name) => at?.[name], this.plan)); }
    set(path, value) {
      const names = path.split("."), last = names.pop();
      names.reduce((at, name) => at[name] ??= {}, this.plan)[last] = structuredClone(value);
      this.dispatchEvent(new CustomEvent("change", { detail: { path } }));
    }
    summary(section, text) { this.summaries[section] = text; }
    async post(url, extra = {}) {
      const { application, category, plan } = this;
      const body = JSON.stringify({ application, category, plan, ...extra });
      const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
      const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
      const answer = await fetch(url, { method: "POST", body, headers });
      const said = await answer.json();
      if (!answer.ok) throw { status: answer.status, problem: said };
      return said;
    }
  }
"""
PAGE = """
{% extends "admin/base_site.html" %}{% load static %}
{% block extrahead %}{{ block.super }}<link rel="stylesheet" href="{% static 'composer/panels.css' %}">{% endblock %}
{% block content %}<main class="c-stack c-narrow">
{% for name in panels %}<section class="c-card" data-panel="{{ name }}" aria-labelledby="h-{{ name }}">
  <header class="c-card-head"><h2 id="h-{{ name }}">{{ name|capfirst }}</h2></header>
  {% with "campaigns/compose/_"|add:name|add:".html" as part %}{% include part %}{% endwith %}
</section>{% endfor %}</main>
{{ data|json_script:"composer-data" }}
<script type="module">DRAFT
  const draft = window.draft = new Draft(JSON.parse(document.getElementById("composer-data").textContent));
  for (const root of document.querySelectorAll("[data-panel]")) {
    const { mount } = await import(`{% static "composer/" %}${root.dataset.panel}.js`);
    mount(root, draft);
  }
  document.body.dataset.ready = "";
</script>{% endblock %}
"""


def show(
    page: Any, user: User, tenant: Tenant, plan: dict[str, Any] | None = None, panels: Any = PANELS
) -> None:
    """plan: sections that differ from a blank one."""
    from django.middleware.csrf import get_token

    request = RequestFactory().get(ADDRESS)
    request.user = user
    campaigns = admin.site.get_model_admin(Campaign)
    data = {
        "application": tenant.application.slug,
        "category": "marketing",
        "plan": {**document.blank(), **json.loads(json.dumps(plan or {}))},
        "urls": composer_audience.panel_urls(campaigns),  # type: ignore[arg-type]
    }
    context = {
        **admin.site.each_context(request),
        "opts": Campaign._meta,
        "title": "Panels",
        "data": data,
        "panels": panels,
    }
    html = engines["django"].from_string(PAGE.replace("DRAFT", DRAFT)).render(context, request)
    secret = get_token(request)
    page.context.add_cookies(
        [{"name": "csrftoken", "value": request.META["CSRF_COOKIE"], "url": page.context.base_url}]
    )
    assert secret
    page.route(
        f"**{ADDRESS}", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8")
    )
    page.goto(ADDRESS)
    page.locator("body[data-ready]").wait_for()
    page.wait_for_load_state("networkidle")
