"""HPACK (RFC 7541) for one kind of request and its answers.

Requests: headers that many requests share are put into the peer's table once; all others are literals.
Answers: we announce a table of no bytes, so once the peer has acknowledged that, every block stands by
itself. `hpack` decodes; here is only what tells, in a microsecond, that a block needs no decoding yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError
from hpack.table import HeaderTable

LIST_LIMIT = 64 * 1024  # bytes of an answer's headers
KEPT = 10_000
SECRET = frozenset({"authorization"})  # never indexed, by no intermediary either
OF_A_MESSAGE = frozenset({"apns-expiration", "apns-collapse-id"})  # would fill the table with what is over
PREPARED_LIMIT = 12_000  # bytes: with path and the rest they fit in one frame
TABLE_SIZE = 4096  # what a peer's decoder starts with

_INDEX = {name.decode(): index for index, (name, _) in reversed([*enumerate(HeaderTable.STATIC_TABLE, 1)])}
_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(r"[!-~]([\t -~]*[!-~])?|")


_Key = TypeVar("_Key", int, str)


class BadBlock(ValueError):
    """A header block that cannot be read."""


def integer(value: int, bits: int, flags: int = 0) -> bytes:
    """RFC 7541, 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((flags | value,))
    encoded, value = bytearray((flags | most,)), value - most
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def literal(key: str, value: str) -> bytes:
    """Key and value, entering no table."""
    text = value.encode("ascii")
    return name(key, secret=key in SECRET) + integer(len(text), 7) + text


def name(text: str, *, secret: bool = False) -> bytes:
    """The start of a literal that enters no table."""
    flags, index = 0x10 if secret else 0x00, _INDEX.get(text, 0)
    return integer(index, 4, flags) + (b"" if index else integer(len(text), 7) + text.encode("ascii"))


class _Kept(dict[_Key, bytes]):
    """Encoded when first asked for, then looked up."""

    def __init__(self, encode: Callable[[_Key], bytes]) -> None:
        self._encode: Callable[[_Key], bytes] = encode

    def __missing__(self, key: _Key) -> bytes:
        encoded = self._encode(key)
        if len(self) < KEPT:
            self[key] = encoded
        return encoded


LENGTH = _Kept[int](lambda size: integer(size, 7))  # of a string that is not Huffman-coded
PATH = _Kept[int](lambda size: name(":path", secret=True) + integer(size, 7))  # its start, by its length
CONTENT_LENGTH = _Kept[int](lambda size: literal("content-length", str(size)))
OWN = _Kept[str](lambda text: name(text, secret=True))  # the start of a header that differs in each request


class Prepared:
    """A request's headers, encoded once and sent many times. Raises ValueError for what no header may hold."""

    __slots__ = ("block", "key", "shared")

    def __init__(self, headers: Mapping[str, str]) -> None:
        for key, value in headers.items():
            if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
                raise ValueError(f"not a header: {key}")
        own = {key: value for key, value in headers.items() if key in SECRET or key in OF_A_MESSAGE}
        self.shared = tuple(pair for pair in headers.items() if pair[0] not in own)
        self.key = b"".join(literal(*pair) for pair in self.shared)  # names `shared`; its hash is kept
        self.block = b"".join(literal(*pair) for pair in own.items())
        if len(self.key) + len(self.block) > PREPARED_LIMIT:
            raise ValueError("headers too long")


