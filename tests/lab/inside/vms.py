#!/usr/bin/env python3
"""Virtual machines as they run on a real host: KVM (on the test machine's emulated AMD-V), the host's vsock, systemd as
process 1. From create to nothing left, with the installed build.

    vms.py qemu|cloudhv
"""

import os
import signal
import sys
import time
from pathlib import Path

os.environ.update(MINIONS_BUILD="/usr/local", MINIONS_TEST_IMAGE=f"{os.environ['LAB']}/add")

from support import procs  # noqa: E402  (it reads the environment)
from support.vms import VMS, VmHost  # noqa: E402
from support.wait import until  # noqa: E402

BOOT = 300  # seconds for a guest whose every instruction is emulated twice


def say(text):
    print(f"[{time.monotonic():.1f}] {text}", flush=True)


def ancestors(pid):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        yield pid


def check_vmm(runtime, made):
    line = procs.cmdline(made["pid"])
    if runtime == "qemu":
        assert "accel=kvm" in line, f"not with KVM: {line}"
        assert "vhost-vsock-pci" in line, f"not with the host's vsock: {line}"
    else:
        assert "cloud-hypervisor" in line, line
    kvm = [fd for fd in Path(f"/proc/{made['pid']}/fd").iterdir() if "kvm" in os.readlink(fd)]
    assert kvm, "the VMM has no descriptor of KVM"
    cgroup = Path(f"/proc/{made['pid']}/cgroup").read_text().strip()
    parents = [procs.cmdline(pid).split(" ")[0] for pid in ancestors(made["pid"])]
    assert parents[0].endswith("minions-shim"), parents
    say(f"VMM {made['pid']} in {cgroup}, its parents: {parents}")


def run(runtime, host):
    host.start()
    plugin = next(each for each in host.daemon.get("/api/plugins").json if each["name"] == runtime)
    assert plugin["health"]["healthy"], plugin
    say(f"{runtime} {plugin['health']['version']}: {plugin['health']['reason']}")
    before = host.traces()

    start = time.monotonic()
    reply = host.daemon.post(VMS, {"name": "one", "cpus": 1, "memory_mb": 256, "runtime": runtime}, seconds=2 * BOOT)
    assert reply.status == 201, f"{reply}\n{host.daemon.get(f'{VMS}/one/diagnosis')}\n{host.daemon.logs()}"
    made = reply.json
    say(f"created within {time.monotonic() - start:.1f} s: {made}")
    check_vmm(runtime, made)

    start = time.monotonic()
    done = host.execute("one", "uname", "-n")
    assert (done["exit_code"], done["stdout"]) == (0, "one\n"), done
    say(f"executed within {time.monotonic() - start:.2f} s")
    assert host.execute("one", "ping", "-c", "1", "-W", "60", "10.0.0.1")["exit_code"] == 0
    say("the guest reaches the host")

    host.daemon.kill()
    host.daemon.start()
    until(lambda: host.daemon.get(f"{VMS}/one").json["status"] == "running", "the VM is adopted", 60)
    assert host.daemon.get(f"{VMS}/one").json["pid"] == made["pid"]
    assert host.execute("one", "uname", "-n")["stdout"] == "one\n"
    say("the VM outlived its daemon")

    os.kill(made["pid"], signal.SIGKILL)
    until(lambda: host.daemon.get(f"{VMS}/one").json["status"] == "stopped", "its end is noticed", 30)
    until(lambda: not host.taps(), "its TAP is gone", 30)
    started = host.daemon.post(f"{VMS}/one/start", seconds=2 * BOOT)
    assert started.status == 200 and started.json["status"] == "running", f"{started}\n{host.daemon.logs()}"
    assert host.execute("one", "true")["exit_code"] == 0
    say("killed and started again")

    host.destroy("one")
    until(lambda: host.traces() == before, "nothing is left", 30, 0.2)
    host.stop()
    say("nothing is left")


def main(runtime):
    settings = {"vms.agent_timeout_seconds": BOOT}
    if runtime == "cloudhv":
        binary = Path("/usr/local/bin/cloud-hypervisor")
        binary.write_bytes(Path(f"{os.environ['LAB']}/add/cloud-hypervisor").read_bytes())
        binary.chmod(0o755)
        settings["runtimes.cloudhv.binary"] = binary
    host = VmHost("/var/lib/minions-lab", runtime, settings)
    try:
        run(runtime, host)
    except BaseException:
        print(host.daemon.logs(100), file=sys.stderr)
        raise
    finally:
        host.clean_up()


main(sys.argv[1])
