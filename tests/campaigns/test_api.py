"""Campaigns over REST: drafts, reach, launch once, deeds, runs; each key sees its own application only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import approving, services
from campaigns.models import Campaign, Run
from notifications.models import Notification
from tenants import services as tenants
from tenants.models import ApiKey, Application, Call
from tests.campaigns.conftest import anna, console_credential, empty_cache, make_campaign, opt_in
from tests.conftest import Api, Tenant

__all__ = ["anna", "console_credential", "empty_cache", "make_campaign", "opt_in"]

SAID = {"name": "Autumn", "variants": [{"content": {"title": "The sale is on", "body": "Until Sunday."}}]}
AT_ONCE = {"schedule": {"undo": False}}


@pytest.fixture
def audience(shop: Tenant, make_device: Any, opt_in: Callable[..., None], console_credential: None) -> None:
    for name in ("ada", "bob", "eve"):
        make_device(shop, name, platform="ios")
        opt_in(shop, name)


def create(tenant: Tenant, **more: Any) -> dict[str, Any]:
    made = tenant.server.post("campaigns", {**SAID, **AT_ONCE, **more})
    assert made.status_code == 201, made.content
    return made.json()  # type: ignore[no-any-return]


def order(tenant: Tenant, campaign: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A launch of it as it stands."""
    reach = tenant.server.get(f"campaigns/{campaign['id']}/reach").json()
    said = {
        "version": campaign["version"],
        "expected_devices": reach["reachable"],
        "reason": "It is only a test.",
    }
    return {**said, **more}


def launch(tenant: Tenant, campaign: dict[str, Any], **more: Any) -> Any:
    return tenant.server.post(f"campaigns/{campaign['id']}/launch", order(tenant, campaign), **more)


class TestDrafts:
    def test_a_draft_is_made_read_changed_and_deleted(self, shop: Tenant) -> None:
        made = create(shop)
        assert (made["status"], made["version"], made["category"]) == ("draft", 1, "marketing")
        assert made["deeds"] == ["launch"]
        address = f"campaigns/{made['id']}"
        assert shop.server.get(address).json() == made
        changed = shop.server.patch(
            address, {"version": 1, "name": "Winter", "audience": {"platforms": ["ios"]}}
        )
        said = changed.json()
        assert (said["name"], said["version"], said["audience"]["platforms"]) == ("Winter", 2, ["ios"])
        assert said["variants"] == made["variants"]
        assert shop.server.delete(address).status_code == 204
        assert shop.server.get(address).status_code == 404

    def test_an_old_version_changes_nothing(self, shop: Tenant) -> None:
        made = create(shop)
        address = f"campaigns/{made['id']}"
        shop.server.patch(address, {"version": 1, "name": "Winter"})
        late = shop.server.patch(address, {"version": 1, "name": "Spring"})
        assert (late.status_code, late.json()["errors"][0]["pointer"]) == (409, "/version")
        assert shop.server.get(address).json()["name"] == "Winter"

    @pytest.mark.parametrize(
        ("wrong", "pointer"),
        [
            ({"variants": []}, "/variants"),
            ({"variants": [{"content": {"titel": "x"}}]}, "/variants/0/content/titel"),
            ({"schedule": {"kind": "sometime"}}, "/schedule/kind"),
            ({"experiment": {"holdout": 99}}, "/experiment/holdout"),
            ({"safety": {"canary": 0}}, "/safety/canary"),
            ({"category": "nothing-of-the-kind"}, "/category"),
            ({"name": "x" * 121}, "/name"),
            ({"colour": "red"}, "/colour"),
        ],
    )
    def test_what_is_wrong_is_pointed_at_and_nothing_is_stored(
        self, shop: Tenant, wrong: dict[str, Any], pointer: str
    ) -> None:
        answer = shop.server.post("campaigns", {**SAID, **wrong})
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert not Campaign.objects.exists()
        made = create(shop)
        assert shop.server.patch(f"campaigns/{made['id']}", {"version": 1, **wrong}).status_code == 422
        assert shop.server.get(f"campaigns/{made['id']}").json() == made

    def test_pages_newest_first_with_as_many_queries_for_many(self, shop: Tenant) -> None:
        def listed(query: str) -> tuple[Any, int]:
            with CaptureQueriesContext(connection) as queries:
                found = shop.server.get(f"campaigns?{query}").json()
            return found, len(queries)

        ids = [create(shop)["id"]]
        listed("limit=1")
        _, for_one = listed("limit=100")
        ids += [create(shop)["id"] for _ in range(4)]
        everything, for_five = listed("limit=100")
        assert ([row["id"] for row in everything["results"]], for_five) == (ids[::-1], for_one)
        first, _ = listed("limit=3")
        rest, _ = listed(f"limit=3&cursor={first['next']}")
        assert [row["id"] for row in (*first["results"], *rest["results"])] == ids[::-1]
        assert rest["next"] is None

    def test_earlier_versions_can_be_read(self, shop: Tenant, anna: User) -> None:
        made = create(shop)
        campaign = Campaign.objects.get(id=made["id"])
        services.save(campaign, {"name": "Winter"}, version=1, by=anna)
        address = f"campaigns/{made['id']}/versions"
        rows = shop.server.get(address).json()["results"]
        assert [(row["number"], row["name"], row["by"]) for row in rows] == [
            (2, "Winter", "anna"),
            (1, "Autumn", ""),
        ]
        assert shop.server.get(f"{address}/1").json()["plan"]["variants"] == made["variants"]
        assert shop.server.get(f"{address}/9").status_code == 404


