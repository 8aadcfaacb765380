"""What a daemon could forget, looked at before and after."""

import contextlib
import os

from .wait import until


def traces(engine, daemon):
    return {**engine.traces(), "files": daemon.files(), "processes": set(daemon.helpers().values())}


def difference(before, after):
    """What there is now and was not before, by kind; empty when nothing came."""
    return {kind: sorted(after[kind] - before[kind]) for kind in after if after[kind] - before[kind]}


@contextlib.contextmanager
def nothing_behind(engine, daemon, seconds=10.0):
    """Around a piece of test: afterwards, within `seconds`, the engine has no further container, image or volume and
    the daemon no further file or helper process. Names what is left."""
    before = traces(engine, daemon)
    yield
    left = {}

    def clean():
        left.clear()
        left.update(difference(before, traces(engine, daemon)))
        return not left

    try:
        until(clean, "nothing is left behind", seconds, pause=0.1)
    except AssertionError:
        raise AssertionError(f"left behind after {seconds} s: {left}") from None


def held(daemon):
    """How many descriptors and threads the daemon has."""
    return {kind: len(os.listdir(f"/proc/{daemon.process.pid}/{kind}")) for kind in ("fd", "task")}


def nothing_held(daemon, action, rounds, seconds=15.0):
    """Calls `action` once, so that whatever is made on first use is there, and then `rounds` times. A descriptor or
    thread that each of them left would show; those that pools keep do not."""
    action()
    before = held(daemon)
    for _ in range(rounds):
        action()
    last = {}

    def few():
        last.update(held(daemon))
        return all(last[kind] - before[kind] < rounds / 2 for kind in before)

    try:
        until(few, "descriptors and threads are given back", seconds, pause=0.1)
    except AssertionError:
        raise AssertionError(f"{rounds} rounds left: {before} became {last}") from None
