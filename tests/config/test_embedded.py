"""With real processes: users that start, end and are killed, and what then becomes of the services."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config import embedded, env
from config.embedded import Services
from config.keeper import ServicesError

# Attaches, says where the services are, and stays until its standard input ends.
USER = """
import dataclasses, json, sys
from pathlib import Path
from config import embedded
print(json.dumps(dataclasses.asdict(embedded.ensure(Path(sys.argv[1])))), flush=True)
sys.stdin.read()
"""


class User:
    def __init__(self, data_dir, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir)],
            cwd=env.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def services(self):
        return Services(**json.loads(self.process.stdout.readline()))

    def leave(self):
        if not self.process.stdin.closed:
            self.process.communicate(timeout=60)

    def kill(self):
        self.process.kill()
        self.leave()


@pytest.fixture(scope="module")
def data_dir():
    """One for all: to initialise costs most of a second. Tests that damage it take a `copy`."""
    with _directory() as data_dir:
        User(data_dir).leave()
        assert _ended(data_dir)
        yield data_dir


@pytest.fixture
def copy(data_dir):
    with _directory() as copy:
        subprocess.run(["cp", "-a", f"{data_dir}/.", copy], check=True)
        yield copy
        assert _ended(copy)


@pytest.fixture
def user(data_dir):
    """`user(data_dir)` starts one; they leave at the end, and then nothing must be left."""
    users = []

    def user(data_dir, **options):
        users.append(User(data_dir, **options))
        return users[-1]

    yield user
    for one in users:
        one.leave()
    assert _ended(data_dir)


def _directory():
    """Not pytest's: its paths are too long for a socket."""
    return _Temporary(prefix="carillon-")


class _Temporary(tempfile.TemporaryDirectory):
    def __enter__(self):
        return Path(super().__enter__())


def _processes(data_dir, name=None):
    """Of the services and their keepers, those that live."""
    found = []
    for process in psutil.process_iter(["name", "cwd", "cmdline", "status"]):
        places = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
        is_of_data_dir = any(place.startswith(f"{data_dir}/") for place in places)
        is_alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if is_of_data_dir and is_alive and name in (None, process.info["name"]):
            found.append(process)
    return found


def _server(data_dir, name):
    """The service itself, the child of its keeper."""
    return next(one for one in _processes(data_dir, name) if one.parent().name() != name)


def _keepers(data_dir):
    return [one for one in _processes(data_dir) if "config.keeper" in one.cmdline()]


