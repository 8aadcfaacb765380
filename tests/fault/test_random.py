"""kill -9 of the daemon at random moments while clients create, start, stop and destroy: each client knows what it was
promised, and after each start that is what there is."""

import http.client
import os
import random
import threading
import time

import pytest
from support.wait import until
from worlds import SETTLED, VMS

LONG = bool(os.environ.get("MINIONS_TEST_LONG"))
KILLS = {"null": 1000 if LONG else 40, "docker": 100 if LONG else 6, "standin": 100 if LONG else 8}
CLIENTS = 6
GONE = "gone"


class Client:
    """Changes one instance again and again, and knows which states it may be in: one that it was told of, and what the
    change that is under way would make of it."""

    def __init__(self, world, name, seed):
        self.world, self.name, self.random = world, name, random.Random(seed)
        self.may_be = {GONE}
        self.acknowledged = 0

    def run(self, stop):
        while not stop.is_set():
            state, = self.may_be
            act, result = self.choose(state)
            # A destroy that was begun is finished at the next start, and a create undone; others end on either side.
            self.may_be = {state, result}
            try:
                reply = act()
            except (OSError, http.client.HTTPException):
                return
            if reply.status >= 300:
                # The daemon is being killed; what holds is asked for after its next start.
                assert reply.status in (503, 500), f"{self.name}: {reply}"
                return
            self.may_be = {result}
            self.acknowledged += 1

    def choose(self, state):
        request = self.world.daemon.request
        target = f"{VMS}/{self.name}"
        if state == GONE:
            return lambda: self.world.create(self.name), "running"
        if self.random.random() < 0.3:
            return lambda: request("DELETE", target), GONE
        if state == "running":
            return lambda: request("POST", f"{target}/stop", {"force": True}), "stopped"
        return lambda: request("POST", f"{target}/start"), "running"

    def settle(self, pictures):
        """After a start: what there is has to be one of the states that it may be in, and is from now on the only one."""
        found = pictures.get(self.name, {"status": GONE})["status"]
        allowed = self.may_be if self.world.outlive else {GONE if state == GONE else "stopped" for state in self.may_be}
        assert found in allowed, f"{self.name} is {found}, and was promised to be {' or '.join(sorted(self.may_be))}"
        self.may_be = {found}


@pytest.mark.parametrize("kind", list(KILLS))
def test_the_daemon_is_killed_at_random_moments(worlds, kind, monkeypatch):
    world = worlds(kind)
    world.start(monkeypatch)
    world.remove_all()
    clean = world.outside()
    seed = int(os.environ.get("MINIONS_TEST_SEED", "1"))
    moments = random.Random(seed)
    clients = [Client(world, f"r{number}", seed + number) for number in range(CLIENTS)]
    for kill in range(KILLS[kind]):
        stop = threading.Event()
        failures = []

        def work(client, stop=stop, failures=failures):
            try:
                client.run(stop)
            except Exception as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(moments.uniform(0, 0.3 if kind == "null" else 1.5))
        world.daemon.kill()
        stop.set()
        for thread in threads:
            thread.join(30)
        where = f"kill {kill + 1}, seed {seed}"
        assert not failures, f"{where}: {failures[0]}"
        world.start(monkeypatch)
        pictures = world.picture()
        for client in clients:
            client.settle(pictures)
        until(lambda: not world.faults_of_census(), f"{where}: {world.faults_of_census()}", SETTLED, pause=0.05)
    done = sum(client.acknowledged for client in clients)
    print(f"{kind}: {KILLS[kind]} kills, {done} changes acknowledged")
    assert done >= KILLS[kind], "too few changes for kills to meet any"
    world.remove_all()
    until(lambda: all(not now - clean[kind_of] for kind_of, now in world.outside().items()), "nothing is left", SETTLED,
          pause=0.1)
