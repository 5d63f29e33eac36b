"""What each platform is told, and which options it refuses."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from notifications.providers import apns, apns_payload, fcm_payload, webpush_payload
from notifications.providers.apns_payload import PUSH_TYPES
from notifications.providers.base import PayloadTooLarge

from .conftest import NOTIFICATION, message

CREATED_AT = int(NOTIFICATION.replace("-", "")[:12], 16) // 1000


def apns_body(**changes):
    return orjson.loads(apns_payload.render(message(**changes)).body)


class TestApns:
    @pytest.mark.parametrize(
        ("push_type", "topic", "priority"),
        [
            ("alert", "com.example.app", "5"),
            ("background", "com.example.app", "5"),
            ("voip", "com.example.app.voip", "10"),
            ("complication", "com.example.app.complication", "10"),
            ("fileprovider", "com.example.app.pushkit.fileprovider", "5"),
            ("location", "com.example.app.location-query", "10"),
            ("liveactivity", "com.example.app.push-type.liveactivity", "5"),
            ("pushtotalk", "com.example.app.voip-ptt", "10"),
            ("mdm", "com.example.app", "5"),
            ("widgets", "com.example.app.push-type.widgets", "5"),
            ("controls", "com.example.app.push-type.controls", "5"),
        ],
    )
    def test_each_push_type_has_its_topic_and_priority(self, push_type, topic, priority):
        overrides = {"push_type": push_type}
        if push_type == "liveactivity":
            overrides["content_state"] = {"score": 1}
        headers = apns.request_headers(
            apns_payload.render(message(overrides=overrides)), "com.example.app", "jwt"
        )
        assert (headers["apns-push-type"], headers["apns-topic"]) == (push_type, topic)
        assert headers["apns-priority"] == priority

    def test_all_push_types_are_tested(self):
        assert len(PUSH_TYPES) == 11

    def test_a_high_message_is_immediate(self):
        assert apns_payload.render(message(priority="high")).priority == "10"

    def test_a_background_push_is_never_immediate(self):
        overrides = {"push_type": "background"}
        assert apns_payload.render(message(priority="high", overrides=overrides)).priority == "5"
        with pytest.raises(ValueError, match="priority"):
            apns_payload.render(message(overrides={**overrides, "priority": 10}))

    def test_an_alert(self):
        assert apns_body(url="https://example.com", data={"order": "12"}) == {
            "aps": {"alert": {"title": "Hello", "body": "World"}, "sound": "default"},
            "order": "12",
            "carillon": {"id": NOTIFICATION, "url": "https://example.com"},
        }

    @pytest.mark.parametrize("url", ["shop://orders/12", "https://example.com/ios"])
    def test_its_own_link_takes_the_place_of_the_others(self, url):
        assert apns_body(url="https://example.com", overrides={"url": url})["carillon"]["url"] == url
        assert apns_body(overrides={"url": url})["carillon"]["url"] == url

    def test_its_own_link_counts_among_its_bytes(self):
        both = {"url": "https://example.com", "overrides": {"url": "shop://" + "x" * 200}}
        grown = len("shop://") + 200 - len("https://example.com")
        assert (
            apns_payload.render(message(**both)).size
            == apns_payload.render(message(url=both["url"])).size + grown
        )

    def test_a_background_push_shows_nothing(self):
        assert apns_body(overrides={"push_type": "background"})["aps"] == {"content-available": 1}

    def test_an_image_asks_for_the_service_extension(self):
        body = apns_body(image="https://example.com/i.png")
        assert body["aps"]["mutable-content"] == 1
        assert body["carillon"]["image"] == "https://example.com/i.png"
        assert "mutable-content" not in apns_body(image="x", overrides={"mutable_content": False})["aps"]

    def test_every_alert_option_arrives(self):
        overrides = {
            "sound": {"name": "siren", "critical": 1, "volume": 0.5}, "badge": 0, "subtitle": "s",
            "interruption_level": "time-sensitive", "relevance_score": 0.5, "content_available": True,
            "target_content_id": "w", "filter_criteria": "f", "title_loc_key": "k", "title_loc_args": ["a"],
            "loc_key": "l", "loc_args": ["b"], "launch_image": "i", "title": "T", "body": "B",
            "payload": {"custom": {"deep": 1}},
        }  # fmt: skip
        body = apns_body(overrides=overrides)
        assert body["custom"] == {"deep": 1}
        assert body["aps"] == {
            "alert": {"title": "T", "subtitle": "s", "body": "B", "title-loc-key": "k", "title-loc-args": ["a"],
                      "loc-key": "l", "loc-args": ["b"], "launch-image": "i"},
            "badge": 0, "sound": {"name": "siren", "critical": 1, "volume": 0.5},
            "interruption-level": "time-sensitive", "relevance-score": 0.5, "content-available": 1,
            "target-content-id": "w", "filter-criteria": "f",
        }  # fmt: skip

    @pytest.mark.parametrize("silent", ["", None])
    def test_a_sound_may_be_left_out(self, silent):
        assert "sound" not in apns_body(overrides={"sound": silent})["aps"]

    def test_a_live_activity_carries_the_time_of_its_notification(self):
        body = apns_body(overrides={"push_type": "liveactivity", "content_state": {"score": 1}})
        assert body["aps"]["timestamp"] == CREATED_AT
        assert body["aps"]["event"] == "update"
        assert body["aps"]["content-state"] == {"score": 1}

    @pytest.mark.parametrize(
        ("overrides", "field"),
        [
            ({"push_type": "liveactivity"}, "content_state"),
            ({"push_type": "liveactivity", "event": "start", "content_state": {}}, "attributes_type"),
            ({"push_type": "shout"}, "push_type"),
            ({"badge": -1}, "badge"),
            ({"url": "javascript:alert(1)"}, "url"),
            ({"url": "orders/12"}, "url"),
            ({"badge": "1"}, "badge"),
            ({"sound": {"volume": 2, "name": "x"}}, "sound"),
            ({"payload": {"aps": {}}}, "payload.aps"),
            ({"payload": {"carillon": {}}}, "payload.carillon"),
        ],
    )
    def test_a_bad_option_is_named(self, overrides, field):
        with pytest.raises(ValueError, match=field):
            apns_payload.render(message(overrides=overrides))

    def test_a_live_activity_of_an_id_without_time_needs_a_timestamp(self):
        overrides = {"push_type": "liveactivity", "content_state": {}}
        old = "c9a646d3-9c61-4cb7-bfcd-ee2522c8f633"
        with pytest.raises(ValueError, match="timestamp"):
            apns_payload.render(message(notification_id=old, overrides=overrides))

    @pytest.mark.parametrize("key", ["aps", "carillon"])
    def test_data_may_not_take_our_place(self, key):
        with pytest.raises(ValueError, match=f"data.{key}"):
            apns_payload.render(message(data={key: "x"}))

    def test_a_voip_push_may_be_larger(self):
        big = {"x": "y" * 4500}
        with pytest.raises(PayloadTooLarge):
            apns_payload.render(message(data=big))
        assert apns_payload.render(message(data=big, overrides={"push_type": "voip"})).size > 4500

    @pytest.mark.parametrize("key", ["news", "a" * 64, ""])
    def test_a_collapse_key_that_fits_is_sent_as_it_is(self, key):
        assert apns_payload.render(message(collapse_key=key)).collapse_id == key

    @pytest.mark.parametrize("key", ["a" * 65, "ü", "a\r\nb", " a"])
    def test_any_other_is_hashed(self, key):
        rendered = apns_payload.render(message(collapse_key=key))
        assert rendered.collapse_id == hashlib.sha256(key.encode()).hexdigest()

    def test_the_expiration_is_a_time_or_left_to_apple(self):
        assert apns_payload.render(message()).expiration == ""
        assert apns_payload.render(message(expires_at=0)).expiration == "0"
        assert apns_payload.render(message(expires_at=1_800_000_000)).expiration == "1800000000"

    @pytest.mark.parametrize("topic", ["com.example\r\nx: y", "com.example\n", "com example", "é"])
    def test_a_topic_no_header_can_carry_is_refused(self, topic):
        with pytest.raises(ValueError, match="topic"):
            apns_payload.render(message(overrides={"topic": topic}))


class TestFcm:
    @pytest.mark.parametrize("key", ["from", "gcm.x", "google.x", "carillon", "carillon_url"])
    def test_reserved_data_is_refused(self, key):
        with pytest.raises(ValueError, match=f"data.{key}"):
            fcm_payload.render(message(data={key: "x"}))

    def test_its_own_link_takes_the_place_of_the_others(self):
        said = message(url="https://example.com", overrides={"url": "shop://orders/12"})
        body = orjson.loads(fcm_payload.body(fcm_payload.render(said), b'"fid":"x"', 0))
        assert body["message"]["data"]["carillon_url"] == "shop://orders/12"

    def test_data_of_another_type_is_refused(self):
        with pytest.raises(ValueError, match=r"data\.n"):
            fcm_payload.render(message(data={"n": 7}))

    @pytest.mark.parametrize(
        ("overrides", "field"),
        [
            ({"color": "red"}, "color"),
            ({"url": "data:text/html,x"}, "url"),
            ({"notification_priority": "urgent"}, "notification_priority"),
            ({"analytics_label": "a b"}, "analytics_label"),
            ({"data": {"x": 1}}, "data"),
        ],
    )
    def test_a_bad_option_is_named(self, overrides, field):
        with pytest.raises(ValueError, match=field):
            fcm_payload.render(message(overrides=overrides))

    def test_blocks_for_other_platforms_pass_through(self):
        overrides = {"apns": {"headers": {"apns-priority": "5"}}, "webpush": {"headers": {"TTL": "60"}}}
        body = orjson.loads(
            fcm_payload.body(fcm_payload.render(message(overrides=overrides)), b'"fid":"x"', 0)
        )
        assert body["message"]["apns"] == overrides["apns"]
        assert body["message"]["webpush"] == overrides["webpush"]

    def test_actions_travel_as_text(self):
        rendered = fcm_payload.render(message(actions=({"id": "yes", "title": "Yes"},)))
        data = orjson.loads(fcm_payload.body(rendered, b'"fid":"x"', 0))["message"]["data"]
        assert orjson.loads(data["carillon_actions"]) == [{"id": "yes", "title": "Yes"}]


class TestWebPush:
    def test_the_message_is_declarative(self):
        rendered = webpush_payload.render(
            message(
                url="https://example.com/o/12",
                image="https://example.com/i.png",
                data={"order": "12"},
                collapse_key="orders",
                actions=(
                    {"id": "yes", "title": "Yes", "url": "https://example.com/yes"},
                    {"id": "no", "title": "No"},
                ),
                overrides={
                    "app_badge": 3,
                    "require_interaction": True,
                    "urgency": "very-low",
                    "data": {"x": [1]},
                },
            )
        )
        assert rendered.urgency == "very-low"
        assert orjson.loads(rendered.plaintext) == {
            "web_push": 8030,
            "app_badge": 3,
            "notification": {
                "title": "Hello",
                "body": "World",
                "navigate": "https://example.com/o/12",
                "image": "https://example.com/i.png",
                "tag": "orders",
                "requireInteraction": True,
                "app_badge": "3",
                "actions": [
                    {"action": "yes", "title": "Yes", "navigate": "https://example.com/yes"},
                    {"action": "no", "title": "No"},
                ],
                "data": {
                    "order": "12",
                    "x": [1],
                    "carillon": NOTIFICATION,
                    "url": "https://example.com/o/12",
                },
            },
        }

    def test_it_always_leads_somewhere(self):
        body = orjson.loads(webpush_payload.render(message()).plaintext)
        assert body["notification"]["navigate"] == "/", "a declarative message without it is none"

    @pytest.mark.parametrize("url", ["https://example.com/web", "/orders/12"])
    def test_its_own_link_takes_the_place_of_the_others(self, url):
        said = message(url="https://example.com", overrides={"navigate": url})
        shown = orjson.loads(webpush_payload.render(said).plaintext)["notification"]
        assert shown["navigate"] == shown["data"]["url"] == url

    def test_it_may_be_left_to_the_service_worker(self):
        body = orjson.loads(webpush_payload.render(message(overrides={"declarative": False})).plaintext)
        assert "web_push" not in body

    @pytest.mark.parametrize(
        ("overrides", "field"),
        [
            ({"renotify": True}, "renotify"),
            ({"silent": True, "vibrate": [1]}, "vibrate"),
            ({"urgency": "urgent"}, "urgency"),
            ({"navigate": "JavaScript:alert(1)"}, "navigate"),
            ({"data": {"carillon": "x"}}, "data.carillon"),
        ],
    )
    def test_a_bad_option_is_named(self, overrides, field):
        with pytest.raises(ValueError, match=field):
            webpush_payload.render(message(overrides=overrides))

    @pytest.mark.parametrize(
        ("expires_at", "ttl"), [(None, 2_419_200), (1060, 60), (1000, 0), (900, 0), (10**10, 2_419_200)]
    )
    def test_the_ttl_is_what_is_left(self, expires_at, ttl):
        assert webpush_payload.ttl(webpush_payload.render(message(expires_at=expires_at)), 1000) == ttl

    def test_the_limit_is_what_fits_into_4096_encrypted_bytes(self):
        room = 3993 - webpush_payload.render(message(body="")).size - len('"body":"",')
        assert webpush_payload.render(message(body="x" * room)).size == 3993
        with pytest.raises(PayloadTooLarge):
            webpush_payload.render(message(body="x" * (room + 1)))
