"""Dates as the admin shows them: the same order and a 24-hour clock wherever it is read."""

DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "j M Y, H:i"
