"""Every reason that can be recorded has its words, and the admin and the API say the same ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from django.test import Client

from notifications import catalogue, reasons
from notifications.pipeline import claim, timing
from notifications.pipeline.build import providers
from tests.admin.conftest import vera, viewer  # noqa: F401
from tests.conftest import Api, Tenant

NOTIFICATIONS = Path(reasons.__file__).parents[1]
# Where a call takes a reason: the function's name → the argument's place.
REASON_OF = {"Verdict": 1, "Unsaid": 1, "add": 2, "_settle": 2, "_put_back": 2, "Result": 2}
IN_SQL = (
    re.compile(r"THEN '([a-z]+_[a-z_]+)'"),
    re.compile(r"'(?:failed|uncertain|suppressed|cancelled)'(?: END)?,\s*'([a-z_]+)'"),
)
# Words in the same places of a statement that are no reasons.
OUTCOMES = {"accepted", "cancelled", "failed", "rejected", "suppressed", "uncertain", "unregistered"}


def written(folder: str) -> Iterator[str]:
    """Reasons that stand in the source."""
    for path in (NOTIFICATIONS / folder).glob("*.py"):
        text = path.read_text()
        for pattern in IN_SQL:
            if path.stem != "verify":  # what it finds amiss are no reasons
                yield from (word for word in pattern.findall(text) if word not in OUTCOMES - {"cancelled"})
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                place = node.args[REASON_OF[name] :][:1] if name in REASON_OF else []
                yield from (str(arg.value) for arg in place if isinstance(arg, ast.Constant) and arg.value)


def test_every_reason_of_a_provider_has_words() -> None:
    said = {
        verdict.reason
        for provider in providers().values()
        for verdict in provider.OUTCOMES.values()
        if verdict.reason
    }
    assert len(said) > 40
    assert not said - reasons.CATALOGUE.keys()
    found = set(written("providers"))
    assert {"provider_token_refused_fresh", "malformed_token", "unspecified_error"} <= found
    assert found <= reasons.CATALOGUE.keys(), found - reasons.CATALOGUE.keys()


def test_every_reason_of_the_pipeline_has_words() -> None:
    kept = {claim.STOPPED, claim.THROTTLED, claim.STOPPING, claim.UNTIMELY, claim.NOT_LOADED}
    untimely = {timing.QUIET, timing.INBOX_ONLY, timing.PAST_DEADLINE, timing.LATE, timing.NEVER}
    found = {*written("pipeline"), *kept, *untimely}
    for known in ("opted_out", "unknown_device", "missing_variable", "expired", "cancelled", "sender_died"):
        assert known in found
    assert found <= reasons.CATALOGUE.keys(), found - reasons.CATALOGUE.keys()


def test_every_entry_says_what_happened_and_what_it_spares() -> None:
    for reason, words in reasons.CATALOGUE.items():
        assert words.title and words.means.endswith(".") and words.spared.endswith("."), reason
        assert not words.todo or words.todo.endswith("."), reason
    assert {"unregistered", "gone", "device_retired"} <= reasons.ORDINARY


def test_what_nobody_foresaw_is_shown_by_its_own_name() -> None:
    assert reasons.words("http_418").title == "Answer 418"
    assert reasons.words("brand_new").title == "Brand new"
    assert reasons.words("bad_topic: BadTopic").title == "Bundle id refused"


def test_each_reason_is_in_one_group() -> None:
    groups = {group.key: {entry.reason for entry in group.entries} for group in catalogue.grouped()}
    assert sum(map(len, groups.values())) == len(reasons.CATALOGUE)
    assert {"permission_denied", "capped"} <= groups["held"]
    assert {"bad_topic", "environment_not_covered"} <= groups["apns"]
    assert {"project_permission_denied", "invalid_grant"} <= groups["fcm"]
    assert {"vapid_key_mismatch", "endpoint_not_allowed"} <= groups["webpush"]
    assert {"unregistered", "payload_too_large"} <= groups["several"]
    assert {"no_answer", "sender_died"} <= groups["carillon"]


def test_the_api_and_its_documentation_say_the_words(shop: Tenant, stranger: Api) -> None:
    for api in (shop.server, shop.client):
        answer = api.get("reasons")
        assert answer.status_code == 200
        rows = {row["reason"]: row for row in answer.json()["results"]}
        assert rows.keys() == reasons.CATALOGUE.keys()
    words = reasons.CATALOGUE["unregistered"]
    assert rows["unregistered"] == {
        "reason": "unregistered",
        "group": "several",
        "title": words.title,
        "what_happened": words.means,
        "not_affected": words.spared,
        "what_to_do": words.todo,
        "answers": [
            {"provider": "apns", "status": 410, "code": "Unregistered", "outcome": "unregistered"},
            {"provider": "fcm", "status": 404, "code": "UNREGISTERED", "outcome": "unregistered"},
        ],
    }
    assert stranger.get("reasons").status_code == 401
    assert shop.server.get("reasons?page=2").status_code == 422
    schema = shop.server.get("schema?format=json").json()
    documented = schema["paths"]["/v1/reasons"]["get"]["description"]
    assert all(
        f"`{reason}`" in documented and row["what_happened"] in documented for reason, row in rows.items()
    )


def test_the_page_says_the_same_and_is_searched(viewer: Client, client: Client) -> None:  # noqa: F811
    page = unescape(viewer.get("/admin/reasons/").content.decode())
    for reason, words in reasons.CATALOGUE.items():
        assert f'id="{reason}"' in page
        assert words.means in page and words.spared in page and words.todo in page
    assert "410 Unregistered" in page
    found = viewer.get("/admin/reasons/", {"q": "410 APNS"}).content.decode()
    assert 'id="unregistered"' in found and 'id="opted_out"' not in found
    assert "No reason says that" in viewer.get("/admin/reasons/", {"q": "xyzzy"}).content.decode()
    assert client.get("/admin/reasons/").status_code == 302
    assert viewer.post("/admin/reasons/").status_code == 405
