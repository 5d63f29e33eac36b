"""HPACK (RFC 7541) without memory: requests that leave the peer's table alone, answers read on demand.

We announce a table of no bytes, so once the peer has acknowledged that, every block stands by itself.
`hpack` decodes; here is only what tells, in a microsecond, that a block needs no decoding yet.
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


def opening(authority: str) -> bytes:
    """The start of every POST; its path, encoded with PATH, comes next."""
    return b"\x83\x87" + literal(":authority", authority)  # POST, https


def block(headers: Mapping[str, str]) -> bytes:
    """Headers encoded once for many requests. Raises ValueError for what no header may hold."""
    for key, value in headers.items():
        if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            raise ValueError(f"not a header: {key}")
    return b"".join(literal(key, value) for key, value in headers.items())


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
