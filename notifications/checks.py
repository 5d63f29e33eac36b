"""Live checks of credentials: each is asked of its provider when stored and every five minutes, and nobody is reached.

A refused check is shown and stops nothing. A send is the better witness, and the first one that is refused opens the
incident at no cost (pipeline/trouble.py); a check asks with an address that does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from notifications.pipeline.build import providers
from notifications.pipeline.tokens import SharedTokens
from notifications.providers.base import Check, CheckResult, InvalidCredential, TokenStore
from notifications.providers.base import Credential as Opened
from tenants.models import Credential

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=5)
SECONDS = 10.0  # for one check
AT_ONCE = 20  # credentials in one run


def ask_again(found: QuerySet[Credential]) -> int:
    """Have these checked now. Nothing is asked here: the next run does it."""
    return found.filter(is_active=True).update(check_due_at=timezone.now())


def run() -> int:
    """Check those that are due; how many. Whoever claims one has it to himself until it is due again."""
    claimed = _claim()
    if claimed:
        for credential, check in zip(claimed, asyncio.run(_check(claimed)), strict=True):
            _record(credential, check)
    return len(claimed)


def _claim() -> list[Credential]:
    now = timezone.now()
    due = Credential.objects.filter(is_active=True, check_due_at__lte=now).order_by("check_due_at", "id")
    with transaction.atomic():
        claimed = list(due.select_for_update(skip_locked=True)[:AT_ONCE])
        Credential.objects.filter(pk__in=[one.pk for one in claimed]).update(check_due_at=now + EVERY)
    return claimed


async def _check(claimed: Sequence[Credential]) -> list[Check]:
    conninfo = make_conninfo(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"])
    async with AsyncConnectionPool(conninfo, min_size=1, max_size=4, open=False) as pool:
        return await asyncio.gather(*(asked(credential, SharedTokens(pool)) for credential in claimed))


async def asked(credential: Credential, tokens: TokenStore) -> Check:
    """What the provider says of it, within SECONDS."""
    try:
        async with asyncio.timeout(SECONDS):
            opened = Opened(credential.pk, credential.provider, credential.public, credential.secret)
            session = providers()[credential.provider].open(opened, tokens)
            try:
                return await session.check()
            finally:
                await session.close()
    except InvalidCredential as error:
        return Check(CheckResult.REFUSED, "not_usable", str(error))
    except TimeoutError:
        return Check(CheckResult.UNABLE, "no_answer", f"no answer within {SECONDS:.0f} s")
    except Exception as error:  # one credential's trouble is not the others'
        log.exception("check_failed", action="checks.failed", credential=credential.pk)
        return Check(CheckResult.UNABLE, "internal_error", type(error).__name__)


def _record(credential: Credential, check: Check) -> None:
    """Not if it was replaced meanwhile: the check was of the old one."""
    now = timezone.now()
    said = f"{check.reason}: {check.detail}".strip(": ")[:300]
    since = credential.check_since if credential.check_result == check.result else None
    Credential.objects.filter(pk=credential.pk, updated_at=credential.updated_at).update(
        checked_at=now, check_result=str(check.result), check_detail=said, check_since=since or now
    )
    if check.result is not CheckResult.OK:
        log.warning(
            "credential_check",
            action="checks.checked",
            credential=credential.pk,
            result=str(check.result),
            reason=check.reason,
        )
