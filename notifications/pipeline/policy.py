"""Who may be sent what: one SQL expression, used when an audience is resolved and again before each send.

Precedence (R24): the address, then consent. A row that comes out NULL may be sent to; anything else
is the reason under which the suppression is recorded.
"""

from __future__ import annotations

# Needs `d` (devices_device), `p` (devices_preference, left joined), `c` (devices_category).
SUPPRESSED_BECAUSE = """
    CASE
        WHEN d.retired_at IS NOT NULL THEN 'device_retired'
        WHEN d.permission = 'denied' THEN 'permission_denied'
        WHEN c."default" = 'forced' THEN NULL
        WHEN p.is_allowed THEN NULL
        WHEN NOT p.is_allowed THEN 'opted_out'
        WHEN c."default" = 'off' THEN 'not_opted_in'
    END
"""

# Joins the category and the subscriber's word on it; needs `d` and the parameter %(category)s.
JOIN_CONSENT = """
    JOIN devices_category c ON c.id = %(category)s
    LEFT JOIN devices_preference p
        ON p.subscriber_id = d.subscriber_id AND p.category_id = c.id AND p.channel = 'push'
"""
