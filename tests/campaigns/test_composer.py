"""The composer's endpoints: what a page asks and saves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from PIL import Image

from campaigns import first_saves, pictures, services
from campaigns.models import Campaign, Picture
from devices.models import Subscriber
from tests.conftest import Tenant

ROOT = "/admin/campaigns/campaign/"
Post = Callable[..., Any]


@pytest.fixture
def browser(anna: User) -> Client:
    return signed_in(anna)


@pytest.fixture
def post(browser: Client) -> Post:
    return poster(browser)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def poster(client: Client) -> Post:
    def post(path: str, body: Any) -> Any:
        return client.post(f"{ROOT}{path}", json.dumps(body), content_type="application/json")

    return post


def asked(**content: Any) -> dict[str, Any]:
    return {"application": "shop", "category": "marketing", "plan": {"variants": [{"content": content}]}}


def staff(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return signed_in(user)


# --- drafts -----------------------------------------------------------------------------------


def test_the_page_begins_with_the_draft_as_it_is_stored(
    browser: Client, make_campaign: Callable[..., Campaign], shop: Tenant, make_device: Any
) -> None:
    make_device(shop, "ada")
    Subscriber.objects.update(attributes={"name": "Ada"}, locale="de")
    campaign = make_campaign(content={"title": "</script><b>"})
    answer = browser.get(f"{ROOT}{campaign.pk}/change/")
    data = answer.context["data"]
    assert data["plan"] == campaign.plan
    assert (data["version"], data["attributes"], data["locales"]) == (1, ["name"], ["de"])
    assert data["urls"]["save"] == f"{ROOT}{campaign.pk}/save/"
    assert "</script><b>" not in answer.content.decode()


def test_a_new_page_offers_the_last_campaign_and_needs_an_app(
    browser: Client, make_tenant: Callable[[str], Tenant], make_campaign: Callable[..., Campaign]
) -> None:
    campaign = make_campaign(name="Spring")
    make_tenant("Zoo")
    assert "Copy “Spring”" in browser.get(f"{ROOT}add/").content.decode()
    other = browser.get(f"{ROOT}add/?application=zoo")
    assert other.context["data"]["application"] == "zoo"
    assert "Copy “" not in other.content.decode()
    Campaign.objects.filter(pk=campaign.pk).delete()
    type(campaign.application).objects.all().delete()
    assert "Create an app" in browser.get(f"{ROOT}add/").content.decode()


def test_a_draft_is_made_then_saved_in_parts(post: Post, shop: Tenant, anna: User) -> None:
    answer = post("create/", {"application": "shop", "name": "Autumn"})
    assert answer.status_code == 201
    made = answer.json()
    assert made["url"] == f"{ROOT}{made['id']}/change/"
    assert {"pointer": "/variants/0/content/title", "detail": "write a title or a text"} in made["faults"]

    variants = [{"content": {"title": "The sale is on"}}]
    saved = post(f"{made['id']}/save/", {"version": made["version"], "variants": variants}).json()
    assert (saved["version"], saved["name"], saved["faults"]) == (2, "Autumn", [])
    campaign = Campaign.objects.get()
    assert campaign.plan["variants"][0]["content"] == {"title": "The sale is on"}
    assert campaign.created_by == campaign.updated_by == anna


KEY = "0123456789abcdef"


def test_a_first_save_that_is_sent_again_makes_no_second_draft(post: Post, shop: Tenant, anna: User) -> None:
    first = post("create/", {"application": "shop", "key": KEY, "name": "Autumn"})
    assert first.status_code == 201
    again = post("create/", {"application": "shop", "key": KEY, "name": "Autumn sale"})
    assert (again.status_code, again.json()["by"]) == (200, "")
    told = {name: again.json()[name] for name in ("id", "name", "version", "url")}
    assert told == {name: first.json()[name] for name in told}
    assert Campaign.objects.count() == 1
    services.save(Campaign.objects.get(), {"name": "Winter"}, version=1, by=User.objects.create_user("ben"))
    told = post("create/", {"application": "shop", "key": KEY, "name": "Autumn"}).json()
    assert (told["name"], told["by"]) == ("Winter", "ben")


def test_a_key_stands_for_one_persons_draft_of_one_app(
    post: Post, shop: Tenant, make_tenant: Callable[[str], Tenant]
) -> None:
    make_tenant("Zoo")
    other = poster(signed_in(User.objects.create_superuser("ben")))
    made = [
        post("create/", {"application": "shop", "key": KEY}).json()["id"],
        post("create/", {"application": "zoo", "key": KEY}).json()["id"],
        post("create/", {"application": "shop", "key": KEY[::-1]}).json()["id"],
        other("create/", {"application": "shop", "key": KEY}).json()["id"],
    ]
    assert len(set(made)) == 4
    Campaign.objects.filter(pk=made[0]).delete()
    assert post("create/", {"application": "shop", "key": KEY}).status_code == 201


def test_a_first_save_that_was_refused_leaves_its_key_free(post: Post, shop: Tenant) -> None:
    refused = post("create/", {"application": "shop", "key": KEY, "variants": [{"share": 0}]})
    assert refused.status_code == 422
    assert not Campaign.objects.exists()
    assert post("create/", {"application": "shop", "key": KEY}).status_code == 201
    for key in ("short", "x" * 65, "with a space in it", 7):
        answer = post("create/", {"application": "shop", "key": key})
        assert answer.json()["errors"][0]["pointer"] == "/key"


@pytest.mark.django_db(transaction=True)
def test_two_first_saves_at_once_make_one_draft(shop: Tenant, anna: User) -> None:
    def create(_: int) -> int:
        try:
            campaign, _ = first_saves.create(shop.application, by=anna, key=KEY, fields={"name": "Autumn"})
            return campaign.pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(create, range(4)))) == 1
    assert Campaign.objects.count() == 1


def test_who_saves_over_somebodys_edit_is_told_what_it_says_now(
    post: Post, make_campaign: Callable[..., Campaign]
) -> None:
    campaign = make_campaign()
    services.save(campaign, {"name": "Winter"}, version=1, by=User.objects.create_user("ben"))
    answer = post(f"{campaign.pk}/save/", {"version": 1, "name": "Spring"})
    told = answer.json()
    assert answer.status_code == 409
    assert (told["stale"], told["by"], told["name"], told["version"]) == (True, "ben", "Winter", 2)
    campaign.refresh_from_db()
    assert campaign.name == "Winter"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"variants": [{"share": 0}]}, "/variants/0/share"),
        ({"category": "nothing"}, "/category"),
        ({"version": "1"}, "/version"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(
    post: Post, make_campaign: Callable[..., Campaign], fields: dict[str, Any], pointer: str
) -> None:
    answer = post(f"{make_campaign().pk}/save/", {"version": 1, **fields})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert Campaign.objects.get().version == 1


def test_nothing_is_saved_once_it_is_no_draft(post: Post, make_campaign: Callable[..., Campaign]) -> None:
    campaign = make_campaign()
    Campaign.objects.update(status="waiting")
    assert post(f"{campaign.pk}/save/", {"version": 1, "name": "Spring"}).status_code in (403, 409)
    assert Campaign.objects.get().name == "Autumn"


@pytest.mark.parametrize(
    ("overrides", "pointer", "words"),
    [
        ({"apns": {"url": "shop://sale"}}, "", ""),
        ({"apns": {"url": "sale"}}, "apns/url", "an app's own link"),
        ({"fcm": {"url": "javascript:alert(1)"}}, "fcm/url", "an app's own link"),
        ({"webpush": {"navigate": "javascript:alert(1)"}}, "webpush/navigate", "a web address"),
        ({"apns": {"url": "shop://{{subscriber.country}}"}}, "apns/url", "the same for everybody"),
    ],
)
def test_a_platforms_own_link_is_judged_at_its_place(
    post: Post, make_campaign: Callable[..., Campaign], overrides: Any, pointer: str, words: str
) -> None:
    variants = [{"content": {"title": "Hi"}, "overrides": overrides}]
    faults = post(f"{make_campaign().pk}/save/", {"version": 1, "variants": variants}).json()["faults"]
    assert [fault["pointer"] for fault in faults] == ([f"/variants/0/overrides/{pointer}"] if pointer else [])
    assert all(words in fault["detail"] for fault in faults)
    draft = {**asked(), "plan": {"variants": variants}}
    assert post("compose/preview/", draft).json().get("faults", []) == faults


# --- preview ----------------------------------------------------------------------------------


def test_a_platforms_own_link_counts_among_its_bytes(post: Post, shop: Tenant) -> None:
    draft = asked(title="Hi", url="https://example.com")
    before = post("compose/preview/", draft).json()["sizes"]
    draft["plan"]["variants"][0]["overrides"] = {"apns": {"url": "shop://" + "x" * 200}}
    after = post("compose/preview/", draft).json()["sizes"]
    assert after["apns"]["bytes"] - before["apns"]["bytes"] == 200 + len("shop://") - len(
        "https://example.com"
    )
    assert after["fcm"] == before["fcm"]


def test_a_person_sees_their_own_values_and_holes_for_what_they_lack(
    post: Post, shop: Tenant, make_device: Any
) -> None:
    make_device(shop, "ada")
    Subscriber.objects.update(attributes={"name": "Ada"})
    title = "{{ subscriber.attributes.name }}, {{ subscriber.attributes.size }}"
    answer = post("compose/preview/", {**asked(title=title), "person": "ada"}).json()
    assert answer["content"]["title"] == "Ada, \ue000size\ue001"
    assert answer["missing"] == ["subscriber.attributes.size"]
    assert post("compose/preview/", {**asked(title="x"), "person": "nobody"}).status_code == 404


def test_bytes_are_of_the_largest_version_and_language(post: Post, shop: Tenant) -> None:
    draft = asked(title="Hi")
    longer = {"title": "Hi", "locales": {"de": {"body": "ä" * 300}}}
    draft["plan"]["variants"].append({"key": "B", "content": longer})
    answer = post("compose/preview/", draft).json()
    assert answer["sizes"]["apns"]["limit"] == 4096
    assert answer["worst"]["apns"]["of"] == "B de"
    assert answer["worst"]["apns"]["bytes"] > answer["sizes"]["apns"]["bytes"] + 600


def test_a_text_that_cannot_be_rendered_says_where(post: Post, shop: Tenant) -> None:
    (fault,) = post("compose/preview/", asked(title="{{ subscriber.attributes.name")).json()["faults"]
    assert fault["pointer"] == "/variants/0/content/title"


def test_people_are_searched_in_their_own_app_only(
    post: Post, shop: Tenant, rival: Tenant, make_device: Any, opt_in: Any
) -> None:
    make_device(shop, "ada")
    make_device(rival, "adam")
    opt_in(shop, "ada")
    for query in ("ad", ""):
        found = post("compose/search/", {**asked(title="x"), "query": query}).json()["people"]
        assert [one["id"] for one in found] == ["ada"]


# --- pictures ---------------------------------------------------------------------------------


def picture(kind: str = "PNG") -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "teal").save(file, kind)
    file.seek(0)
    file.name = "coat.png"
    return file


def test_a_picture_is_kept_once_and_served_to_everybody(browser: Client, shop: Tenant) -> None:
    for _ in range(2):
        answer = browser.post(f"{ROOT}compose/picture/", {"application": "shop", "file": picture()})
    found = answer.json()
    assert (found["width"], found["height"], Picture.objects.count()) == (40, 20, 1)
    served = Client().get(f"/pictures/{found['url'].rpartition('/')[2]}")
    assert (served.status_code, served["Content-Type"]) == (200, "image/png")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "not a JPEG"),
        (picture().getvalue()[:60], "damaged"),
        (b"x" * (pictures.MOST_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_what_is_no_picture_is_refused(browser: Client, shop: Tenant, data: bytes, words: str) -> None:
    file = io.BytesIO(data)
    file.name = "coat.png"
    answer = browser.post(f"{ROOT}compose/picture/", {"application": "shop", "file": file})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert not Picture.objects.exists()


def test_without_a_file_there_is_nothing_to_keep(browser: Client, shop: Tenant) -> None:
    assert browser.post(f"{ROOT}compose/picture/", {"application": "shop"}).status_code == 422


# --- who may ----------------------------------------------------------------------------------


def test_who_may_only_look_writes_nothing(make_campaign: Callable[..., Campaign], shop: Tenant) -> None:
    campaign = make_campaign()
    viewer = staff("vera", "view_campaign", "view_application")
    post = poster(viewer)
    assert viewer.get(f"{ROOT}add/").status_code == 403
    assert viewer.get(f"{ROOT}{campaign.pk}/change/")["Location"] == f"{ROOT}{campaign.pk}/review/"
    assert post("create/", {"application": "shop"}).status_code == 403
    assert post(f"{campaign.pk}/save/", {"version": 1, "name": "Mine"}).status_code == 403
    assert post("compose/preview/", asked(title="x")).status_code == 403
    assert post("compose/search/", {**asked(title="x"), "query": ""}).status_code == 403
    answer = viewer.post(f"{ROOT}compose/picture/", {"application": "shop", "file": picture()})
    assert answer.status_code == 403
    assert Campaign.objects.get().version == 1


def test_strangers_and_reading_requests_change_nothing(
    browser: Client, make_campaign: Callable[..., Campaign]
) -> None:
    paths = ["create/", f"{make_campaign().pk}/save/", "compose/preview/", "compose/picture/"]
    for path in paths:
        assert browser.get(f"{ROOT}{path}").status_code == 405
        assert Client().post(f"{ROOT}{path}").status_code in (302, 403)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="anna"))
    assert strict.post(f"{ROOT}create/", "{}", content_type="application/json").status_code == 403


# --- what is too much -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "apns",
    [
        '{"a":' * 900 + "1" + "}" * 900,
        '{"a": 1' + "0" * 400 + "}",
        '{"a": "' + "x" * 1_100_000 + '"}',
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(
    browser: Client, make_campaign: Callable[..., Campaign], apns: str
) -> None:
    campaign = make_campaign()
    body = f'{{"version": 1, "variants": [{{"overrides": {{"apns": {apns}}}}}]}}'
    answer = browser.post(f"{ROOT}{campaign.pk}/save/", body, content_type="application/json")
    assert answer.status_code == 422, answer.content[:300]
    assert Campaign.objects.get().version == 1


def test_two_audiences_that_begin_alike_have_their_own_people(
    post: Post, shop: Tenant, make_device: Any, opt_in: Any
) -> None:
    for name in ("ada", "bob"):
        make_device(shop, name)
        opt_in(shop, name)
    Subscriber.objects.filter(external_id="ada").update(attributes={"plan": "gold"})
    found = []
    for value in ("gold", "iron"):
        attribute = {"name": "plan", "value": value}
        platforms = ["ios", "android", "web", "macos"]
        plan = {**asked(title="Hi")["plan"], "audience": {"platforms": platforms, "attribute": attribute}}
        answer = post("compose/search/", {**asked(), "plan": plan}).json()
        found.append([one["id"] for one in answer["people"]])
        post("compose/preview/", {**asked(), "plan": plan})
    assert found == [["ada"], []]
