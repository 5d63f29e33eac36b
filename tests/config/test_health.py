"""/healthz, /readyz, /metrics, the OpenAPI document and its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import health
from devices.models import Device
from notifications.models import Incident, Notification
from tests.conftest import Tenant


def test_a_process_that_answers_is_up(client: Client) -> None:
    """No database is asked: this test has none."""
    assert client.get("/healthz").json() == {"status": "ok"}


def test_ready_with_a_migrated_database(client: Client, db: None) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "database": "ok", "redis": "ok"}


def test_without_redis_it_is_still_ready(client: Client, db: None, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    health._client.cache_clear()
    try:
        response = client.get("/readyz")
    finally:
        health._client.cache_clear()
    assert response.status_code == 200
    assert response.json()["redis"] == "unreachable"


def test_without_its_database_it_is_not_ready(client: Client, db: None) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError

    with connection.execute_wrapper(fail):
        assert client.get("/readyz").status_code == 503
        assert "carillon_database_up 0.0" in client.get("/metrics").content.decode()


def test_metrics_tell_what_waits(client: Client, shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    make_device(shop, "ada")
    body = {"to": {"subscribers": ["ada"]}, "content": {"title": "Hello", "body": "World"}}
    shop.server.post("notifications", body)
    with CaptureQueriesContext(connection) as queries:
        lines = client.get("/metrics").content.decode().splitlines()
    assert 'carillon_open_recipients{lane="apns.transactional",status="ready"} 2.0' in lines
    assert 'carillon_open_notifications{status="sending"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    assert "carillon_ledger_violations 0.0" in lines
    assert "carillon_ledger_unverified 0.0" in lines
    assert len(queries) == 5


def test_metrics_tell_what_is_wrong(client: Client, shop: Tenant, make_device: Callable[..., Device]) -> None:
    make_device(shop, "ada")
    body = {"to": {"subscribers": ["ada"]}, "content": {"title": "Hello", "body": "World"}}
    for _ in range(2):
        shop.server.post("notifications", body)
    wrong, checked = Notification.objects.all()
    Notification.objects.update(status="done", finished_at=timezone.now())
    Notification.objects.filter(id=checked.id).update(verified_at=timezone.now())
    trouble = {"application": shop.application, "cause": "circuit", "provider": "fcm"}
    Incident.objects.create(**trouble)
    Incident.objects.create(**trouble, closed_at=timezone.now())
    Incident.objects.create(
        application=shop.application, cause="ledger", notification=wrong, stops_lanes=False
    )
    lines = client.get("/metrics").content.decode().splitlines()
    assert 'carillon_incidents{cause="circuit",provider="fcm"} 1.0' in lines
    assert 'carillon_incidents{cause="ledger",provider=""} 1.0' in lines
    assert "carillon_ledger_violations 1.0" in lines
    assert "carillon_ledger_unverified 1.0" in lines


def test_the_api_describes_itself(client: Client, db: None, tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))
    assert client.get("/v1/schema").status_code == 200
    assert client.get("/v1/docs").status_code == 200


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing"])
def test_an_address_that_is_none(client: Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")
