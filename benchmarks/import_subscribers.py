"""Import 100 000 people with a device and a preference each: `python -m benchmarks.import_subscribers [LINES]`.

Prints one JSON line. Works on an application of its own, which it deletes.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


def main(lines: int) -> None:
    django.setup()
    from devices import importing, importing_files
    from tenants import services

    application, _, _ = services.create_application(f"Import {time.time_ns()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.ndjson"
        write(file, lines)
        passes = {}
        for name in ("first", "again"):
            began, cpu = time.perf_counter(), time.process_time()
            with file.open("rb") as stream:
                imported = importing.subscribers(
                    importing_files.ndjson(stream), application_id=application.pk
                )
            seconds = time.perf_counter() - began
            passes[name] = {
                "seconds": round(seconds, 2),
                "lines_per_second": round(lines / seconds),
                "python_cpu_seconds": round(time.process_time() - cpu, 2),
                "errors": imported.error_count,
            }
    clean_up(application.pk)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"benchmark": "import_subscribers", "lines": lines, **passes, "peak_rss_mb": peak}))


def write(file: Path, lines: int) -> None:
    with file.open("w") as out:
        for number in range(lines):
            device = {
                "platform": "ios",
                "token": hashlib.sha256(str(number).encode()).hexdigest(),
                "installation_id": f"installation-{number}",
                "permission": "granted",
            }
            person = {
                "external_id": f"user-{number}",
                "attributes": {"plan": "gold" if number % 3 else "free", "number": number},
                "locale": "de-DE",
                "time_zone": "Europe/Berlin",
                "country": "DE",
                "email": f"user{number}@example.com",
                "preferences": {"marketing": number % 2 == 0},
                "devices": [device],
            }
            out.write(json.dumps(person) + "\n")


def clean_up(application_id: int) -> None:
    from django.db import connection

    people = "(SELECT id FROM devices_subscriber WHERE application_id = %s)"
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM devices_preference WHERE subscriber_id IN {people}", [application_id])
        for table in (
            "devices_consentchange",
            "devices_device",
            "devices_subscriber",
            "devices_category",
            "tenants_apikey",
        ):
            cursor.execute(f"DELETE FROM {table} WHERE application_id = %s", [application_id])
        cursor.execute("DELETE FROM tenants_application WHERE id = %s", [application_id])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
