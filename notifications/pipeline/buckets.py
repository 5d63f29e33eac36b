"""People in 10 000 buckets by a hash that says the same for ever: parts of an audience, held-out shares.

By PostgreSQL's hash of integers, which hash partitions rely on staying as it is: 30 ns a row, where md5 takes 350.
"""

from __future__ import annotations

import hashlib

BUCKETS = 10_000

# person: a bigint, the subscriber's id, else the device's below zero.
SQL = f"mod(hashint8extended({{person}}, {{seed}}::bigint) & {2**63 - 1}, {BUCKETS})"


def seed(salt: str) -> int:
    """Of a hash for one purpose; of two salts one bucket says nothing about the other."""
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], signed=True)


def bucket(salt: str, subscriber_id: int | None, device_id: int | None = None) -> int:
    """0 … 9999, as SQL has it. A person's devices are in one; who is nobody is known by the device."""
    return drawn(subscriber_id if subscriber_id is not None else -(device_id or 0), seed(salt))


def drawn(person: int, seed: int) -> int:
    return (_hashint8extended(person, seed) & (2**63 - 1)) % BUCKETS


WORD = 2**32 - 1


def _hashint8extended(value: int, seed: int) -> int:
    """src/backend/access/hash/hashfunc.c and common/hashfn.c of PostgreSQL: Bob Jenkins's lookup3 of one word."""
    high = (value >> 32) & WORD
    word = (value & WORD) ^ (high if value >= 0 else high ^ WORD)
    a = b = c = (0x9E3779B9 + 4 + 3923095) & WORD
    if seed:
        a, b = (a + (seed >> 32)) & WORD, (b + seed) & WORD
        a, b, c = _mix(a, b, c)
    _, b, c = _final((a + word) & WORD, b, c)
    return b << 32 | c


def _turned(x: int, by: int) -> int:
    return (x << by | x >> (32 - by)) & WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = (a - c & WORD) ^ _turned(c, by)
        c = (c + b) & WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, by)) & WORD
        a, b, c = b, c, a
    return c, a, b  # seven turns of three names are one
