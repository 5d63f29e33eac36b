"""Fan-out where every rule has something to say: quiet hours in twenty zones, then exact caps as well."""

from __future__ import annotations

from benchmarks import campaign
from simulator.stack import Stack

NAMES = """Europe/Berlin Europe/London Europe/Madrid Europe/Kyiv America/New_York America/Chicago America/Denver
America/Los_Angeles America/Sao_Paulo America/Bogota Asia/Tokyo Asia/Kolkata Asia/Dubai Asia/Jakarta Asia/Kathmandu
Australia/Sydney Australia/Lord_Howe Africa/Lagos Africa/Cairo Pacific/Auckland"""
ZONES = NAMES.split()

QUIET = """
from django.db import connection
from devices import quiet
from devices.models import Subscriber
from tenants.models import Application
found = Application.objects.get(slug={slug!r})
found.quiet_hours = quiet.check([{{"start": "22:00", "end": "08:00"}}])
found.save()
with connection.cursor() as cursor:
    cursor.execute("UPDATE devices_subscriber SET time_zone = (%s::text[])[1 + id %% 20]", [{zones!r}])
    cursor.execute("VACUUM ANALYZE devices_subscriber")
"""

CAPS = """
from devices.models import Cap
from tenants.models import Application
found = Application.objects.get(slug={slug!r})
for period, most in (("day", 2), ("week", 5)):
    Cap.objects.create(application=found, kind="marketing", period=period, most=most)
"""

NONE = """
from devices.models import Cap
from tenants.models import Application
Application.objects.filter(slug={slug!r}).update(quiet_hours=[])
Cap.objects.all().delete()
"""


def fan_out(stack: Stack, key: str, slug: str) -> None:
    """With quiet hours, then with two caps too: once where nobody has a row of recent messages, once where all have."""
    stack.manage("shell", "--no-imports", "-c", QUIET.format(slug=slug, zones=ZONES))
    campaign.fan_out(stack, key, "fan_out_quiet_hours")
    stack.manage("shell", "--no-imports", "-c", CAPS.format(slug=slug))
    campaign.fan_out(stack, key, "fan_out_all_rules")
    campaign.fan_out(stack, key, "fan_out_all_rules_again")
    stack.manage("shell", "--no-imports", "-c", NONE.format(slug=slug))