@pytest.mark.usefixtures("audience")
class TestLaunch:
    def test_reach_preflight_launch_and_what_came_of_it(self, shop: Tenant) -> None:
        made = create(shop)
        address = f"campaigns/{made['id']}"
        reach = shop.server.get(f"{address}/reach").json()
        assert (reach["devices"], reach["reachable"], reach["needs_approval"]) == (3, 3, False)
        found = shop.server.get(f"{address}/preflight").json()
        assert found["is_clear"], found
        launched = launch(shop, made).json()
        assert (launched["status"], launched["latest_run"]) == ("sending", 1)
        assert launched["deeds"] == ["pause", "cancel", "decide"]
        rows = shop.server.get(f"{address}/runs").json()["results"]
        assert [(row["number"], row["devices"]) for row in rows] == [(1, 3)]
        run = shop.server.get(f"{address}/runs/1").json()
        assert [stage["kind"] for stage in run["stages"]] == ["send"]
        notification = Notification.objects.get(id=run["stages"][0]["notification"])
        prefix = ApiKey.objects.get(application=shop.application, kind="server").prefix
        assert notification.requested_by == f"key:{prefix}"
        assert run["counts"]["recipients"] == run["stages"][0]["counts"]["recipients"]
        assert shop.server.get(f"{address}/runs/2").status_code == 404

    def test_a_draft_that_is_not_finished_is_pointed_at(self, shop: Tenant) -> None:
        made = create(shop, name="")
        assert [fault["pointer"] for fault in made["faults"]] == ["/name"]
        answer = launch(shop, made)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")
        assert not Run.objects.exists()

    def test_warnings_want_a_reason(self, shop: Tenant) -> None:
        made = create(shop)
        assert shop.server.get(f"campaigns/{made['id']}/preflight").json()["needs_reason"]
        answer = shop.server.post(f"campaigns/{made['id']}/launch", order(shop, made, reason=""))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/reason")
        assert not Run.objects.exists()

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [({"expected_devices": 500}, "/expected_devices"), ({"version": 7}, "/version")],
    )
    def test_what_is_not_as_the_caller_thinks_is_not_sent(
        self, shop: Tenant, change: dict[str, Any], pointer: str
    ) -> None:
        made = create(shop)
        answer = shop.server.post(f"campaigns/{made['id']}/launch", order(shop, made, **change))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, pointer)
        assert not Run.objects.exists()

    def test_a_large_one_needs_a_second_person_first(self, shop: Tenant, anna: User) -> None:
        Application.objects.filter(pk=shop.id).update(approval_above=2)
        made = create(shop)
        assert shop.server.get(f"campaigns/{made['id']}/reach").json()["needs_approval"]
        refused = launch(shop, made)
        assert refused.status_code == 409
        assert "approval" in refused.json()["detail"]
        assert shop.server.post(f"campaigns/{made['id']}/ask").status_code == 404
        assert shop.server.post(f"campaigns/{made['id']}/approve").status_code == 404
        author = User.objects.create_user("author")
        campaign = Campaign.objects.get(id=made["id"])
        approving.ask(campaign, by=author, devices=3)
        assert launch(shop, made).status_code == 409
        approving.decide(campaign, by=anna, is_granted=True)
        assert launch(shop, made).json()["status"] == "sending"

    def test_the_same_key_launches_once_and_another_body_is_a_conflict(self, shop: Tenant) -> None:
        made = create(shop)
        said = order(shop, made)
        address = f"campaigns/{made['id']}/launch"
        first = shop.server.post(address, said, Idempotency_Key="a1")
        again = shop.server.post(address, said, Idempotency_Key="a1")
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.headers["Idempotent-Replay"] == "true"
        assert again.json()["latest_run"] == first.json()["latest_run"]
        assert shop.server.post(address, {**said, "version": 2}, Idempotency_Key="a1").status_code == 409
        assert shop.server.post(address, said, Idempotency_Key="a2").status_code == 409
        assert shop.server.post(address, said).status_code == 409
        assert (Run.objects.count(), Call.objects.count()) == (1, 1)

    def test_a_refused_launch_may_be_tried_again_with_its_key(self, shop: Tenant) -> None:
        made = create(shop)
        address = f"campaigns/{made['id']}/launch"
        assert (
            shop.server.post(address, order(shop, made, reason=""), Idempotency_Key="a1").status_code == 422
        )
        assert shop.server.post(address, order(shop, made), Idempotency_Key="a1").status_code == 200

    def test_deeds_are_possible_where_the_table_says(self, shop: Tenant) -> None:
        made = create(shop)

        def deed(name: str) -> tuple[int, str]:
            answer = shop.server.post(f"campaigns/{made['id']}/{name}")
            return answer.status_code, answer.json()["status"]

        assert deed("pause") == (409, 409)
        launch(shop, made)
        assert deed("pause") == (200, "paused")
        assert deed("pause")[0] == 409
        assert deed("resume") == (200, "sending")
        assert deed("cancel") == (200, "cancelled")
        assert deed("resume")[0] == 409
        assert shop.server.delete(f"campaigns/{made['id']}").status_code == 409
        later = create(shop, schedule={"kind": "at", "starts": f"{timezone.now().year + 1}-01-01T09:00"})
        assert launch(shop, later).json()["status"] == "scheduled"
        unscheduled = shop.server.post(f"campaigns/{later['id']}/unschedule").json()
        assert unscheduled["status"] == "draft"

    def test_a_person_or_program_decides_an_experiment(self, shop: Tenant) -> None:
        contents = [{"key": key, "content": {"title": key, "body": "x"}} for key in "AB"]
        made = create(shop, variants=contents, experiment={"test": 50})
        launch(shop, made)
        address = f"campaigns/{made['id']}/decide"
        wrong = shop.server.post(address, {"variant": "E"})
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/variant")
        assert shop.server.post(address, {"variant": "B"}).status_code == 200
        run = shop.server.get(f"campaigns/{made['id']}/runs/1").json()
        assert run["winner"] == "B"
        assert {variant["key"] for variant in run["variants"]} == {"A", "B"}
        assert shop.server.post(address, {"variant": "A"}).status_code == 409


