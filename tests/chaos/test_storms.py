"""Providers at their worst. Each storm ends with every recipient in an outcome, nothing lost, nothing doubled, and no
device retired but those the simulator called dead.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from simulator.faults import is_dead
from tests.chaos import books
from tests.chaos import product as products
from tests.chaos.producer import Producer
from tests.chaos.product import PROVIDERS, Product, report

pytestmark = pytest.mark.chaos

DEVICES = 20_000
OPTED_IN = DEVICES * 98 // 100
OPTED_IN_OF = {"apns": 9_000, "fcm": 9_000, "webpush": 1_600}
DEAD_SHARE = 0.005
SECONDS = 240.0
REFUSED_SECONDS, RETRY_AFTER = 6, 9
CALM_SECONDS, OUTAGE_SECONDS, SLICE_SECONDS = 40, 60, 5
BACKLOG = {"everybody": 5, "web": 20}  # campaigns launched at once, so that no lane runs dry


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with products.running(tmp_path_factory.mktemp("storms"), DEVICES) as product:
        yield product


@pytest.fixture(autouse=True)
def fresh(product: Product) -> Iterator[None]:
    product.simulation.reset()
    yield
    product.set_faults()
    product.wait_until_done(SECONDS, hurrying=True)
    product.revive()


def test_where_three_in_ten_fail_everybody_is_reached(product: Product) -> None:
    product.set_faults(errors=[{"status": 503, "share": 0.3}], dead_share=DEAD_SHARE)
    outcomes = _weathered(product)
    assert outcomes["accepted"] > 0.99 * OPTED_IN - outcomes["retired"]


@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
def test_nobody_is_asked_again_before_the_provider_said(product: Product, is_date: bool) -> None:
    """APNs and Web Push refuse each device; FCM refuses the project (QUOTA_EXCEEDED), so few are refused at all."""
    retry_after = formatdate(time.time() + RETRY_AFTER, usegmt=True) if is_date else RETRY_AFTER
    product.set_faults(errors=[{"status": 429, "share": 1.0, "retry_after": retry_after}])
    with Producer(product) as producer:
        id = product.launch()
        time.sleep(REFUSED_SECONDS)
        product.set_faults()
        refused = {book: product.simulation.counts(book, of="faulted") for book in PROVIDERS}
        stats = product.simulation.stats()
    outcomes = _settled(product, [id], producer)
    assert outcomes["accepted"] == OPTED_IN
    for book, counts in refused.items():
        assert any(answer.startswith("429") for answer in stats[book]["answers"]), book
        assert max(counts[:DEVICES], default=0) <= 1, book
    assert outcomes["retired"] == 0


def test_goaway_loses_and_doubles_nothing(product: Product) -> None:
    product.set_faults(goaway_every=1_000, latency=0.02, dead_share=DEAD_SHARE)
    outcomes = _weathered(product)
    assert outcomes["accepted"] == OPTED_IN - outcomes["retired"]


def test_stalled_streams_cost_no_more_than_themselves(product: Product) -> None:
    product.set_faults(stall_share=0.01, dead_share=DEAD_SHARE)
    outcomes = _weathered(product)
    assert outcomes["uncertain"] < 0.02 * OPTED_IN
    assert outcomes["accepted"] == OPTED_IN - outcomes["retired"] - outcomes["uncertain"]


@pytest.mark.parametrize("mode", ["error", "stall"])
def test_one_provider_down_does_not_slow_the_others(product: Product, mode: str) -> None:
    """Every lane has more to do than it can: a provider takes one second to answer, so the senders are full."""
    product.set_faults(latency=1.0)
    ids = [product.launch() for _ in range(BACKLOG["everybody"])]
    ids += [product.launch(to={"all": True, "platforms": ["web"]}) for _ in range(BACKLOG["web"])]
    time.sleep(5)
    before = [_rates(product, SLICE_SECONDS) for _ in range(CALM_SECONDS // SLICE_SECONDS)]
    outage = {"seconds": OUTAGE_SECONDS, "mode": mode}
    product.simulation.set_faults("apns", latency=1.0, outages=[outage])
    during = [_rates(product, SLICE_SECONDS) for _ in range(OUTAGE_SECONDS // SLICE_SECONDS)]
    product.set_faults()
    outcomes = _settled(product, ids)
    kept = {name: _mean(during, name) / _mean(before, name) for name in ("fcm", "webpush")}
    report(mode=mode, kept=kept, before=before, during=during, outcomes=outcomes)
    assert outcomes["retired"] == 0
    assert min(kept.values()) >= 0.9


def test_a_revoked_apns_key_is_replaced_by_a_new_one(product: Product, tmp_path: Path) -> None:
    apns = product.simulation.credentials["apns"]

    def mend() -> None:
        product.simulation.set_faults("apns", revoked=[apns["key_id"]])  # as it stays
        key = ec.generate_private_key(ec.SECP256R1())
        file = tmp_path / "AuthKey.p8"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        names = {"team_id": apns["team_id"], "key_id": "NEWKEY0001"}
        product.simulation.add_apns_key(**names, public_key=public, bundle_ids=[apns["bundle_id"]])
        settings = [f"{name}={value}" for name, value in names.items()]
        settings += [f"bundle_id={apns['bundle_id']}", "environment=both"]
        arguments = ("apns", "--secret-file", str(file), "--set", *settings)
        product.stack.manage("add_credential", product.application, *arguments)

    _held_until_mended(product, "apns", mend)


def test_a_revoked_service_account_that_is_let_in_again_needs_nobody(product: Product) -> None:
    _held_until_mended(product, "fcm", lambda: product.simulation.set_faults("fcm"))


def _held_until_mended(product: Product, provider: str, mend: Callable[[], object]) -> None:
    """The others deliver everything meanwhile; what waits goes out once the credential works."""
    product.set_faults(latency=0.5)
    with Producer(product) as producer:
        id = product.launch()
        time.sleep(2)
        product.simulation.set_faults(provider, revoked=True)
        others = {book: wanted for book, wanted in OPTED_IN_OF.items() if book != provider}
        _wait_until_arrived(product, id, others)
        arrived = product.simulation.arrivals(provider, notification=id)["accepted"]
        assert 0 < arrived < 0.9 * OPTED_IN_OF[provider]
        time.sleep(5)
        mend()
        mended = time.monotonic()
    outcomes = _settled(product, [id], producer, hurrying=False)
    report(provider=provider, held=OPTED_IN_OF[provider] - arrived, after_mending=time.monotonic() - mended)
    assert outcomes["accepted"] == OPTED_IN
    assert outcomes["retired"] == 0


def _wait_until_arrived(product: Product, id: str, wanted: dict[str, int]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        arrived = {book: product.simulation.arrivals(book, notification=id)["accepted"] for book in wanted}
        if arrived == wanted:
            return
        assert time.monotonic() < deadline, f"{arrived} of {wanted}"
        time.sleep(0.2)


def _mean(slices: list[dict[str, float]], provider: str) -> float:
    return sum(rates[provider] for rates in slices) / len(slices)


def _rates(product: Product, seconds: float) -> dict[str, float]:
    """Messages a provider took per second, over the next seconds."""
    before, began = product.simulation.stats(), time.monotonic()
    time.sleep(seconds)
    after, seconds = product.simulation.stats(), time.monotonic() - began
    return {
        book: round((after[book]["accepted"] - before[book]["accepted"]) / seconds, 1) for book in PROVIDERS
    }


def _weathered(product: Product) -> Counter[str]:
    """A campaign and one-off messages sent through whatever faults are set."""
    with Producer(product) as producer:
        id = product.launch()
        product.wait_until_done(SECONDS, id, hurrying=True)
    return _settled(product, [id], producer)


def _settled(
    product: Product, ids: Sequence[str], producer: Producer | None = None, *, hurrying: bool = True
) -> Counter[str]:
    """The campaigns' outcomes once everything is done, and how many devices were retired."""
    seconds = product.wait_until_done(SECONDS, hurrying=hurrying)
    campaigns = books.assert_campaigns(product, *ids)
    orders = books.assert_orders(product, producer.accepted) if producer else {}
    report(settled_after=round(seconds), campaigns=campaigns, orders=orders)
    books.assert_sums(product)
    assert not producer or not producer.faults, producer.faults[:5]
    outcomes: Counter[str] = Counter()
    for outcome_and_reason, count in campaigns.items():
        outcomes[outcome_and_reason.partition(" ")[0]] += count
    outcomes["retired"] = _retired(product)
    assert outcomes["retired"] == outcomes["unregistered"]
    return outcomes


def _retired(product: Product) -> int:
    """Devices of the audience; none at all may be retired that is alive."""
    rows = product.rows(
        "SELECT token, installation_id FROM devices_device WHERE application_id = %s AND retired_at IS NOT NULL",
        product.application_id,
    )
    alive = [token for token, _ in rows if not is_dead(token.rpartition("/")[2], DEAD_SHARE)]
    assert not alive, f"{len(alive)} retired that are alive"
    return sum(installation_id.startswith(products.AUDIENCE) for _, installation_id in rows)
