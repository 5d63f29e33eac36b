import json
import stat
import subprocess
import sys

import pytest

from config import env
from config.env import ConfigurationError

FERNET_KEYS = ("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", "Zm9yIHRlc3RzIG9ubHksIG5vdCBhIHNlY3JldCEhISE=")
PRODUCTION = {
    "DATABASE_URL": "postgresql://carillon:secret@db.example.com/carillon?sslmode=require",
    "REDIS_URL": "rediss://redis.example.com:6380/1",
    "SECRET_KEY": "not a secret",
    "FIELD_ENCRYPTION_KEYS": ",".join(FERNET_KEYS),
}


@pytest.fixture
def load(tmp_path):
    """`env.load` of these variables and a DATA_DIR of the test's own."""

    def load(variables=(), *, dotenv=None):
        return env.load({"DATA_DIR": str(tmp_path / "data"), **dict(variables)}, dotenv=dotenv)

    return load


class TestDefaults:
    def test_nothing_has_to_be_set(self, load, tmp_path):
        environment = load()
        assert environment.database_url is environment.redis_url is environment.broker_url is None
        assert environment.apns_url == "https://api.push.apple.com"
        assert environment.apns_sandbox_url == "https://api.sandbox.push.apple.com"
        assert environment.fcm_url == "https://fcm.googleapis.com"
        assert environment.twilio_url == "https://api.twilio.com"
        assert environment.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")
        assert environment.webpush_allowed_hosts == ()
        assert environment.provider_ca_file is None
        assert environment.base_url == "http://localhost:8000"
        assert environment.alarm_emails == ()
        assert environment.email_url is environment.alarm_webhook_url is None
        assert environment.port == 8000
        assert environment.data_dir == tmp_path / "data"
        assert not environment.debug
        assert not environment.is_production

    def test_an_empty_value_counts_as_absent(self, load):
        assert load({"DATABASE_URL": "", "PORT": " ", "ALLOWED_HOSTS": ""}) == load()

    def test_a_relative_data_dir_starts_at_the_project(self, tmp_path, monkeypatch):
        monkeypatch.setattr(env, "BASE_DIR", tmp_path)
        assert env.load({"DATA_DIR": "here/../there"}, dotenv=None).data_dir == tmp_path / "there"
        assert env.load({}, dotenv=None).data_dir == tmp_path / ".data"


class TestValues:
    def test_are_typed(self, load, tmp_path):
        authority = tmp_path / "ca.pem"
        authority.write_text("-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")
        environment = load(
            {
                **PRODUCTION,
                "BROKER_URL": "amqp://guest:guest@rabbit:5672//",
                "ALLOWED_HOSTS": "push.example.com, .Example.org ,[::1]",
                "APNS_URL": "http://127.0.0.1:8443/",
                "PROVIDER_CA_FILE": str(authority),
                "WEBPUSH_ALLOWED_HOSTS": "push.internal:8443,*.example.net",
                "BASE_URL": "https://push.example.com/",
                "ALARM_EMAILS": "ops@example.com, night.shift@example.com",
                "EMAIL_URL": "smtp+starttls://carillon:p%40ss@mail.example.com",
                "EMAIL_FROM": "carillon@example.com",
                "ALARM_WEBHOOK_URL": "https://hooks.example.com/carillon?team=push",
                "ALARM_WEBHOOK_SECRET": "shh",
                "PORT": "9000",
                "DEBUG": "Yes",
            }
        )
        assert environment.is_production
        assert environment.database_url == PRODUCTION["DATABASE_URL"]
        assert environment.secret_key == "not a secret"
        assert environment.field_encryption_keys == FERNET_KEYS
        assert environment.allowed_hosts == ("push.example.com", ".example.org", "[::1]")
        assert environment.apns_url == "http://127.0.0.1:8443"
        assert environment.provider_ca_file == authority
        assert environment.webpush_allowed_hosts == ("push.internal:8443", "*.example.net")
        assert environment.base_url == "https://push.example.com"
        assert environment.alarm_emails == ("ops@example.com", "night.shift@example.com")
        assert environment.email_url == "smtp+starttls://carillon:p%40ss@mail.example.com"
        assert environment.email_from == "carillon@example.com"
        assert environment.alarm_webhook_url == "https://hooks.example.com/carillon?team=push"
        assert environment.alarm_webhook_secret == "shh"
        assert environment.port == 9000
        assert environment.debug

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_URL", "postgres:///carillon"),
            ("DATABASE_URL", "postgresql://carillon@/carillon?host=%2Fvar%2Frun%2Fpostgresql"),
            ("DATABASE_URL", "postgresql://one,two:5433/carillon"),
            ("REDIS_URL", "unix:///run/redis.sock?db=3"),
            ("REDIS_URL", "redis://:p%40ss@[::1]:6379"),
            ("BROKER_URL", "redis+socket:///run/redis.sock?virtual_host=0"),
            ("ALLOWED_HOSTS", "*"),
            ("EMAIL_URL", "smtps://mail.example.com:465"),
            ("ALARM_WEBHOOK_URL", "http://127.0.0.1:9000/hook"),
        ],
    )
    def test_that_are_allowed(self, load, name, value):
        assert value in str(load({**PRODUCTION, name: value}))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_URL", "mysql://localhost/carillon"),
            ("DATABASE_URL", "carillon"),
            ("DATABASE_URL", "postgresql://localhost:port/carillon"),
            ("REDIS_URL", "localhost:6379"),
            ("REDIS_URL", "redis://"),
            ("REDIS_URL", "unix://redis.sock"),
            ("REDIS_URL", "redis://localhost:99999"),
            ("BROKER_URL", "sqs://"),
            ("BROKER_URL", "memory://"),
            ("APNS_URL", "api.push.apple.com"),
            ("APNS_URL", "https://api.push.apple.com/3/device"),
            ("APNS_SANDBOX_URL", "ftp://api.sandbox.push.apple.com"),
            ("FCM_URL", "https:// fcm.googleapis.com"),
            ("TWILIO_URL", "https://"),
            ("SECRET_KEY", ""),
            ("FIELD_ENCRYPTION_KEYS", "secret"),
            ("FIELD_ENCRYPTION_KEYS", f"{FERNET_KEYS[0]},short"),
            ("FIELD_ENCRYPTION_KEYS", ","),
            ("ALLOWED_HOSTS", "https://push.example.com"),
            ("WEBPUSH_ALLOWED_HOSTS", "*"),
            ("WEBPUSH_ALLOWED_HOSTS", "push.example.com/path"),
            ("PROVIDER_CA_FILE", "/nonexistent/ca.pem"),
            ("PROVIDER_CA_FILE", "/dev/null"),
            ("PORT", "http"),
            ("PORT", "0"),
            ("PORT", "65536"),
            ("PORT", "٨٠"),
            ("DATA_DIR", __file__),
            ("DEBUG", "maybe"),
            ("BASE_URL", "push.example.com"),
            ("BASE_URL", "https://push.example.com/admin"),
            ("EMAIL_URL", "mail.example.com"),
            ("EMAIL_URL", "smtp://"),
            ("EMAIL_URL", "imap://mail.example.com"),
            ("EMAIL_FROM", "Carillon"),
            ("ALARM_EMAILS", "ops"),
            ("ALARM_EMAILS", "Ops <ops@example.com>"),
            ("ALARM_WEBHOOK_URL", "hooks.example.com"),
            ("ALARM_WEBHOOK_URL", "ftp://hooks.example.com"),
        ],
    )
    def test_that_are_not_fail_with_their_name(self, load, name, value):
        with pytest.raises(ConfigurationError, match=name):
            load({**PRODUCTION, name: value})

    @pytest.mark.parametrize("absent", ["EMAIL_URL", "EMAIL_FROM"])
    def test_of_alarms_need_a_way_out(self, load, absent):
        mail = {
            "ALARM_EMAILS": "ops@example.com",
            "EMAIL_URL": "smtp://localhost",
            "EMAIL_FROM": "a@example.com",
        }
        assert load(mail).alarm_emails == ("ops@example.com",)
        mail.pop(absent)
        with pytest.raises(ConfigurationError, match=absent):
            load(mail)
        assert load({**mail, "DEBUG": "1"}).alarm_emails == ("ops@example.com",)  # to the terminal

    def test_of_urls_are_not_repeated_in_the_error(self, load):
        with pytest.raises(ConfigurationError) as raised:
            load({"DATABASE_URL": "mysql://root:hunter2@db"})
        assert "hunter2" not in str(raised.value)