class TestWhose:
    ADDRESSES = (
        ("GET", "", None),
        ("PATCH", "", {"version": 1, "name": "Mine"}),
        ("DELETE", "", None),
        ("GET", "/reach", None),
        ("GET", "/preflight", None),
        ("GET", "/runs", None),
        ("GET", "/runs/1", None),
        ("GET", "/versions", None),
        ("GET", "/versions/1", None),
        ("POST", "/launch", {"version": 1, "expected_devices": 0, "reason": "x"}),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/cancel", None),
        ("POST", "/unschedule", None),
        ("POST", "/decide", {"variant": "A"}),
    )

    def test_another_applications_key_finds_nothing(self, shop: Tenant, rival: Tenant) -> None:
        made = create(shop)
        for method, path, body in self.ADDRESSES:
            answer = rival.server.call(method, f"campaigns/{made['id']}{path}", body)
            assert answer.status_code == 404, path
        assert rival.server.get("campaigns").json()["results"] == []
        assert shop.server.get(f"campaigns/{made['id']}").json() == made

    @pytest.mark.parametrize(
        "scope", ["campaigns:read", "campaigns:write", "campaigns:launch", "notifications:write"]
    )
    def test_a_key_does_what_its_scopes_say(self, shop: Tenant, stranger: Api, scope: str) -> None:
        made = create(shop)
        _, secret = tenants.create_key(shop.application, kind="server", scopes=[scope])
        key = Api(secret, Client(raise_request_exception=False))
        wanted = {"GET": "campaigns:read", "PATCH": "campaigns:write", "DELETE": "campaigns:write"}
        for method, path, body in self.ADDRESSES:
            if method == "DELETE" and scope == "campaigns:write":
                continue
            address = f"campaigns/{made['id']}{path}"
            is_in = key.call(method, address, body).status_code != 403
            assert is_in is (wanted.get(method, "campaigns:launch") == scope), (method, path)
            assert stranger.call(method, address, body).status_code == 401
        assert (key.post("campaigns", SAID).status_code == 201) is (scope == "campaigns:write")
        assert shop.client.get("campaigns").status_code == 403


def test_the_schema_says_what_may_be_asked(shop: Tenant) -> None:
    schema = shop.server.get("schema", Accept="application/vnd.oai.openapi+json").json()
    paths = {
        path: operations for path, operations in schema["paths"].items() if path.startswith("/v1/campaigns")
    }
    assert len(paths) == 14
    asked = paths["/v1/campaigns"]["post"]["requestBody"]["content"]["application/json"]["schema"][
        "properties"
    ]
    assert {"name", "variants", "audience", "schedule", "experiment", "safety"} <= set(asked)
    assert "409" in paths["/v1/campaigns/{id}/launch"]["post"]["responses"]


@pytest.mark.django_db(transaction=True)
def test_sixty_four_launches_at_once_are_one_run(
    shop: Tenant, make_device: Any, opt_in: Callable[..., None], console_credential: None
) -> None:
    make_device(shop, "ada")
    opt_in(shop, "ada")
    made = create(shop)
    said = order(shop, made)

    def call(_: int) -> tuple[int, Any]:
        api = Api(shop.server.key, Client(raise_request_exception=False))
        try:
            answer = api.post(f"campaigns/{made['id']}/launch", said, Idempotency_Key="once")
            return answer.status_code, answer.json().get("latest_run")
        finally:
            connection.close()

    with ThreadPoolExecutor(64) as pool:
        answers = set(pool.map(call, range(64)))
    assert answers == {(200, 1)}
    assert Run.objects.count() == 1
    assert Notification.objects.count() == 1
