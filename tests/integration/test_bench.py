"""The benchmark itself, with few rounds: every part that needs no engine and no guest gives its figures."""

import json
import sys
from pathlib import Path

from support.fixtures import fresh_directory

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from bench import main  # noqa: E402


def test_the_parts_with_stand_ins_give_figures():
    directory = fresh_directory("bench")
    found = directory / "bench.json"
    main(["--directory", str(directory), "--json", str(found), "--quick", "--only", "agent,vm-create,vm-death"])
    rows = json.loads(found.read_text(encoding="utf-8"))["results"]
    assert [row["what"] for row in rows] == [
        "agent's ping over a bare echo, p50",
        "agent's exec of true, p50",
        "VM create without boot, p50",
        "burst of 100 VM creates without boot",
        "kill -9 of a VMM (stand-in) to its event at a client, p50",
    ]
    assert all(row["value"] > 0 for row in rows[1:])  # the first is a difference
