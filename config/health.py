"""What machines ask a process: is it up, can it work, and how is it doing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson
import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else: a sick database is no reason to restart web servers."""
    return _answer({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """200 when requests can be served. Redis only makes things faster, so its absence is told, not punished."""
    checks = {"database": _database(), "redis": _redis()}
    is_ready = checks["database"] == "ok"
    return _answer({"status": "ok" if is_ready else "unavailable", **checks}, 200 if is_ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(registry()), content_type=CONTENT_TYPE_LATEST)


def _answer(data: dict[str, Any], status: int = 200) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(data),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


_migrated = False  # once true it stays so: nobody migrates backwards under a running process


def _database() -> str:
    global _migrated
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not _migrated:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return "unreachable"
    return "ok" if _migrated else "migrations are missing"


def _redis() -> str:
    try:
        _client().ping()
    except redis.RedisError:
        return "unreachable"
    return "ok"


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


# --- Metrics ----------------------------------------------------------------------------------

# The partial indexes of ready, waiting and leased batches cover exactly the rows there are.
BATCHES = """
    SELECT lane, status, count(*), sum(cardinality(device_ids))::bigint,
        greatest(0, extract(epoch FROM now() - min(due_at)))::float
    FROM notifications_batch GROUP BY lane, status
"""
# Open ones only: by two small partial indexes. Done ones are as many as were ever sent.
NOTIFICATIONS = """
    SELECT status, count(*) FROM notifications_notification
    WHERE status IN ('fanning_out', 'sending') GROUP BY status
    UNION ALL
    SELECT status, count(*) FROM notifications_notification WHERE status = 'scheduled' GROUP BY status
"""
BLOCKED = (
    "SELECT provider, count(*) FROM tenants_credential WHERE is_active AND blocked_at IS NOT NULL GROUP BY 1"
)
# All of them in one partial index.
INCIDENTS = """
    SELECT cause, provider, count(*) FROM notifications_incident WHERE closed_at IS NULL GROUP BY 1, 2
"""
# A day: for older ones the ledger may be gone, and nobody counts them again.
UNVERIFIED = """
    SELECT count(*) FROM notifications_notification
    WHERE status IN ('done', 'cancelled') AND verified_at IS NULL AND finished_at > now() - interval '1 day'
"""


class Queues(Collector):
    """Read from PostgreSQL at each scrape, since PostgreSQL is the truth; every web process tells the same."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        began = time.perf_counter()
        up = GaugeMetricFamily("carillon_database_up", "Whether the database answered this scrape.")
        try:
            families = [
                *self._batches(),
                self._notifications(),
                self._blocked(),
                *self._incidents(),
                self._unverified(),
            ]
        except DatabaseError:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        took = GaugeMetricFamily("carillon_scrape_seconds", "How long the queries of this scrape took.")
        took.add_metric([], time.perf_counter() - began)
        return [up, took, *families]

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def _batches(self) -> list[GaugeMetricFamily]:
        labels = ["lane", "status"]
        batches = GaugeMetricFamily(
            "carillon_open_batches", "Batches without all their outcomes.", labels=labels
        )
        recipients = GaugeMetricFamily(
            "carillon_open_recipients", "Recipients in open batches.", labels=labels
        )
        age = GaugeMetricFamily(
            "carillon_oldest_due_seconds", "How long the oldest batch is overdue.", labels=labels
        )
        for lane, status, count, open_recipients, oldest in _rows(BATCHES):
            batches.add_metric([lane, status], count)
            recipients.add_metric([lane, status], open_recipients)
            age.add_metric([lane, status], oldest)
        return [batches, recipients, age]

    def _notifications(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "carillon_open_notifications", "Notifications not done yet.", labels=["status"]
        )
        for status, count in _rows(NOTIFICATIONS):
            family.add_metric([status], count)
        return family

    def _blocked(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "carillon_blocked_credentials", "Credentials a provider refused.", labels=["provider"]
        )
        for provider, count in _rows(BLOCKED):
            family.add_metric([provider], count)
        return family

    def _incidents(self) -> list[GaugeMetricFamily]:
        incidents = GaugeMetricFamily("carillon_incidents", "Open incidents.", labels=["cause", "provider"])
        wrong = 0
        for cause, provider, count in _rows(INCIDENTS):
            incidents.add_metric([cause, provider], count)
            wrong += count if cause == "ledger" else 0
        return [
            incidents,
            GaugeMetricFamily(
                "carillon_ledger_violations", "Notifications whose sum does not hold.", value=wrong
            ),
        ]

    def _unverified(self) -> GaugeMetricFamily:
        ((count,),) = _rows(UNVERIFIED)
        return GaugeMetricFamily(
            "carillon_ledger_unverified",
            "Notifications finished within a day and not counted again from the ledger yet.",
            value=count,
        )


@lru_cache(maxsize=1)
def registry() -> CollectorRegistry:
    metrics_registry = CollectorRegistry()
    ProcessCollector(registry=metrics_registry)
    PlatformCollector(registry=metrics_registry)
    metrics_registry.register(Queues())
    return metrics_registry


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()
