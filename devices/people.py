"""What the application's backend says about its subscribers, and the limits it is held to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import orjson

from config.problems import Problem
from config.types import END, Locale, TimeZone
from devices import quiet

ATTRIBUTE_BYTES = 16_384
ATTRIBUTE_DEPTH = 5
ATTRIBUTE_NAME = 128  # characters


class Attributes(dict[str, Any]):
    """Any JSON object within limits; decoded by `config.json`."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "object",
        "additionalProperties": True,
        "description": f"At most {ATTRIBUTE_BYTES} bytes as JSON, nested at most {ATTRIBUTE_DEPTH} deep.",
        "examples": [{"plan": "gold"}],
    }

    @classmethod
    def checked(cls, value: Any) -> Attributes:
        if not isinstance(value, dict):
            raise ValueError("Expected `object`")
        check(value)
        return cls(value)


def check(attributes: dict[str, Any]) -> None:
    """Raises ValueError."""
    if _depth(attributes) > ATTRIBUTE_DEPTH:
        raise ValueError(f"attributes may be nested at most {ATTRIBUTE_DEPTH} deep")
    if any(not 0 < len(name) <= ATTRIBUTE_NAME for name in attributes):
        raise ValueError(f"an attribute's name has 1 to {ATTRIBUTE_NAME} characters")
    try:
        size = len(orjson.dumps(attributes))
    except TypeError as error:
        raise ValueError("an attribute's number has to fit into 64 bits") from error
    if size > ATTRIBUTE_BYTES:
        raise ValueError(f"attributes take {size} bytes as JSON, the limit is {ATTRIBUTE_BYTES}")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


class Windows(list[dict[str, Any]]):
    """Of a person's `quiet_hours`, in their normal form; decoded by `config.json`."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "array",
        "maxItems": quiet.MOST_WINDOWS,
        "description": "When they are left alone, in their own time zone. Monday is 1; a window that does not end "
        "after its start ends on the following day. Empty: never.",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["start", "end"],
            "properties": {
                "days": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 7}},
                "start": {"type": "string"},
                "end": {"type": "string"},
            },
        },
        "examples": [[{"days": [1, 2, 3, 4, 5], "start": "22:00", "end": "08:00"}]],
    }

    @classmethod
    def checked(cls, value: Any) -> Windows:
        try:
            return cls(quiet.check(value))
        except ValueError as error:
            pointer, _, words = str(error).partition(": ")
            # msgspec would wrap a ValueError and know of the list only, not of the spot within.
            raise Problem.of_field(f"/quiet_hours{pointer}", words) from error


Country = Annotated[
    str, msgspec.Meta(pattern=rf"^[A-Z]{{2}}{END}", description="ISO 3166-1 alpha-2", examples=["DE"])
]
Email = Annotated[
    str,
    msgspec.Meta(
        max_length=254, pattern=rf"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+{END}", examples=["a@b.example"]
    ),
]
Phone = Annotated[
    str, msgspec.Meta(pattern=rf"^\+[1-9][0-9]{{6,14}}{END}", description="E.164", examples=["+4930123456"])
]


class Person(msgspec.Struct, forbid_unknown_fields=True):
    """A subscriber's fields. Absent: as it was; null: cleared."""

    attributes: Attributes | msgspec.UnsetType | None = msgspec.UNSET
    locale: Locale | msgspec.UnsetType | None = msgspec.UNSET
    time_zone: TimeZone | msgspec.UnsetType | None = msgspec.UNSET
    country: Country | msgspec.UnsetType | None = msgspec.UNSET
    email: Email | msgspec.UnsetType | None = msgspec.UNSET
    phone: Phone | msgspec.UnsetType | None = msgspec.UNSET
    quiet_hours: Windows | msgspec.UnsetType | None = msgspec.UNSET  # null: the application's

    def given(self) -> dict[str, Any]:
        """Column → new value, of what was given; `quiet_hours` is still to become a row's id."""
        values = {name: getattr(self, name) for name in Person.__struct_fields__}
        return {
            name: CLEARED.get(name, "") if value is None else value
            for name, value in values.items()
            if value is not msgspec.UNSET
        }


CLEARED: dict[str, Any] = {"attributes": {}, "quiet_hours": None}  # all others: ""
