"""Who may be sent what: one SQL expression, used when an audience is resolved and again before each send.

Precedence (R24): deadline > consent > category preference > quiet hours > cap > local time > throttle. Here are
the address and consent; `timing` decides the clocks, `caps` the counts, `limits` the throttle. A row that
comes out NULL may be sent to; anything else is the reason under which the suppression is recorded.
"""

from __future__ import annotations

# Needs what JOIN_CONSENT joins, and `d` (devices_device or the like).
SUPPRESSED_BECAUSE = """
    CASE
        WHEN d.retired_at IS NOT NULL THEN 'device_retired'
        WHEN d.permission = 'denied' THEN 'permission_denied'
        WHEN NOT 'push' = ANY (c.channels) THEN 'channel_not_allowed'
        WHEN c."default" = 'forced' THEN NULL
        WHEN u.id IS NOT NULL THEN 'unsubscribed'
        WHEN p.is_allowed THEN NULL
        WHEN NOT p.is_allowed THEN 'opted_out'
        WHEN c."default" = 'off' THEN 'not_opted_in'
    END
"""

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
