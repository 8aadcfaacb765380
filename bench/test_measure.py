"""The arithmetic behind the benchmark's figures."""

import pytest
from results import Results
from measure import Load, interleaved, interleaved_loads, parse_load, percentile

REPORT = """Running 3s test @ http://127.0.0.1:3000/api/vms
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.57ms    0.87ms  16.68ms   87.59%
    Req/Sec    41.14k     3.98k   48.66k    70.00%
  Latency Distribution
     50%  900.00us
     75%    1.78ms
     90%    2.41ms
     99%    1.02s
  122755 requests in 3.01s, 33.83MB read
{}Requests/sec:  40749.48
Transfer/sec:     11.23MB
"""


def test_a_percentile_is_a_value_that_was_seen():
    values = list(range(300, 0, -1))
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7], 0.99)) == (150, 297, 7)


def test_failed_requests_are_counted():
    assert parse_load(REPORT.format("")) == Load(40749.48, 0.9, 1020, 0)
    failed = "  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 20\n"
    assert parse_load(REPORT.format(failed)).errors == 24


@pytest.mark.parametrize("ours, theirs, met", [(Load(100, 1, 1, 0), Load(10, 1, 1, 0), True),
                                               (Load(100, 1, 1, 1), Load(10, 1, 1, 0), False),
                                               (Load(100, 1, 1, 0), Load(10, 1, 1, 1), False),
                                               (Load(40, 1, 1, 0), Load(10, 1, 1, 0), False)])
def test_a_rate_is_met_by_successes_alone(ours, theirs, met):
    results = Results()
    results.rate("rate", ours, theirs, 5)
    assert results.rows[0]["met"] is met


def test_the_order_alternates_and_the_warm_up_is_not_counted():
    calls = []
    first, second = interleaved(2, lambda: calls.append("a"), lambda: calls.append("b"), warm_up=1,
                                between=lambda: calls.append("|"))
    assert "".join(calls) == "ab|ba|ab|" and len(first.values) == len(second.values) == 2


def test_loads_are_medians_of_slices_in_alternating_order():
    calls = []

    def load(url, clients, seconds):
        calls.append(url)
        return Load(len(calls), clients, seconds, 1)

    a, b = interleaved_loads(3, 64, 2, "a", "b", load=load)
    assert "".join(calls) == "abbaab" and (a, b) == (Load(4, 64, 2, 3), Load(3, 64, 2, 3))
