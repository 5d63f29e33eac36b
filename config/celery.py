"""The Celery app. Its messages only say "look": PostgreSQL is the truth, so none is worth waiting for.

`CELERY_*` in the Django settings overrides what is set here.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Seconds after which a message taken by a worker that died is given to another. No task runs half as long.
VISIBILITY_SECONDS = 300


def defaults() -> dict[str, Any]:
    """Evaluated at the first use of the configuration, when Django's settings are complete."""
    from django.conf import settings

    return {
        "broker_transport_options": transport_options(settings.CELERY_BROKER_URL),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "result_backend": None,
        # A web request does not wait for a broker that is down: the tick finds the work.
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1},
        "task_default_queue": "periodic",
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # those that acknowledge late: none
        "worker_proc_alive_timeout": 60,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_soft_shutdown_timeout": 5,
        "timezone": "UTC",
    }


def transport_options(broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith("redis"):
        return {}
    return {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # Half-open connections are found: kombu stops consuming on them without an error.
        "health_check_interval": 10,
        "socket_keepalive": True,
        "socket_connect_timeout": 3,
        "retry_on_timeout": True,
    }


app = Celery("carillon")
app.set_default()  # in every thread, not only in the one that imports this
app.add_defaults(defaults)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(related_name="periodic")


@setup_logging.connect
def _leave_logging_to_django(**_: object) -> None:
    """Connected, it keeps Celery from setting up its own."""
