"""The daemon beside what it drives, in one run on one machine: ratios and durations, with their goals.

Run by scripts/bench.sh, which isolates it. Prints a table, and writes JSON to the file that it is given.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from agent import AgentBench  # noqa: E402
from boots import BootBench  # noqa: E402
from containers import ContainerBench  # noqa: E402
from results import Results  # noqa: E402
from vms import VmBench  # noqa: E402

KINDS = (AgentBench, VmBench, BootBench, ContainerBench)
PARTS = [part for kind in KINDS for part in kind.PARTS]


def chosen(text):
    """--only A,B as a list of parts."""
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    return parts


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", required=True, type=Path, help="for the files of daemons and engines")
    parser.add_argument("--json", required=True, type=Path, help="file for the results")
    parser.add_argument("--debian", type=Path, help="directory with the Debian image")
    parser.add_argument("--quick", action="store_true", help="few rounds: to try the benchmark itself")
    parser.add_argument("--only", type=chosen, default=PARTS, metavar="PART,…", help=", ".join(PARTS))
    options = parser.parse_args(arguments)
    results = Results()
    for kind in KINDS:
        parts = [part for part in kind.PARTS if part in options.only]
        if not parts:
            continue
        extra = {"debian": options.debian} if kind is BootBench else {}
        kind(options.directory, options.quick, results, **extra).run(parts)
    options.json.write_text(json.dumps({"results": results.rows}, indent=2) + "\n", encoding="utf-8")
    print(f"\n{results.summary()}")


if __name__ == "__main__":
    main()
