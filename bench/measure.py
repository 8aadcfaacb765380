"""Measuring two ways of doing the same thing in turn, so that a machine whose speed drifts is fair to both."""

import math
import re
import statistics
import subprocess
import time
from dataclasses import dataclass


def percentile(values, share):
    """The smallest value that at least `share` of all are no greater than."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass
class Timing:
    """Durations in milliseconds."""

    values: list

    @property
    def p50(self):
        return percentile(self.values, 0.50)

    @property
    def p99(self):
        return percentile(self.values, 0.99)


def timed(action):
    """Milliseconds that `action` takes, and what it returns."""
    begin = time.perf_counter()
    result = action()
    return (time.perf_counter() - begin) * 1000, result


def in_turn(rounds, actions):
    """Indices of `actions`, for each of the rounds, forwards and backwards in turn, so that none always follows the
    same other one."""
    for number in range(rounds):
        yield list(range(len(actions)))[::-1 if number % 2 else 1]


def interleaved(rounds, *actions, warm_up=3, between=lambda: None):
    """Runs each action in turn, `rounds` times, after a warm-up that is not counted; a Timing for each. `between` is
    called after each round, and not timed."""
    timings = [Timing([]) for _ in actions]
    for number, order in enumerate(in_turn(warm_up + rounds, actions)):
        for index in order:
            duration, _ = timed(actions[index])
            if number >= warm_up:
                timings[index].values.append(duration)
        between()
    return timings


@dataclass
class Load:
    """What a load generator saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def load(url, clients, seconds):
    """Keep-alive clients that ask for `url` one request after the other, for some seconds (by wrk)."""
    return parse_load(subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "--latency", url],
                                     check=True, capture_output=True, text=True).stdout)


def parse_load(report):
    def latency(share):
        number, unit = re.search(rf"^\s*{share}%\s+([\d.]+)(us|ms|s|m)\s*$", report, re.M).groups()
        return float(number) * UNITS[unit]

    errors = sum(int(number) for line in re.findall(r"Non-2xx.*|Socket errors.*", report)
                 for number in re.findall(r"\d+", line.split(":", 1)[1]))
    return Load(float(re.search(r"Requests/sec:\s+([\d.]+)", report).group(1)), latency(50), latency(99), errors)


def interleaved_loads(slices, clients, seconds, *urls, load=load):
    """Loads each URL in turn, `slices` times for some seconds each; a Load for each, of medians, with the sum of the
    errors."""
    found = [[] for _ in urls]
    for order in in_turn(slices, urls):
        for index in order:
            found[index].append(load(urls[index], clients, seconds))
    return [Load(*(statistics.median(getattr(one, field) for one in loads) for field in ("per_second", "p50_ms", "p99_ms")),
                 sum(one.errors for one in loads)) for loads in found]


def pss_mb(pids):
    """Proportional set size of processes together, in MiB."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024
