"""Opening and closing what stops an application's lanes. The rows are the gate: claim.py passes over whoever has
an open one, and lets a single trial through when its time has come.

Statements for senders (async) and for services (Django's cursor) alike; none touches the network.
"""

from __future__ import annotations

from typing import Any, Final

# Seconds to the next trial: doubled by each one that fails.
FIRST_PAUSE: Final = {"circuit": 5.0, "credential": 30.0, "quota": 60.0}
LONGEST_PAUSE: Final = {"circuit": 60.0, "credential": 900.0, "quota": 300.0}
# How long a trial may take before another is let through: longer than any provider's timeout.
TRIAL_SECONDS: Final = 40.0

# Again while one is open: the trial has failed, or another sender has met the same trouble.
OPEN = """
    INSERT INTO notifications_incident AS i
        (application_id, provider, cause, lane_kind, words, trial_at)
    VALUES (%(application)s, %(provider)s, %(cause)s, %(lane_kind)s, %(words)s,
        now() + make_interval(secs => %(pause)s::float))
    ON CONFLICT (application_id, provider, cause, notification_id) WHERE closed_at IS NULL
    DO UPDATE SET words = excluded.words,
        lane_kind = CASE WHEN i.lane_kind = excluded.lane_kind THEN i.lane_kind ELSE '' END,
        trial_at = CASE WHEN i.trial_at IS NULL THEN NULL ELSE greatest(i.trial_at, excluded.trial_at) END
"""

TRIAL_FAILED = """
    UPDATE notifications_incident
    SET trial_count = trial_count + 1, words = %(words)s,
        trial_at = now() + make_interval(secs => CASE
            WHEN cause = 'quota' AND %(at_least)s::float > 0 THEN %(at_least)s::float  -- the provider knows when
            ELSE greatest(%(at_least)s::float,
                least(%(longest)s::float, %(first)s::float * 2 ^ least(trial_count, 20)))
        END)
    WHERE application_id = %(application)s AND provider = %(provider)s AND cause = %(cause)s
        AND closed_at IS NULL AND trial_at IS NOT NULL
"""

# Nobody was found to try it with.
TRIAL_VOID = """
    UPDATE notifications_incident SET trial_at = now()
    WHERE application_id = %(application)s AND provider = %(provider)s AND cause = ANY (%(causes)s)
        AND closed_at IS NULL AND trial_at IS NOT NULL
"""

# One service of several behind a provider refuses our key: an alarm, but the lanes go on. It ends by itself when no
# refusal has been met for longer than any held recipient waits.
OPEN_PARTIAL = """
    INSERT INTO notifications_incident AS i (application_id, provider, cause, words, stops_lanes, trial_at)
    VALUES (%(application)s, %(provider)s, 'credential', %(words)s, false, now() + interval '20 minutes')
    ON CONFLICT (application_id, provider, cause, notification_id) WHERE closed_at IS NULL
    DO UPDATE SET trial_at = excluded.trial_at WHERE NOT i.stops_lanes
"""

END_PARTIAL = """
    UPDATE notifications_incident SET closed_at = now()
    WHERE closed_at IS NULL AND NOT stops_lanes AND cause = 'credential' AND trial_at < now()
"""

# Nothing is left to try it with, or the credential is gone: nobody would end it otherwise.
END_IDLE = """
    UPDATE notifications_incident i SET closed_at = now()
    WHERE closed_at IS NULL AND (
        cause IN ('circuit', 'quota') AND trial_at < now() - interval '5 minutes' AND NOT EXISTS (
            SELECT FROM notifications_batch b WHERE b.application_id = i.application_id AND b.status = 'ready'
                AND b.lane IN (i.provider || '.transactional', i.provider || '.campaign')
        ) AND NOT EXISTS (
            SELECT FROM notifications_batch b WHERE b.application_id = i.application_id AND b.status = 'waiting'
                AND b.lane IN (i.provider || '.transactional', i.provider || '.campaign')
        )
        OR cause = 'credential' AND NOT EXISTS (
            SELECT FROM tenants_credential c
            WHERE c.application_id = i.application_id AND c.provider = i.provider AND c.is_active
                AND (c.blocked_at IS NOT NULL OR NOT i.stops_lanes)
        )
    )
"""

CLOSE = """
    UPDATE notifications_incident SET closed_at = now(), closed_by = %(by)s
    WHERE application_id = %(application)s AND provider = %(provider)s AND cause = ANY (%(causes)s)
        AND closed_at IS NULL
    RETURNING id
"""


def opening(
    *,
    application_id: int,
    provider: str,
    cause: str,
    words: str,
    pause: float | None = None,
    lane_kind: str = "",
) -> dict[str, Any]:
    """The parameters of OPEN. pause: seconds to the first trial; None: the cause's own, or for a cause without
    trials, until a human closes it."""
    return {
        "application": application_id,
        "provider": provider,
        "cause": cause,
        "words": words[:300],
        "pause": FIRST_PAUSE.get(cause) if pause is None else min(pause, LONGEST_PAUSE[cause]),
        "lane_kind": lane_kind,
    }


def failing(
    *, application_id: int, provider: str, cause: str, words: str, at_least: float = 0.0
) -> dict[str, Any]:
    """The parameters of TRIAL_FAILED. at_least: seconds the provider asked for."""
    return {
        "application": application_id,
        "provider": provider,
        "cause": cause,
        "words": words[:300],
        "at_least": min(at_least, LONGEST_PAUSE[cause]),
        "first": FIRST_PAUSE[cause],
        "longest": LONGEST_PAUSE[cause],
    }


def closing(*, application_id: int, provider: str, causes: tuple[str, ...], by: str = "") -> dict[str, Any]:
    """The parameters of CLOSE. by: who closed it, "" for nobody: it ended."""
    return {"application": application_id, "provider": provider, "causes": list(causes), "by": by}
