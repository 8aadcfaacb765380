"""Waiting for something to become true, with a deadline and a message that says what did not happen."""

import os
import time

# How many times longer than on a common machine everything may take: the lab's guests are emulated twice.
SLOWNESS = float(os.environ.get("MINIONS_TEST_SLOWNESS", "1"))


def until(condition, what, seconds=10.0, pause=0.02):
    """Calls `condition` until its result is true and returns it. AssertionError naming `what` after `seconds` (times
    SLOWNESS)."""
    seconds *= SLOWNESS
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {seconds} s still not so: {what} (last seen: {result!r})")
        time.sleep(pause)
