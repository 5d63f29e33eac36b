"""Starting, stopping, dying with the parent; the wall."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from simulator import devices
from simulator.client import Simulation, SimulationError
from tests.simulator.senders import ApnsSender

ORPHANED = """
import sys
from simulator.client import Simulation
print(Simulation.start(sys.argv[1]).details["pid"], flush=True)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    simulation = Simulation.start(tmp_path)
    pid = simulation.details["pid"]
    assert Simulation.attach(tmp_path).details == simulation.details
    os.kill(pid, number)
    simulation.stop()
    assert not is_running(pid)
    assert not (tmp_path / "simulator.json").exists()


def test_credentials_and_certificates_outlive_a_restart(tmp_path: Path) -> None:
    with Simulation.start(tmp_path) as first:
        secrets = {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".p8", ".pem")
        }
        account = json.loads(Path(first.credentials["fcm"]["secret_file"]).read_text())
        assert account["token_uri"] == first.token_uri
    with Simulation.start(tmp_path) as second:
        assert {name: (tmp_path / name).read_bytes() for name in secrets} == secrets
        renewed = json.loads(Path(second.credentials["fcm"]["secret_file"]).read_text())
        assert renewed == {**account, "token_uri": second.token_uri}


def test_secrets_are_not_for_others_to_read(running: Simulation) -> None:
    for provider in ("apns", "fcm"):
        assert Path(running.credentials[provider]["secret_file"]).stat().st_mode & 0o077 == 0


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANED, str(tmp_path)]
    pid = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_a_start_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="unrecognized arguments"):
        Simulation.start(tmp_path, "--no-such-option")


def test_the_environment_points_the_product_here(running: Simulation) -> None:
    environment = running.environment()
    assert environment["APNS_URL"] == running.apns
    assert environment["APNS_SANDBOX_URL"] != running.apns
    assert Path(environment["PROVIDER_CA_FILE"]).exists()
    assert environment["WEBPUSH_ALLOWED_HOSTS"] == "localhost"


def test_the_wall_needs_nothing_from_elsewhere(running: Simulation) -> None:
    page = urllib.request.urlopen(running.wall, timeout=5).read().decode()
    assert "<title>" in page
    assert "//cdn" not in page
    assert 'src="http' not in page
    assert 'href="http' not in page


async def test_the_wall_is_told_what_arrives(simulation: Simulation, apns: ApnsSender) -> None:
    with urllib.request.urlopen(f"{simulation.wall}/events", timeout=5) as stream:  # noqa: ASYNC210
        shown = None
        while shown is None:
            await apns(
                devices.apns_token(9), body=b'{"aps":{"alert":{"title":"T","body":"B"}},"carillon":"n"}'
            )
            line = stream.readline().decode().strip()
            if line == "event: push":
                shown = json.loads(stream.readline().decode().removeprefix("data: "))
    assert (shown["platform"], shown["title"], shown["body"]) == ("ios", "T", "B")


def test_static_files_do_not_leave_their_folder(simulation: Simulation) -> None:
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{simulation.control}/static/../client.py", timeout=5)
