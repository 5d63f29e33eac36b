"""`manage.py seed_demo`: what `make demo` shows. Again, it changes only what must follow the simulator."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import connection

from campaigns import services as campaigns
from campaigns.models import Campaign
from devices.models import Device
from notifications import services as notifications
from simulator.client import Simulation
from simulator.management import seed
from tenants import services as tenants
from tenants.models import Application, Credential, Membership
from tenants.roles import Role

APPLICATION = "Acme Shop"
USER = "admin"

CAMPAIGNS: tuple[dict[str, Any], ...] = (
    {
        "name": "Autumn sale",
        "content": {
            "title": "Autumn sale 🍂",
            "body": "Up to 40% off everything until Sunday. Your size is still there.",
            "url": "https://shop.example/sale",
        },
    },
    {
        "name": "Gold members first",
        "content": {
            "title": "You are in before everyone else",
            "body": "The new collection opens to gold members tonight at eight.",
            "url": "https://shop.example/gold",
        },
        "audience": {"attribute": {"name": "plan", "value": "gold"}},
    },
)


class Command(BaseCommand):
    help = "Sample application, simulated devices, credentials, campaigns and a login, for `make demo`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--simulator", type=Path, required=True, help="the simulator's state directory")
        parser.add_argument("--devices", type=int, default=100_000)

    def handle(self, *, simulator: Path, devices: int, **options: Any) -> None:
        simulation = Simulation.attach(simulator)
        application = self._application()
        _credentials(application, simulation)
        _follow(application, simulation.webpush)
        missing = devices - Device.objects.filter(application=application).count()
        if missing > 0:
            seed.devices(application.id, devices, web_origin=simulation.webpush)
        _campaigns(application)
        login = _login()
        _colleagues(application, login["password"])
        said = {"application": application.slug, **login, **_keys(application), "devices": devices}
        self.stdout.write(json.dumps(said))

    def _application(self) -> Application:
        known = Application.objects.filter(name=APPLICATION).first()
        return known or tenants.create_application(APPLICATION)[0]


# The simulator has no quotas; Google's, and its slow start, would only make the demo wait.
SIMULATED_RATE = 1_000_000


def _credentials(application: Application, simulation: Simulation) -> None:
    for provider, given in simulation.credentials.items():
        public = {key: value for key, value in given.items() if key != "secret_file"}
        wanted: dict[str, Any] = {
            key: public[key] for key in ("team_id", "key_id", "bundle_id") if key in public
        }
        _credential(application, provider, wanted, Path(given["secret_file"]).read_text())
    if not Credential.objects.filter(application=application, provider="webpush").exists():
        _credential(application, "webpush", {"subject": "mailto:push@carillon.dev"}, "")


def _credential(application: Application, provider: str, public: dict[str, Any], secret: str) -> None:
    known = Credential.objects.filter(application=application, provider=provider).first()
    if known and known.secret == secret:
        return
    public, secret = notifications.check_credential(provider, public, secret)
    notifications.store_credential(
        application,
        provider=provider,
        public=public,
        secret=secret,
        messages_per_second=SIMULATED_RATE,
        credential=known,
    )


def _follow(application: Application, origin: str) -> None:
    """The simulated browsers' endpoints move with the simulator's port."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE devices_device SET token = regexp_replace(token, '^https://[^/]+', %(origin)s)"
            " WHERE application_id = %(application)s AND platform = 'web' AND installation_id LIKE 'simulated-%%'"
            " AND NOT starts_with(token, %(origin)s)",
            {"application": application.id, "origin": origin},
        )


def _campaigns(application: Application) -> None:
    if Campaign.objects.filter(application=application).exists():
        return
    for said in CAMPAIGNS:
        fields: dict[str, Any] = {"name": said["name"], "variants": [{"content": said["content"]}]}
        if "audience" in said:
            fields["audience"] = said["audience"]
        campaigns.create(application, by=None, fields=fields)


def _login() -> dict[str, str]:
    """Made once and kept beside the data: this is a trial on one's own machine."""
    path = settings.ENV.data_dir / "demo-login.json"
    user = get_user_model().objects.filter(username=USER).first()
    if user and path.exists():
        return json.loads(path.read_text())
    login = {"username": USER, "password": secrets.token_urlsafe(9)}
    path.write_text(json.dumps(login))
    path.chmod(0o600)
    if user:
        user.set_password(login["password"])
        user.save(update_fields=["password"])
    else:
        get_user_model().objects.create_superuser(USER, "", login["password"])
    return login


def _colleagues(application: Application, password: str) -> None:
    """One person per role, named after it, with the same password: to see what each of them sees."""
    for role in Role.values:
        known = get_user_model().objects.filter(username=f"demo-{role}").first()
        person = known or get_user_model()(username=f"demo-{role}", is_staff=True)
        if person.pk is None or not person.check_password(password):
            person.set_password(password)
            person.save()
        Membership.objects.get_or_create(user=person, application=application, role=role)


def _keys(application: Application) -> dict[str, str]:
    """A server key and a client key for the README's curl lines; made anew at each start, the last ones revoked."""
    for key in application.api_keys.filter(name="Demo", revoked_at=None):
        tenants.revoke_key(key)
    return {
        f"{kind}_key": tenants.create_key(application, kind=kind, name="Demo")[1]
        for kind in ("server", "client")
    }
