"""Writes to subscribers, devices and their preferences."""

from __future__ import annotations

from devices.models import Category
from tenants.models import Application

STANDARD_CATEGORIES = (
    ("marketing", "Marketing", Category.Kind.MARKETING, Category.Default.OFF, Category.CrashRule.LEAVE),
    ("transactional", "Transactional", Category.Kind.TRANSACTIONAL, Category.Default.ON, Category.CrashRule.RESEND),
    ("critical", "Critical", Category.Kind.CRITICAL, Category.Default.FORCED, Category.CrashRule.RESEND),
)


def create_standard_categories(application: Application) -> None:
    """Every application starts with one category of each kind; marketing only to those who opted in."""
    Category.objects.bulk_create(
        Category(application=application, slug=slug, name=name, kind=kind, default=default, crash_rule=crash_rule)
        for slug, name, kind, default, crash_rule in STANDARD_CATEGORIES
    )
