"""A text column that is encrypted at rest (Fernet, with key rotation)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def cipher() -> MultiFernet:
    """The first of FIELD_ENCRYPTION_KEYS encrypts; all of them decrypt."""
    return _cipher(tuple(settings.FIELD_ENCRYPTION_KEYS))


class EncryptedTextField(models.TextField):
    """Plain text in Python, a Fernet token in the database. Cannot be filtered on."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return cipher().encrypt(value.encode()).decode() if value else value

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        if not value:
            return value
        try:
            return cipher().decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise ValueError("FIELD_ENCRYPTION_KEYS holds no key for this secret") from error
