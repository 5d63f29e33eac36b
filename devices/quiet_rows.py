"""Rows of QuietHours: each set of windows of an application once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from django.db import connection

# In one order, so that two that make the same ones wait for each other instead of deadlocking.
MAKE = """
    INSERT INTO devices_quiethours (application_id, windows)
    SELECT DISTINCT %s::bigint, windows FROM jsonb_array_elements(%s::jsonb) AS g (windows) ORDER BY windows
    ON CONFLICT (application_id, windows) DO NOTHING
"""
IDS = """
    SELECT q.id FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS g (windows, n)
    JOIN devices_quiethours q ON q.application_id = %s AND q.windows = g.windows
    ORDER BY g.n
"""


def ids(application_id: int, each: Sequence[Sequence[Any]]) -> list[int]:
    """The row of each set of windows (`quiet.check` made them), made where there is none."""
    if not each:
        return []
    windows = orjson.dumps(each).decode()
    with connection.cursor() as cursor:
        cursor.execute(IDS, [windows, application_id])
        found = [id for (id,) in cursor.fetchall()]
        if len(found) < len(each):
            cursor.execute(MAKE, [application_id, windows])
            cursor.execute(IDS, [windows, application_id])
            found = [id for (id,) in cursor.fetchall()]
    return found
