"""Django settings. What differs between installations comes from the environment: config/env.py."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.urls import reverse_lazy
from psycopg.conninfo import conninfo_to_dict

from config import embedded, env, unfold

BASE_DIR = Path(__file__).resolve().parent.parent
ENV = env.load(os.environ)
SERVICES = embedded.services(ENV)

DEBUG = ENV.debug
SECRET_KEY = ENV.secret_key
FIELD_ENCRYPTION_KEYS = ENV.field_encryption_keys
ALLOWED_HOSTS = list(ENV.allowed_hosts)
DATABASE_URL = SERVICES.database_url
REDIS_URL = SERVICES.redis_url

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "tenants",
    "devices",
    "notifications",
    "campaigns",
    "simulator",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.cors.cors",
    "config.shortcut.api",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database(url: str) -> dict[str, object]:
    """A libpq URL (PostgreSQL docs, "Connection URIs") as Django's dict."""
    parts = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", ""),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": str(parts.pop("port", "")),
        "CONN_MAX_AGE": None,
        # A check would cost every request a round trip; without it a restarted database costs each
        # connection one answer of 503.
        "CONN_HEALTH_CHECKS": False,
        # Hot statements are planned once per connection; needs a session-pooling pgbouncer, or one
        # from 1.21 on with max_prepared_statements.
        "OPTIONS": {**parts, "prepare_threshold": 3, "server_side_binding": True},
    }


DATABASES = {"default": _database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = "config.formats"
LOCALE_PATHS = [BASE_DIR / "locale"]  # of the preference centre; the admin speaks English

STATIC_URL = "static/"
STATIC_ROOT = ENV.data_dir / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served straight from the packages: a fresh clone needs no collectstatic step.
WHITENOISE_USE_FINDERS = True

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "tenants.access.MembershipBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.is_production
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.is_production else None
SECURE_SSL_REDIRECT = ENV.is_production
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 31_536_000 if ENV.is_production else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENV.is_production
X_FRAME_OPTIONS = "DENY"
# Imports are streamed to disk, never held in memory.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.authentication.BearerKey"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["config.json.Renderer"],
    "DEFAULT_PARSER_CLASSES": ["config.json.Parser"],
    "DEFAULT_SCHEMA_CLASS": "config.openapi.Schema",
    "EXCEPTION_HANDLER": "config.problems.handler",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Carillon",
    "DESCRIPTION": "Register devices, send notifications, see what became of every one of them.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
}

CELERY_BROKER_URL = ENV.broker_url or embedded.broker_url(REDIS_URL)
CELERY_BEAT_SCHEDULER = "config.clock:LeaderScheduler"


def _tick(task: str, seconds: float) -> dict[str, object]:
    """A tick nobody took before the next one came is dropped: they must not pile up."""
    return {
        "task": task,
        "schedule": seconds,
        "options": {"queue": "periodic", "expire_seconds": max(seconds, 2)},
    }


CELERY_BEAT_SCHEDULE = {
    "tick": _tick("notifications.tick", 1.0),
    "campaigns": _tick("campaigns.tick", 1.0),
    "goals": _tick("campaigns.count_goals", 60.0),
    "sweep": _tick("notifications.sweep", 5.0),
    "segments": _tick("devices.refresh_segments", 60.0),
    "verify": _tick("notifications.verify", 20.0),
    "verify_again": _tick("notifications.verify_again", 300.0),
    "credentials": _tick("notifications.check_credentials", 10.0),
    "roll_up": _tick("notifications.roll_up", 20.0),
    "partitions": _tick("notifications.make_partitions", 3600.0),
}

# --- Delivery -------------------------------------------------------------------------------

APNS_URL = ENV.apns_url
APNS_SANDBOX_URL = ENV.apns_sandbox_url
FCM_URL = ENV.fcm_url
PROVIDER_CA_FILE = ENV.provider_ca_file
WEBPUSH_ALLOWED_HOSTS = ENV.webpush_allowed_hosts

# Recipients a killed sender process can leave unknowable (law 3), all lanes together.
SENDER_BUDGET = 500
# Of which one application may hold this share in one lane, so that its stalled provider cannot hold the process.
SENDER_SHARE = 0.6
BATCH_SIZE = 125
# Longer than any provider's timeout: a live sender never loses a batch to the reaper.
LEASE_SECONDS = 60
SHARD_SIZE = 250_000

# --- Alarms ---------------------------------------------------------------------------------

BASE_URL = ENV.base_url
ALARM_EMAILS = list(ENV.alarm_emails)
ALARM_WEBHOOK_URL = ENV.alarm_webhook_url
ALARM_WEBHOOK_SECRET = ENV.alarm_webhook_secret

# Without a server, mail goes to the terminal of a trial, else nowhere.
_MAIL = urlsplit(ENV.email_url or "")
_BACKEND = "smtp" if ENV.email_url else "console" if DEBUG else "dummy"
EMAIL_BACKEND = f"django.core.mail.backends.{_BACKEND}.EmailBackend"
EMAIL_HOST = _MAIL.hostname or "localhost"
EMAIL_PORT = _MAIL.port or {"smtp+starttls": 587, "smtps": 465}.get(_MAIL.scheme, 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_MAIL.username or ""), unquote(_MAIL.password or "")
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL.scheme == "smtp+starttls", _MAIL.scheme == "smtps"
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = ENV.email_from

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "config.logs.formatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.server": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},  # a caller's mistake is the caller's to see
        "celery": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}

UNFOLD = unfold.UNFOLD
