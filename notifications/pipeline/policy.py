"""Who may be sent what: one SQL expression, used when an audience is resolved and again before each send.

Precedence (R24): deadline > consent > category preference > global holdout > quiet hours > cap > local time >
throttle. Here are the address, consent and the holdout; `timing` decides the clocks, `caps` the counts, `limits` the
throttle. A row that comes out NULL may be sent to; anything else is the reason under which the suppression is recorded.
"""

from __future__ import annotations

from notifications.pipeline import buckets, timing

# How many buckets of people get no marketing; NULL for what is no marketing. Asked once a statement, and where it is 0
# nobody's bucket is.
_HELD_OUT = f"""(
            SELECT a.holdout_percent * {buckets.BUCKETS // 100} FROM devices_category k
            JOIN tenants_application a ON a.id = k.application_id
            WHERE k.id = %(category)s AND k.kind = 'marketing'
        )"""
_BUCKET = buckets.SQL.format(person="coalesce(d.subscriber_id, -d.device_id)", seed="c.application_id")

# In the order of precedence. The deadline's word, where a clock is looked at, comes between the two.
_ADDRESS = """
        WHEN d.retired_at IS NOT NULL THEN 'device_retired'
        WHEN d.permission = 'denied' THEN 'permission_denied'
        WHEN NOT 'push' = ANY (c.channels) THEN 'channel_not_allowed'"""
_CONSENT = f"""
        WHEN c."default" = 'forced' THEN NULL
        WHEN u.id IS NOT NULL THEN 'unsubscribed'
        WHEN NOT p.is_allowed THEN 'opted_out'
        WHEN c."default" = 'off' AND p.is_allowed IS NULL THEN 'not_opted_in'
        WHEN {_HELD_OUT} > 0 AND {_BUCKET} < {_HELD_OUT} THEN 'global_holdout'"""

# Of an audience, or `d` like it: a device's columns, and its id as `device_id`. Needs what JOIN_CONSENT joins;
# SUPPRESSED_IN_TIME also `t`, with the `reason` of timing.table.
SUPPRESSED_BECAUSE = f"CASE {_ADDRESS} {_CONSENT} END"
SUPPRESSED_IN_TIME = f"""coalesce(CASE {_ADDRESS}
        WHEN t.reason IN ('{"', '".join(timing.LATE_REASONS)}') THEN t.reason {_CONSENT} END, t.reason)"""


def first(suppressed: str | None, untimely: str) -> str | None:
    """SUPPRESSED_IN_TIME of SUPPRESSED_BECAUSE and the clock's word, where SQL does not know that."""
    if untimely in timing.LATE_REASONS and suppressed not in OF_THE_ADDRESS:
        return untimely
    return suppressed or untimely or None


OF_THE_ADDRESS = ("device_retired", "permission_denied", "channel_not_allowed")


def is_held_out(application_id: int, percent: int, subscriber_id: int | None, device_id: int | None) -> bool:
    """The last line above, for one person and marketing."""
    person = subscriber_id if subscriber_id is not None else -(device_id or 0)
    return buckets.drawn(person, application_id) < percent * (buckets.BUCKETS // 100)


# The category, the subscriber's word on it, and whether they want no marketing at all; needs `d` and the
# parameter %(category)s.
JOIN_CONSENT = """
    JOIN devices_category c ON c.id = %(category)s
    LEFT JOIN devices_preference p
        ON p.subscriber_id = d.subscriber_id AND p.category_id = c.id AND p.channel = 'push'
    LEFT JOIN devices_subscriber u
        ON u.id = d.subscriber_id AND u.application_id = c.application_id AND u.unsubscribed_at IS NOT NULL
        AND c.kind = 'marketing'
"""

# Where somebody lives, as far as is known, and the quiet hours of their own; needs `d`.
JOIN_PERSON = "LEFT JOIN devices_subscriber s ON s.id = d.subscriber_id"
ZONE = "coalesce(nullif(s.time_zone, ''), d.time_zone, '')"
