"""Decrypting a Web Push body: RFC 8291 on top of RFC 8188 (aes128gcm), one record."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from simulator.answers import Refusal
from simulator.devices import KeyPair

HEADER = 21  # salt 16, record size 4, key id length 1
KEY_LENGTH = 65
TAG = 16
_CURVE, _ECDH = ec.SECP256R1(), ec.ECDH()


def check_form(body: bytes) -> None:
    """What can be told without the key; raises Refusal."""
    if len(body) < HEADER + KEY_LENGTH + TAG + 1 or body[20] != KEY_LENGTH or body[21] != 4:
        raise undecryptable("The body lacks an aes128gcm header with a P-256 key id")
    record_size = int.from_bytes(body[16:20], "big")
    if record_size < 18 or len(body) - HEADER - KEY_LENGTH > record_size:
        raise undecryptable("The body is not a single record of the size it names")


def plaintext(body: bytes, pair: KeyPair, auth: bytes) -> bytes:
    """The message; raises Refusal when it was not encrypted for this subscription."""
    sender = body[HEADER : HEADER + KEY_LENGTH]
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, sender)
    except ValueError:
        raise undecryptable("The key id is not a point on P-256") from None
    secret = pair.private.exchange(_ECDH, point)
    key, nonce = _derive(secret, auth, pair.public, sender, body[:16])
    try:
        padded = AESGCM(key).decrypt(nonce, body[HEADER + KEY_LENGTH :], None)
    except InvalidTag:
        raise undecryptable("The body does not decrypt with the subscription's keys") from None
    message = padded.rstrip(b"\0")
    if message[-1:] != b"\2":
        raise undecryptable("The record lacks its padding delimiter")
    return message[:-1]


def _derive(secret: bytes, auth: bytes, receiver: bytes, sender: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Content key and nonce. HKDF written out: each step is a single HMAC block (RFC 8291 §3.4)."""
    digest = hmac.digest
    first = digest(auth, secret, "sha256")
    material = digest(first, b"WebPush: info\0" + receiver + sender + b"\1", "sha256")
    second = digest(salt, material, "sha256")
    key = digest(second, b"Content-Encoding: aes128gcm\0\1", "sha256")[:16]
    return key, digest(second, b"Content-Encoding: nonce\0\1", "sha256")[:12]


def undecryptable(message: str) -> Refusal:
    return Refusal(400, "BadEncryption", message)
