"""What a call to the guest agent costs, against a bare echo over the same kind of socket."""

import json
import subprocess

from measure import Timing
from support.daemon import BUILD


class AgentBench:
    PARTS = ("agent",)

    def __init__(self, directory, quick, results):
        self.directory, self.rounds, self.results = directory / "agent", 20 if quick else 500, results

    def run(self, _):
        self.directory.mkdir()
        said = subprocess.run([BUILD / "bin" / "agent_calls", BUILD / "bin" / "minions-agent", self.directory,
                               str(self.rounds)], check=True, stdout=subprocess.PIPE, text=True)
        echo, ping, execute = (Timing(json.loads(said.stdout)[name]) for name in ("echo", "ping", "exec"))
        self.results.at_most("agent's ping over a bare echo, p50", ping.p50 - echo.p50, 0.15, "ms",
                             f"{ping.p50:.3f} / {echo.p50:.3f} ms")
        self.results.at_most("agent's exec of true, p50", execute.p50, 2.5, "ms", f"p99 {execute.p99:.1f} ms")
