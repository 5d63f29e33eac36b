"""What follows from a check of the sum (verify.py): it is written to the notification, and an incident is open for as
long as something does not add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
import structlog
from django.db import connection, transaction

from notifications.pipeline import verify
from notifications.pipeline.verify import Checked

log = structlog.get_logger(__name__)

# Only what is still as it was when it was checked; a replay may have opened it again meanwhile.
CONCLUDE = """
    WITH mine AS (
        SELECT n.id, g.is_verified, g.violations
        FROM jsonb_to_recordset(%(given)s::jsonb) AS g
            (id uuid, status text, finished_at timestamptz, is_verified bool, violations jsonb)
        JOIN notifications_notification n ON n.id = g.id
        WHERE n.status = g.status AND n.finished_at IS NOT DISTINCT FROM g.finished_at
        ORDER BY n.id FOR NO KEY UPDATE OF n SKIP LOCKED
    )
    UPDATE notifications_notification n
    SET violations = m.violations, verified_at = CASE WHEN m.is_verified THEN now() ELSE n.verified_at END
    FROM mine m WHERE n.id = m.id RETURNING n.id
"""

OPEN_INCIDENTS = """
    INSERT INTO notifications_incident AS i (application_id, cause, notification_id, stops_lanes, words)
    SELECT g.application_id, 'ledger', g.id, false, g.words
    FROM jsonb_to_recordset(%(given)s::jsonb) AS g (id uuid, application_id bigint, words text)
    WHERE g.id = ANY (%(ids)s::uuid[])
    ON CONFLICT (application_id, provider, cause, notification_id) WHERE closed_at IS NULL
    DO UPDATE SET words = excluded.words WHERE i.words <> excluded.words
"""

CLOSE_INCIDENTS = """
    UPDATE notifications_incident SET closed_at = now()
    WHERE cause = 'ledger' AND closed_at IS NULL AND notification_id = ANY (%(ids)s::uuid[])
"""


def checks(checked: Sequence[Checked]) -> int:
    """Write down what was found, raise the alarm for what does not add up and end it for what does again.

    Says how many were concluded: not those that changed meanwhile, nor those whose lines are gone.
    """
    known = [found for found in checked if found.is_recounted or found.violations]
    if not known:
        return 0
    given = orjson.dumps([_conclusion(found) for found in known]).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CONCLUDE, {"given": given})
        concluded = {id for (id,) in cursor.fetchall()}
        wrong = {found.id: found for found in known if found.violations and found.id in concluded}
        if wrong:
            cursor.execute(OPEN_INCIDENTS, {"given": given, "ids": verify.array(wrong)})
        cursor.execute(CLOSE_INCIDENTS, {"ids": verify.array(concluded - wrong.keys())})
    for found in wrong.values():
        log.error(
            "sum_does_not_hold",
            action="ledger.violation",
            application=found.application_id,
            notification=str(found.id),
            violations=[asdict(violation) for violation in found.violations[:10]],
        )
    return len(concluded)


def _conclusion(found: Checked) -> dict[str, Any]:
    return {
        "id": found.id,
        "application_id": found.application_id,
        "status": found.status,
        "finished_at": found.finished_at,
        "is_verified": found.is_settled and found.is_recounted,
        "violations": [{**asdict(violation), "words": violation.words} for violation in found.violations],
        "words": " ".join(violation.words for violation in found.violations)[:300],
    }
