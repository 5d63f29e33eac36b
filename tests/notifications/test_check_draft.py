"""The short cut past rendering never lets through what a provider would not take."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Category
from notifications import services
from notifications.services import Draft

nasty = st.text(alphabet=st.sampled_from('a"\\é\x01\u2028😀'), max_size=700)
link = nasty.map(lambda words: "https://example.com/" + words)
contents = st.fixed_dictionaries(
    {"title": nasty, "body": nasty},
    optional={
        "image": link,
        "url": link,
        "actions": st.lists(st.fixed_dictionaries({"id": nasty, "title": nasty, "url": link}), max_size=5),
    },
)


@given(content=contents, collapse_key=st.text(alphabet='a"\\', max_size=64))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_passes_unrendered_would_pass_rendered(content: dict[str, Any], collapse_key: str) -> None:
    draft = Draft(category=Category(), content=content, audience={}, collapse_key=collapse_key)
    size = 2 * len(orjson.dumps(content)) + len(services.NOTHING_TO_CHECK) + services.FRAME_BYTES
    if size <= services.SMALLEST_LIMIT:
        services.check_payload(content=content, overrides={}, collapse_key=collapse_key)
        services.check_draft(draft)