class TestDotenv:
    def test_gives_what_the_environment_does_not(self, load, tmp_path):
        dotenv = tmp_path / ".env"
        dotenv.write_text("# comment\n\nexport PORT = 9001\nALLOWED_HOSTS='a.example.com'\nDEBUG=\"1\"\n")
        environment = load({"PORT": "9002"}, dotenv=dotenv)
        assert environment.port == 9002
        assert environment.allowed_hosts == ("a.example.com",)
        assert environment.debug

    def test_with_a_broken_line_fails_with_its_number(self, load, tmp_path):
        dotenv = tmp_path / ".env"
        dotenv.write_text("PORT=9001\nALLOWED_HOSTS\n")
        with pytest.raises(ConfigurationError, match="line 2"):
            load(dotenv=dotenv)

    def test_the_example_lists_every_variable_and_sets_none(self, load):
        example = env.BASE_DIR / ".env.example"
        assert load(dotenv=example) == load()
        names = {line[1:].partition("=")[0] for line in example.read_text().splitlines() if line[:2] > "# "}
        assert {name.lower() for name in names} == set(env.Env.__dataclass_fields__)


class TestSecrets:
    def test_are_made_once_and_kept_to_their_owner(self, load, tmp_path):
        first = load()
        assert load() == first
        assert len(first.secret_key) >= 50
        kept = tmp_path / "data" / "secrets.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["SECRET_KEY"] == first.secret_key
        assert [path.name for path in kept.parent.iterdir()] == ["secrets.json"]

    def test_that_are_given_win_over_those_kept(self, load):
        kept = load()
        given = load({"SECRET_KEY": "given"})
        assert given.secret_key == "given"
        assert given.field_encryption_keys == kept.field_encryption_keys

    def test_are_the_same_for_processes_that_start_together(self, tmp_path):
        program = "import os; from config import env; print(env.load(os.environ, dotenv=None).secret_key)"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=env.BASE_DIR,
                env={"DATA_DIR": str(tmp_path / "data")},
                stdout=subprocess.PIPE,
            )
            for _ in range(6)
        ]
        assert len({process.communicate()[0] for process in processes}) == 1

    @pytest.mark.parametrize("name", ["SECRET_KEY", "FIELD_ENCRYPTION_KEYS"])
    def test_must_be_set_with_a_database_of_its_own(self, load, name):
        with pytest.raises(ConfigurationError, match=name):
            load({key: value for key, value in PRODUCTION.items() if key != name})

    @pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"SECRET_KEY": '])
    def test_that_were_damaged_are_not_replaced(self, load, tmp_path, text):
        load()
        kept = tmp_path / "data" / "secrets.json"
        kept.write_text(text)
        with pytest.raises(ConfigurationError, match=r"secrets\.json"):
            load()
        assert kept.read_text() == text
