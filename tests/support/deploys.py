"""The deploy route in one line, and what tests ask of its result."""

from .wait import until

V1 = "/api/v1/vm"


def deploy(daemon, repo_url, agent_name="agent", headers=None, **fields):
    """POST /api/v1/vm/deploy; the reply, whatever it is."""
    return daemon.post(f"{V1}/deploy", {"repo_url": repo_url, "agent_name": agent_name, **fields}, headers=headers,
                       seconds=300)


def deployed(daemon, repo_url, agent_name="agent", **fields):
    """As deploy(), insisting on 200; the decoded reply."""
    reply = deploy(daemon, repo_url, agent_name, **fields)
    assert reply.status == 200, f"{reply}\n{daemon.logs()}"
    return reply.json


def answering(daemon, container_name, path="/health", seconds=30):
    """Waits until the agent answers its HTTP probe with 200; the decoded health reply."""
    def probe():
        reply = daemon.get(f"{V1}/health/{container_name}?path={path}")
        return reply.json if reply.status == 200 and reply.json["http_probe"]["status_code"] == 200 else None
    return until(probe, f"{container_name} answers {path}", seconds, pause=0.2)


def finished(daemon, operation_id, seconds=120):
    """Waits for the end of an operation and returns it."""
    def look():
        operation = daemon.get(f"/api/operations/{operation_id}").json
        return operation if operation["status"] != "running" else None
    return until(look, f"operation {operation_id} ends", seconds, pause=0.1)
