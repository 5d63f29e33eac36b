"""What the environment says: each variable the project reads, typed and checked once, in a frozen `Env`.

Nothing else reads `os.environ`. Django is not imported here, and nothing is started.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent

FERNET_KEY = re.compile(r"[A-Za-z0-9_+/-]{43}=")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
MAILBOX = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
HOST = re.compile(
    r"(?:\*\.|\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?",
    re.IGNORECASE,
)


class ConfigurationError(Exception):
    """A variable is missing or cannot be used; the message names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Env:
    """The checked environment. A URL that is None means: the embedded service (`config.embedded`) serves."""

    debug: bool
    secret_key: str
    field_encryption_keys: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    base_url: str
    database_url: str | None
    redis_url: str | None
    broker_url: str | None
    apns_url: str
    apns_sandbox_url: str
    fcm_url: str
    twilio_url: str
    provider_ca_file: Path | None
    webpush_allowed_hosts: tuple[str, ...]
    alarm_emails: tuple[str, ...]
    email_url: str | None
    email_from: str
    alarm_webhook_url: str | None
    alarm_webhook_secret: str
    port: int
    data_dir: Path

    @property
    def is_production(self) -> bool:
        """An installation has a database of its own; what runs on the embedded one is a trial or a test."""
        return self.database_url is not None


def load(environ: Mapping[str, str], *, dotenv: Path | None = BASE_DIR / ".env") -> Env:
    """Read and check everything. `environ` wins over the file `dotenv`; an empty value counts as absent.

    Creates `DATA_DIR`, and in it the secrets that were not given. Raises `ConfigurationError`.
    """
    values = {**(_dotenv(dotenv) if dotenv else {}), **environ}
    variables = {name: value.strip() for name, value in values.items() if value.strip()}
    database_url = _url(variables, "DATABASE_URL", ("postgresql", "postgres"), allow_path=True)
    data_dir, port, debug = _data_dir(variables), _port(variables), _flag(variables, "DEBUG")
    secret_key, field_encryption_keys = _secrets(variables, data_dir, is_production=database_url is not None)
    return Env(
        debug=debug,
        secret_key=secret_key,
        field_encryption_keys=field_encryption_keys,
        allowed_hosts=_hosts(variables, "ALLOWED_HOSTS", allow_any=True) or LOCAL_HOSTS,
        base_url=_url(variables, "BASE_URL") or f"http://localhost:{port}",
        database_url=database_url,
        redis_url=_url(variables, "REDIS_URL", ("redis", "rediss", "unix"), allow_path=True),
        broker_url=_url(
            variables,
            "BROKER_URL",
            ("redis", "rediss", "redis+socket", "unix", "amqp", "amqps"),
            allow_path=True,
        ),
        apns_url=_url(variables, "APNS_URL") or "https://api.push.apple.com",
        apns_sandbox_url=_url(variables, "APNS_SANDBOX_URL") or "https://api.sandbox.push.apple.com",
        fcm_url=_url(variables, "FCM_URL") or "https://fcm.googleapis.com",
        twilio_url=_url(variables, "TWILIO_URL") or "https://api.twilio.com",
        provider_ca_file=_ca_file(variables),
        webpush_allowed_hosts=_hosts(variables, "WEBPUSH_ALLOWED_HOSTS"),
        alarm_emails=_alarm_emails(variables, debug=debug),
        email_url=_url(variables, "EMAIL_URL", ("smtp", "smtp+starttls", "smtps")),
        email_from=(_mailboxes(variables, "EMAIL_FROM") or ("carillon@localhost",))[0],
        alarm_webhook_url=_url(variables, "ALARM_WEBHOOK_URL", allow_path=True),
        alarm_webhook_secret=variables.get("ALARM_WEBHOOK_SECRET", ""),
        port=port,
        data_dir=data_dir,
    )


def _dotenv(path: Path) -> dict[str, str]:
    values = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if not separator or not name.strip().isidentifier():
            raise ConfigurationError(f"{path}, line {number}: expected NAME=value.")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name.strip()] = value
    return values


