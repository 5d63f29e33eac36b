"""Held back by policy, before anything was sent."""

from __future__ import annotations

from .entry import GONE, Words, sparing

HELD = sparing(
    "Their consent and their devices stay as they are, and everybody else gets it.",
    {
        "not_opted_in": Words(
            "Not opted in",
            "This category is sent only to people who said yes, and they have not.",
            "Ask for consent inside the app, or choose a category that is on by default.",
        ),
        "opted_out": Words("Opted out", "They switched this category off.", "Nothing: respect it."),
        "unsubscribed": Words(
            "Unsubscribed from marketing", "They want no marketing at all.", "Nothing: respect it."
        ),
        "channel_not_allowed": Words(
            "Channel not allowed",
            "This category may not be sent by push.",
            "Allow push for the category, or choose another one.",
        ),
        "quiet_hours": Words(
            "Quiet hours",
            "It was night or quiet for them, and this category is not sent then.",
            "Send earlier, or let the category wait for the end of quiet hours.",
        ),
        "quiet_hours_inbox_only": Words(
            "Quiet hours: inbox only",
            "It was night or quiet for them, and this category then goes to the inbox only.",
        ),
        "held_past_deadline": Words(
            "Too late after quiet hours",
            "Quiet hours or the send window would have held it beyond its deadline or lifetime.",
            "Send earlier, or give it a longer lifetime.",
        ),
        "local_time_past_deadline": Words(
            "Local time after the deadline",
            "Where they live, the time it was meant for comes after its deadline.",
            "Choose an earlier time or a later deadline.",
        ),
        "never_in_send_window": Words(
            "No time left",
            "Their quiet hours and the send window leave no time at all.",
            "Widen the send window.",
        ),
        "capped": Words(
            "Enough for now",
            "They already get as many messages of this kind as the limits allow for that day or week.",
            "Send it on another day, with higher priority, or raise the limit.",
        ),
        "holdout": Words(
            "Held out to compare",
            "By lot they are among those who do not get this campaign, so that its effect can be seen.",
            "Nothing: it is part of the experiment.",
        ),
        "global_holdout": Words(
            "Held out of marketing",
            "By lot they are among the few who get no marketing at all, so that its effect as a whole can be seen.",
            "Nothing: the share is in the application's settings.",
        ),
        "permission_denied": Words(
            "Notifications switched off",
            "Notifications are off for the app in the phone's or browser's settings.",
            "Ask for permission at a better moment inside the app.",
            "The person's other devices, and everybody else.",
        ),
        "device_retired": Words(
            "Device gone",
            "The app was removed or the device has not been in touch.",
            GONE,
            "The person's other devices, and everybody else.",
        ),
        "device_erased": Words(
            "Person erased",
            "The person's data was deleted while the message was waiting.",
            spared="The counts still add up; whom the line was about is not kept.",
        ),
        "unknown_subscriber": Words(
            "Unknown person",
            "No subscriber has this id in this application.",
            "Check the id, and that the app calls registration after login.",
            "Everybody else in the same call gets it.",
        ),
        "unknown_device": Words(
            "Unknown device",
            "No device has this id in this application.",
            "Check the id.",
            "Everybody else in the same call gets it.",
        ),
        "no_device": Words(
            "No device",
            "The person is known and has no active device.",
            "Nothing until they sign in on a device again.",
            "Their consent and settings are kept for the next device, and everybody else gets it.",
        ),
        "not_in_audience": Words(
            "Not in the audience",
            "The message is for others: they are not in its segment now.",
            "Look at the segment's rules if they should be.",
        ),
        "missing_variable": Words(
            "Something to say was missing",
            "The template needs something that is not known of them, such as a first name.",
            "Give it a default in the template, or collect what is missing.",
        ),
    },
)
