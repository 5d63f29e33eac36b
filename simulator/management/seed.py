"""Virtual devices as rows: an application's audience of any size, set-based, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction

from simulator import devices as virtual

# Shares of 100 by platform; the sum is what every number is measured on.
MIX: Mapping[str, int] = {"ios": 45, "android": 45, "web": 10}
OPTED_IN = 98  # of 100
CHUNK = 500_000  # devices to a transaction

SUBSCRIBERS = """
    INSERT INTO devices_subscriber
        (application_id, external_id, attributes, locale, time_zone, country, email, phone, created_at, updated_at)
    SELECT %(application)s, 'user-' || i,
        jsonb_build_object(
            'first_name', (ARRAY['Mia','Noah','Ada','Liam','Zoe','Omar','Ines','Kai'])[1 + i %% 8],
            'plan', (ARRAY['free','free','free','gold','silver'])[1 + i %% 5]
        ),
        (ARRAY['en','de','fr','es'])[1 + i %% 4],
        (ARRAY['Europe/Berlin','America/New_York','Asia/Tokyo','Europe/London'])[1 + i %% 4],
        (ARRAY['DE','US','JP','GB'])[1 + i %% 4], '', '', now(), now()
    FROM generate_series(%(start)s::bigint, %(stop)s::bigint - 1) AS i
    ON CONFLICT (application_id, external_id) DO NOTHING
"""

PREFERENCES = """
    INSERT INTO devices_preference (subscriber_id, category_id, channel, is_allowed, updated_at)
    SELECT s.id, c.id, 'push', true, now()
    FROM generate_series(%(start)s::bigint, %(stop)s::bigint - 1) AS i
    JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = 'user-' || i
    JOIN devices_category c ON c.application_id = %(application)s AND c.slug = 'marketing'
    WHERE i %% 100 < %(opted_in)s
    ORDER BY i
    ON CONFLICT DO NOTHING
"""

# In order, as apps register: a device, and its person with it.
DEVICES = f"""
    INSERT INTO devices_device
        (application_id, subscriber_id, platform, installation_id, token, fid, environment, p256dh, auth,
         vapid_key, locale, time_zone, app_version, os_version, model, permission, registered_at, last_seen_at,
         retired_reason)
    SELECT %(application)s, s.id, platform, 'simulated-' || i,
        CASE platform
            WHEN 'ios' THEN {virtual.APNS_TOKEN_SQL["production"].format("i")}
            WHEN 'android' THEN {virtual.FCM_TOKEN_SQL.format("i")}
            ELSE %(origin)s || '/wp/s' || lpad(to_hex(i), 12, '0')
        END,
        '', CASE platform WHEN 'ios' THEN 'production' ELSE '' END,
        CASE platform WHEN 'web' THEN (%(p256dh)s::text[])[1 + i %% {virtual.POOL_SIZE}] ELSE '' END,
        CASE platform WHEN 'web' THEN {virtual.WEB_AUTH_SQL.format("i")} ELSE '' END,
        '', s.locale, s.time_zone, '4.2.0', CASE platform WHEN 'ios' THEN '26.1' ELSE '16' END,
        CASE platform WHEN 'ios' THEN 'iPhone 17' WHEN 'android' THEN 'Pixel 10' ELSE 'Chrome' END,
        'granted', now(), now(), ''
    FROM generate_series(%(start)s::bigint, %(stop)s::bigint - 1) AS i
    CROSS JOIN LATERAL (
        SELECT CASE WHEN i %% 100 < %(ios)s THEN 'ios' WHEN i %% 100 < %(ios)s + %(android)s THEN 'android'
            ELSE 'web' END AS platform
    ) AS mixed
    JOIN devices_subscriber s ON s.application_id = %(application)s AND s.external_id = 'user-' || i
    ORDER BY i
    ON CONFLICT DO NOTHING
"""


def devices(
    application_id: int, count: int, *, web_origin: str, start: int = 0, mix: Mapping[str, int] = MIX
) -> int:
    """Give the application the virtual devices start … start + count, each with a subscriber; how many are new."""
    parameters: dict[str, Any] = {
        "application": application_id,
        "opted_in": OPTED_IN,
        "origin": web_origin,
        "p256dh": [virtual.web_p256dh(slot) for slot in range(virtual.POOL_SIZE)],
        "ios": mix.get("ios", 0),
        "android": mix.get("android", 0),
    }
    made, stop = 0, start + count
    for lower in range(start, stop, CHUNK):
        made += _chunk({**parameters, "start": lower, "stop": min(lower + CHUNK, stop)})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_subscriber, devices_device, devices_preference")
    return made


def _chunk(parameters: dict[str, Any]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        # Each looks its own subscriber up: hashed, all there are by then would be read for every chunk.
        cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        cursor.execute(SUBSCRIBERS, parameters)
        cursor.execute(PREFERENCES, parameters)
        cursor.execute(DEVICES, parameters)
        return cursor.rowcount
