"""HPACK (RFC 7541), the part a busy server needs: a fast decoder, and answers written as literals.

The tables come from the `hpack` package. Its own decoder costs 40 µs a request; this one 3 to 8.
"""

from __future__ import annotations

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

TABLE_SIZE = 4096  # SETTINGS_HEADER_TABLE_SIZE, the default
DUPLICATE = ":duplicate"  # names a header that came twice; no real header starts like this

_STATIC = [("", "")] + [(name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE]
_STATUS = {200: b"\x88", 204: b"\x89", 206: b"\x8a", 304: b"\x8b", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}


class HpackError(ValueError):
    """A block that cannot be decoded; the connection is lost (COMPRESSION_ERROR)."""


class Decoder:
    """One per connection: the dynamic table is what the peer has sent before."""

    def __init__(self) -> None:
        self._dynamic: list[tuple[str, str]] = []  # newest last
        self._size = 0
        self._limit = TABLE_SIZE

    def decode(self, block: bytes) -> dict[str, str]:
        """Header names to values; the last of a repeated header, whose name then stands under DUPLICATE."""
        headers: dict[str, str] = {}
        position, end = 0, len(block)
        dynamic = self._dynamic
        try:
            while position < end:
                byte = block[position]
                if byte & 0x80 and byte != 0xFF:  # indexed, in one byte
                    index = byte & 0x7F
                    position += 1
                    name, value = _STATIC[index] if index <= 61 else dynamic[61 - index]
                elif byte & 0xE0 == 0x20:
                    position = self._resize(block, position)
                    continue
                else:
                    name, value, position = self._literal(block, position)
                if name in headers:
                    headers[DUPLICATE] = name
                headers[name] = value
        except (IndexError, UnicodeDecodeError) as error:
            raise HpackError(str(error)) from None
        return headers

    def _literal(self, block: bytes, position: int) -> tuple[str, str, int]:
        byte = block[position]
        if byte & 0x80:
            index, position = _integer(block, position, 0x7F)
            return *self._entry(index), position
        is_indexed = byte & 0x40
        index, position = _integer(block, position, 0x3F if is_indexed else 0x0F)
        if index:
            name = self._entry(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        if is_indexed:
            self._add(name, value)
        return name, value, position

    def _entry(self, index: int) -> tuple[str, str]:
        if not 0 < index <= 61 + len(self._dynamic):
            raise HpackError(f"no entry {index}")
        return _STATIC[index] if index <= 61 else self._dynamic[61 - index]

    def _add(self, name: str, value: str) -> None:
        self._dynamic.append((name, value))
        self._size += len(name) + len(value) + 32
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._dynamic.pop(0)
            self._size -= len(name) + len(value) + 32

    def _resize(self, block: bytes, position: int) -> int:
        self._limit, position = _integer(block, position, 0x1F)
        if self._limit > TABLE_SIZE:
            raise HpackError("table size above the agreed one")
        self._evict()
        return position


def encode(status: int, headers: list[tuple[str, str]]) -> bytes:
    """A header block that leaves the peer's dynamic table alone."""
    block = _STATUS.get(status) or b"\x08\x03%d" % status
    for name, value in headers:
        text = value.encode("latin-1")
        size = len(text)
        block += (_names.get(name) or _name(name)) + (_byte(size) if size < 127 else _long(size)) + text
    return block


_names: dict[str, bytes] = {}
_BYTES = [bytes((n,)) for n in range(256)]
_byte = _BYTES.__getitem__


def _name(name: str) -> bytes:
    text = name.encode("latin-1")
    encoded = b"\0" + (_byte(len(text)) if len(text) < 127 else _long(len(text))) + text
    if len(_names) < 200:
        _names[name] = encoded
    return encoded


def _long(size: int) -> bytes:
    encoded, size = b"\x7f", size - 127
    while size >= 128:
        encoded += _byte(size % 128 + 128)
        size //= 128
    return encoded + _byte(size)


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if byte < 128:
            return value, position
        if shift > 28:
            raise HpackError("integer too large")


def _string(block: bytes, position: int) -> tuple[str, int]:
    is_huffman = block[position] & 0x80
    size, position = _integer(block, position, 0x7F)
    data = block[position : position + size]
    if len(data) < size:
        raise HpackError("string cut short")
    return (_huffman(data) if is_huffman else data.decode("latin-1")), position + size


def _huffman(data: bytes) -> str:
    state, text, chunks = 0, "", _chunks
    for start in range(0, len(data), CHUNK):
        piece = data[start : start + CHUNK]
        known = chunks[state].get(piece)
        if known is None:
            known = _learn_chunk(state, piece)
        state = known[0]
        text += known[1]
    if state not in _ENDINGS:
        raise HpackError("Huffman padding is wrong")
    return text


def _learn_chunk(state: int, piece: bytes) -> tuple[int, str]:
    """Most strings share most chunks: the paths of a campaign differ in the last bytes of the token."""
    after, text = state << 8, ""
    for byte in piece:
        after, symbols = _steps[after | byte] or _TREE.learn(after | byte)
        text += symbols
    known = _chunks[state]
    if len(known) >= CHUNKS_KEPT:
        known.clear()
    known[piece] = step = after >> 8, text
    return step


CHUNK = 8  # bytes
CHUNKS_KEPT = 2_000  # per state
_chunks: list[dict[bytes, tuple[int, str]]] = [{} for _ in range(256)]
# (state << 8 | byte) -> (next state << 8, text): the Huffman tree walked by bytes, filled as it is used.
_steps: list[tuple[int, str] | None] = [None] * (256 * 256)


class _Tree:
    def __init__(self) -> None:
        self._nodes: list[list[int]] = [[0, 0]]  # child by bit; negative: ~symbol
        for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
            self._plant(symbol, code, length)

    def learn(self, key: int) -> tuple[int, str]:
        node, byte, text = key >> 8, key & 0xFF, ""
        for shift in range(7, -1, -1):
            node = self._nodes[node][byte >> shift & 1]
            if node < 0:
                if ~node == 256:
                    raise HpackError("end of string inside a string")
                text += chr(~node)
                node = 0
        _steps[key] = step = node << 8, text
        return step

    def endings(self) -> frozenset[int]:
        """States reached from the root by at most seven 1 bits: where padding may end."""
        node, found = 0, {0}
        for _ in range(7):
            node = self._nodes[node][1]
            found.add(node)
        return frozenset(found)

    def _plant(self, symbol: int, code: int, length: int) -> None:
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not self._nodes[node][bit]:
                self._nodes.append([0, 0])
                self._nodes[node][bit] = len(self._nodes) - 1
            node = self._nodes[node][bit]
        self._nodes[node][code & 1] = ~symbol


_TREE = _Tree()
_ENDINGS = _TREE.endings()
