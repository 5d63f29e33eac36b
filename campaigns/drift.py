"""Whether a campaign still reaches about as many as somebody was told when they said yes to it."""

from __future__ import annotations

# By more than this part somebody should look again.
DRIFT = 0.1


class ReachChanged(Exception):
    """It would reach many more or fewer than was said. Nothing was sent."""

    def __init__(self, devices: int) -> None:
        super().__init__(f"It reaches {devices:,} devices by now.")
        self.devices = devices


def is_large(devices: int, said: int, margin: int = 0) -> bool:
    """margin: of an estimate, if one of the two is."""
    return abs(devices - said) > max(DRIFT * said, 10, margin)