def _eventually(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


def _is_dead(process):
    try:
        # Where nobody waits for a killed process it stays a zombie.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _ended(data_dir):
    return _eventually(lambda: not _processes(data_dir))


def _query(services, statement):
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def _answers(services):
    try:
        with redis.from_url(services.redis_url) as client:
            return _query(services, "SELECT 1") == 1 and client.ping()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False


class TestServices:
    def test_are_real_and_reached_through_sockets_alone(self, user, data_dir):
        services = user(data_dir).services()
        assert _query(services, "SELECT current_setting('server_version_num')::int / 10000") == 18
        assert _query(services, "SELECT current_database()") == "carillon"
        listening = [
            connection
            for process in _processes(data_dir)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == []

    def test_are_durable_where_it_matters(self, user, data_dir):
        services = user(data_dir).services()
        assert _query(services, "SHOW fsync") == "on"
        assert _query(services, "SHOW synchronous_commit") == "on"
        assert _query(services, "SHOW data_checksums") == "on"
        with redis.from_url(services.redis_url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    def test_keep_their_data(self, user, data_dir):
        first = user(data_dir)
        _query(first.services(), "CREATE TABLE kept AS SELECT 42 AS answer")
        first.leave()
        assert _ended(data_dir)
        assert _query(user(data_dir).services(), "SELECT answer FROM kept") == 42

    def test_of_two_data_directories_do_not_disturb_each_other(self, copy, user, data_dir):
        here, there = user(data_dir), user(copy)
        services = here.services(), there.services()
        assert all(map(_answers, services))
        here.kill()
        assert _ended(data_dir)
        assert _answers(services[1])
        there.leave()

    def test_start_once_for_users_that_come_together(self, user):
        with _directory() as data_dir:
            users = [user(data_dir) for _ in range(8)]
            with ThreadPoolExecutor(8) as pool:
                assert len(set(pool.map(User.services, users))) == 1
            assert len(_keepers(data_dir)) == 2, "one for each service"
            for one in users:
                one.kill()
            assert _ended(data_dir)

    @pytest.mark.parametrize("name", ["deep/" * 20, "with space and ç"])
    def test_run_below_any_path(self, copy, user, name):
        odd = copy / name
        odd.mkdir(parents=True)
        for service in ("postgres", "redis"):
            (copy / service).rename(odd / service)
        one = user(odd)
        services = one.services()
        assert _answers(services)
        sockets = Path(services.redis_url.removeprefix("unix://").removesuffix("/redis.sock?db=0"))
        assert sockets.parent == Path(tempfile.gettempdir())
        assert sockets.stat().st_mode & 0o777 == 0o700
        one.leave()
        assert _ended(odd)
        assert not sockets.exists(), "what lies outside is taken away"

    def test_are_started_only_where_the_environment_names_none(self, data_dir):
        elsewhere = "postgresql://db.example.com/carillon"
        environment = replace(env.load({"DATA_DIR": str(data_dir)}, dotenv=None), database_url=elsewhere)
        try:
            services = embedded.services(environment)
            assert services.database_url == elsewhere
            assert [process.name() for process in _processes(data_dir) if process.name() == "postgres"] == []
            with redis.from_url(services.redis_url) as client:
                assert client.ping()
        finally:
            embedded.release(data_dir)
        assert _ended(data_dir)

    def test_that_cannot_start_say_why(self, copy):
        (copy / "postgres" / "data" / "PG_VERSION").write_text("9.6\n")
        with pytest.raises(ServicesError, match=r"initialized by PostgreSQL version 9\.6"):
            embedded.ensure(copy)
        embedded.release(copy)
        assert _ended(copy)


class TestUsers:
    def test_that_are_all_killed_leave_no_process(self, user, data_dir):
        users = [user(data_dir) for _ in range(3)]
        services = [one.services() for one in users]
        for one in users[:2]:
            one.kill()
        time.sleep(0.3)
        assert _answers(services[2])
        users[2].kill()
        assert _ended(data_dir)

    def test_that_die_before_the_services_answer_leave_no_process(self, user, data_dir):
        one = user(data_dir)
        assert _eventually(lambda: _keepers(data_dir))
        one.kill()
        assert _ended(data_dir)

    def test_that_come_while_the_services_stop_get_new_ones(self, user, data_dir):
        for _ in range(5):
            one = user(data_dir)
            assert _answers(one.services())
            one.kill()

    def test_may_ask_again(self, data_dir):
        try:
            assert embedded.ensure(data_dir) == embedded.ensure(data_dir)
        finally:
            embedded.release(data_dir)
        assert _ended(data_dir)

    def test_do_not_take_the_services_along_on_ctrl_c(self, user, data_dir):
        interrupted, other = user(data_dir, start_new_session=True), user(data_dir)
        services = interrupted.services(), other.services()
        os.killpg(interrupted.process.pid, signal.SIGINT)
        interrupted.leave()
        assert _answers(services[1])


class TestKeeper:
    @pytest.mark.parametrize("name", ["postgres", "redis-server"])
    def test_restarts_a_service_that_is_killed(self, user, data_dir, name):
        services = user(data_dir).services()
        _query(services, "CREATE TABLE IF NOT EXISTS committed AS SELECT 42 AS answer")
        killed = _server(data_dir, name)
        killed.kill()
        assert _eventually(lambda: _is_dead(killed))
        start = time.monotonic()
        assert _eventually(lambda: _answers(services))
        assert time.monotonic() - start < 5
        assert _query(services, "SELECT answer FROM committed") == 42

    def test_restarts_postgresql_though_a_statement_is_running(self, user, data_dir):
        services = user(data_dir).services()
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            busy = ThreadPoolExecutor(1).submit(
                connection.execute, "SELECT sum(i) FROM generate_series(1, 1e9) i"
            )
            time.sleep(0.2)
            _server(data_dir, "postgres").kill()
            with pytest.raises(psycopg.OperationalError):
                busy.result(10)
        assert _eventually(lambda: _answers(services))

    def test_gives_up_on_a_service_that_keeps_ending(self, copy, user):
        user(copy).services()
        server = _server(copy, "postgres")
        shutil.rmtree(copy / "postgres" / "data" / "global")
        with suppress(psutil.NoSuchProcess):
            server.kill()
        log = copy / "postgres" / "keeper.log"
        assert _eventually(lambda: "ended 10 times" in log.read_text(), 30)
        assert _eventually(lambda: not _processes(copy, "postgres"))

    def test_that_is_killed_takes_its_service_along_and_is_replaced(self, user, data_dir):
        one = user(data_dir)
        services = one.services()
        for keeper in _keepers(data_dir):
            keeper.kill()
        assert user(data_dir).services() == services
        assert _eventually(lambda: _answers(services))
        assert len(_keepers(data_dir)) == 2

    def test_stops_when_told(self, user, data_dir):
        user(data_dir).services()
        for keeper in _keepers(data_dir):
            keeper.terminate()
        assert _ended(data_dir)

    def test_stops_when_its_directory_is_deleted(self, copy, user):
        user(copy).services()
        for name in ("postgres", "redis"):
            shutil.rmtree(copy / name, ignore_errors=True)
        assert _ended(copy)


class TestRun:
    @pytest.fixture
    def run(self, data_dir):
        def run(*command):
            return subprocess.Popen(
                [sys.executable, "-m", "config.embedded", "run", *command],
                cwd=env.BASE_DIR,
                env={"DATA_DIR": str(data_dir), "PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        yield run
        assert _ended(data_dir)

    @pytest.mark.parametrize(("program", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
    def test_ends_as_the_command_does(self, run, program, status):
        process = run("--", "sh", "-c", program)
        process.communicate(timeout=60)
        assert process.returncode == status

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_passes_signals_on(self, run, number):
        process = run("--", "sh", "-c", "echo started; exec sleep 60")
        process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 128 + number

    def test_holds_the_services_between_users(self, run, user, data_dir):
        process = run("--", "sh", "-c", "echo started; exec sleep 60")
        process.stdout.readline()
        before = _server(data_dir, "postgres")
        user(data_dir).leave()
        assert _server(data_dir, "postgres") == before
        process.terminate()
        process.communicate(timeout=60)

    @pytest.mark.parametrize("command", [(), ("--",), ("sh",), ("--", "no-such-program")])
    def test_without_a_command_that_exists_says_so(self, run, command):
        _, error = run(*command).communicate(timeout=60)
        assert "usage" in error or "no-such-program" in error


class TestBrokerUrl:
    @pytest.mark.parametrize(
        ("redis_url", "broker_url"),
        [
            ("unix:///run/redis.sock?db=0", "redis+socket:///run/redis.sock?virtual_host=0"),
            ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
            ("unix://:secret@/run/redis.sock?db=2", "redis+socket://:secret@/run/redis.sock?virtual_host=2"),
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
        ],
    )
    def test_is_in_kombus_form(self, redis_url, broker_url):
        assert embedded.broker_url(redis_url) == broker_url
