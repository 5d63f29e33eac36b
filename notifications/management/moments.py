"""Times as commands take them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django.core.management import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, value: str) -> datetime:
    """`2h` ago, or an ISO 8601 time. Raises CommandError naming the option."""
    if ago := re.fullmatch(r"(\d{1,5})([smhd])", value):
        return timezone.now() - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        found = parse_datetime(value) or parse_datetime(f"{value}T00:00:00")
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"{option} takes 90s, 30m, 2h, 7d or an ISO 8601 time, not {value!r}.")
    return found if timezone.is_aware(found) else timezone.make_aware(found)