class Table:
    """What the peer's decoder remembers of us: filled once, never so far that an entry would leave it."""

    def __init__(self, authority: str) -> None:
        self._authority = (":authority", authority)
        self._entries: dict[tuple[str, str], int] = {}  # in the order they were added
        self._room = TABLE_SIZE
        self._known: dict[bytes, tuple[bytes, bytes]] = {}

    def encode(self, headers: Prepared) -> tuple[bytes, bytes]:
        """What comes before the path, and the shared headers after it. What it returns must be sent."""
        known = self._known.get(headers.key)
        if known is not None:
            return known
        before = len(self._entries)
        now = self._both(headers)
        if len(self._entries) > before:  # every older entry has moved on
            self._known.clear()
        if len(self._known) < KEPT:
            self._known[headers.key] = self._both(headers)
        return now

    def give_up(self) -> bytes:
        """The peer wants a smaller table: have none. What the next block must begin with."""
        self._entries.clear()
        self._known.clear()
        self._room = 0
        return b"\x20"

    def _both(self, headers: Prepared) -> tuple[bytes, bytes]:
        opening = b"\x83\x87" + self._field(*self._authority)  # POST, https
        return opening, b"".join([self._field(*pair) for pair in headers.shared])

    def _field(self, key: str, value: str) -> bytes:
        number, size = self._entries.get((key, value)), len(key) + len(value) + 32
        if number is not None:
            return integer(61 + len(self._entries) - number, 7, 0x80)
        if size > self._room:
            return literal(key, value)
        self._entries[key, value] = len(self._entries)
        self._room -= size
        index = _INDEX.get(key, 0)
        start = integer(index, 6, 0x40) + (b"" if index else integer(len(key), 7) + key.encode("ascii"))
        return start + integer(len(value), 7) + value.encode("ascii")


class Headers:
    """An answer's headers; decoded when somebody asks."""

    __slots__ = ("_block", "_pairs")

    def __init__(self, block: bytes, pairs: Iterable[tuple[bytes, bytes]] | None = None) -> None:
        self._block, self._pairs = block, pairs

    def get(self, name: str, /) -> str | None:
        if self._pairs is None:
            try:
                self._pairs = decode(self._block)
            except BadBlock:  # it has no memory, so it spoils nothing but itself
                self._pairs = ()
        wanted = name.lower().encode("ascii")
        return next((value.decode("latin-1") for key, value in self._pairs if key == wanted), None)


def status(block: bytes) -> int:
    """The status in a block that stands by itself; 0 if there is none. Raises BadBlock."""
    try:
        known = _STATUS.get(block[0])
        if known is not None and _is_plain(block, 1):
            return known
    except IndexError:
        pass
    return status_of(decode(block))


def status_of(pairs: Iterable[tuple[bytes, bytes]]) -> int:
    """0 if they name none."""
    found = [value for key, value in pairs if key == b":status"]
    return int(found[0]) if len(found) == 1 and len(found[0]) == 3 and found[0].isdigit() else 0


@lru_cache(maxsize=128)
def decode(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Names and values of a block that stands by itself. Raises BadBlock."""
    decoder = Decoder(LIST_LIMIT)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    return decode_next(decoder, block)


def decode_next(decoder: Decoder, block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The same for a peer that has not yet given up its table: every block, in order."""
    try:
        return tuple((bytes(pair[0]), bytes(pair[1])) for pair in decoder.decode(block, raw=True))
    except (HPACKError, IndexError, ValueError) as error:
        raise BadBlock(type(error).__name__) from None


def _is_plain(block: bytes, position: int) -> bool:
    """Whether these are whole literals and entries of the static table. "No" means: let `hpack` look."""
    end = len(block)
    while position < end:
        shape = _SHAPES[block[position]]
        position += 1
        if shape == WHOLE:
            continue
        if shape == NEW_NAME:
            size = block[position] & 0x7F
            position += 1 + size
            if size == 0x7F:  # or longer
                return False
        elif shape == FAR_NAME and block[position] <= 61 - 15:
            position += 1
        elif shape != NAME:
            return False
        size = block[position] & 0x7F
        position += 1 + size
        if size == 0x7F:
            return False
    return position == end


def _shape(byte: int) -> int:
    """What the first byte of a field begins (RFC 7541, 6). Entries 1 to 14 are pseudo-headers."""
    if byte & 0x80:
        return WHOLE if 15 <= byte & 0x7F <= 61 else OTHER
    if byte in (0x00, 0x10, 0x40):
        return NEW_NAME
    if byte in (0x0F, 0x1F):
        return FAR_NAME
    return NAME if byte & 0x40 and 15 <= byte & 0x3F <= 61 else OTHER


WHOLE, NEW_NAME, NAME, FAR_NAME, OTHER = range(5)
_SHAPES = [_shape(byte) for byte in range(256)]
