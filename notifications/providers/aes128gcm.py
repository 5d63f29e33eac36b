"""Message encryption for Web Push: RFC 8291 over the `aes128gcm` coding of RFC 8188, one record. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECORD_SIZE = 4096
OVERHEAD = 103  # salt 16, record size 4, key length 1, key 65, delimiter 1, authentication tag 16
PLAINTEXT_LIMIT = RECORD_SIZE - OVERHEAD  # push services take bodies of 4096 bytes (RFC 8030, 7.2)

_CURVE = ec.SECP256R1()
_AHEAD = RECORD_SIZE.to_bytes(4, "big") + b"\x41"
_IKM = b"WebPush: info\0"
_CEK, _NONCE = b"Content-Encoding: aes128gcm\0\x01", b"Content-Encoding: nonce\0\x01"


class BadKeys(ValueError):
    """A subscription's keys that no browser has made. The text begins with the key's name."""


def keys(p256dh: str, auth: str) -> tuple[bytes, ec.EllipticCurvePublicKey, bytes]:
    """The subscription's point, as bytes and as a key, and its authentication secret. Raises BadKeys."""
    point, secret = unb64(p256dh, "p256dh"), unb64(auth, "auth")
    if len(point) != 65 or point[0] != 4:
        raise BadKeys("p256dh: must be 65 bytes, an uncompressed P-256 point")
    if len(secret) != 16:
        raise BadKeys("auth: must be 16 bytes")
    try:
        return point, ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point), secret
    except ValueError:
        raise BadKeys("p256dh: is not a point of the P-256 curve") from None


def encrypt(plaintext: bytes, p256dh: str, auth: str) -> bytes:
    """The request body: a new key pair and salt for every message (RFC 8291, 3.1). Raises BadKeys."""
    point, receiver, secret = keys(p256dh, auth)
    return seal(plaintext, point, receiver, secret, ec.generate_private_key(_CURVE), os.urandom(16))


def seal(
    plaintext: bytes,
    point: bytes,
    receiver: ec.EllipticCurvePublicKey,
    secret: bytes,
    sender: ec.EllipticCurvePrivateKey,
    salt: bytes,
) -> bytes:
    """`encrypt` with the message's own key pair and salt given."""
    own = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    # Each HKDF (RFC 5869) of RFC 8291, 3.4 needs one block only: extract, then one HMAC to expand.
    shared = hmac.digest(secret, sender.exchange(ec.ECDH(), receiver), "sha256")
    key = hmac.digest(shared, _IKM + point + own + b"\x01", "sha256")
    key = hmac.digest(salt, key, "sha256")
    cipher = AESGCM(hmac.digest(key, _CEK, "sha256")[:16])
    nonce = hmac.digest(key, _NONCE, "sha256")[:12]
    return salt + _AHEAD + own + cipher.encrypt(nonce, plaintext + b"\x02", None)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, name: str) -> bytes:
    """base64url, padded or not. Raises BadKeys."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadKeys(f"{name}: must be base64url") from None