def _flag(variables: Mapping[str, str], name: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    value = variables.get(name, "false")
    if value.lower() not in words:
        raise ConfigurationError(f"{name} is {value!r}; allowed: {', '.join(words)}.")
    return words[value.lower()]


def _port(variables: Mapping[str, str]) -> int:
    value = variables.get("PORT", "8000")
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise ConfigurationError(f"PORT is {value!r}; allowed: a number from 1 to 65535.")
    return int(value)


def _url(
    variables: Mapping[str, str],
    name: str,
    schemes: tuple[str, ...] = ("https", "http"),
    *,
    allow_path: bool = False,
) -> str | None:
    """The value is never repeated in the error: it may hold a password."""
    value = variables.get(name)
    if value is None:
        return None
    allowed = f"{name} must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in schemes or any(c.isspace() for c in value):
        raise ConfigurationError(f"{allowed}.")
    is_local = parts.scheme in ("unix", "redis+socket") or "host" in dict(parse_qsl(parts.query))
    if not parts.hostname and not is_local and name != "DATABASE_URL":
        raise ConfigurationError(f"{allowed} and names a host.")
    if parts.scheme in ("unix", "redis+socket") and not parts.path.startswith("/"):
        raise ConfigurationError(
            f"{allowed}; one of a socket names its path: {parts.scheme}:///path/to/socket."
        )
    if not allow_path and (parts.path.strip("/") or parts.query or parts.fragment):
        raise ConfigurationError(f"{allowed} and names only host and port.")
    return value if allow_path else value.rstrip("/")


def _hosts(variables: Mapping[str, str], name: str, *, allow_any: bool = False) -> tuple[str, ...]:
    hosts = tuple(host.strip().lower() for host in variables.get(name, "").split(",") if host.strip())
    for host in hosts:
        if not (HOST.fullmatch(host) or (allow_any and host == "*")):
            raise ConfigurationError(
                f"{name} holds {host!r}; allowed: host names separated by commas, without https://."
            )
    return hosts


def _mailboxes(variables: Mapping[str, str], name: str) -> tuple[str, ...]:
    mailboxes = tuple(word.strip() for word in variables.get(name, "").split(",") if word.strip())
    if wrong := next((word for word in mailboxes if not MAILBOX.fullmatch(word)), None):
        raise ConfigurationError(f"{name} holds {wrong!r}; allowed: e-mail addresses without names.")
    return mailboxes


def _alarm_emails(variables: Mapping[str, str], *, debug: bool) -> tuple[str, ...]:
    """An alarm that has no way out is a mistake to be found now, not on the night it is needed."""
    mailboxes = _mailboxes(variables, "ALARM_EMAILS")
    absent = [name for name in ("EMAIL_URL", "EMAIL_FROM") if name not in variables]
    if mailboxes and absent and not debug:
        raise ConfigurationError(f"{' and '.join(absent)} must be set when ALARM_EMAILS is.")
    return mailboxes


def _ca_file(variables: Mapping[str, str]) -> Path | None:
    value = variables.get("PROVIDER_CA_FILE")
    if value is None:
        return None
    path = BASE_DIR / Path(value).expanduser()
    try:
        is_pem = b"-----BEGIN CERTIFICATE-----" in path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"PROVIDER_CA_FILE {value!r} cannot be read: {error.strerror}.") from error
    if not is_pem:
        raise ConfigurationError(f"PROVIDER_CA_FILE {value!r} holds no certificate; allowed: a PEM file.")
    return path


def _data_dir(variables: Mapping[str, str]) -> Path:
    """Relative paths start at the project, wherever the command was called."""
    path = Path(os.path.normpath(BASE_DIR / Path(variables.get("DATA_DIR", ".data")).expanduser()))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR {str(path)!r} cannot be used: {error.strerror}.") from error
    return path


def _secrets(
    variables: Mapping[str, str], data_dir: Path, *, is_production: bool
) -> tuple[str, tuple[str, ...]]:
    absent = [name for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS") if name not in variables]
    if absent and is_production:
        raise ConfigurationError(
            f"{' and '.join(absent)} must be set when DATABASE_URL is. See .env.example."
        )
    kept = _kept_secrets(data_dir / "secrets.json") if absent else {}
    given = {**kept, **variables}
    keys = tuple(key.strip() for key in given["FIELD_ENCRYPTION_KEYS"].split(",") if key.strip())
    if not keys or not all(map(FERNET_KEY.fullmatch, keys)):
        raise ConfigurationError(
            "FIELD_ENCRYPTION_KEYS must be Fernet keys (32 bytes in URL-safe base64) separated by commas; "
            "the first encrypts, all decrypt."
        )
    return given["SECRET_KEY"], keys


def _kept_secrets(path: Path) -> dict[str, str]:
    """Written once, never changed: the process that comes first creates the file whole, the others read."""
    if not path.exists():
        fresh = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        _create(path, json.dumps(fresh, indent=2) + "\n")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(kept[name]) for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error!r}). Restore it, or set SECRET_KEY and FIELD_ENCRYPTION_KEYS: "
            "without the old keys stored credentials cannot be decrypted."
        ) from error


def _create(path: Path, text: str) -> None:
    """Create with mode 0600 and all of its content at once; keep what another process created first."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8") as draft:  # mode 0600 by mkstemp
        draft.write(text)
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            os.link(draft.name, path)
