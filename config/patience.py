"""Statements that must answer while somebody waits, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled


class TooSlow(Exception):
    """It would have taken longer. What its transaction did is undone."""


@contextmanager
def within(time: str) -> Iterator[Any]:
    """A cursor whose statements, and those of others in the block, have this time each ("800ms"). Raises TooSlow."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{time}'")
            yield cursor
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")  # the caller's transaction may go on
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooSlow from error
