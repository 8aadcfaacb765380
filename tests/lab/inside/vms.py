#!/usr/bin/env python3
"""Virtual machines as they run on a real host: KVM (on the test machine's emulated AMD-V), the host's vsock, systemd as
process 1, and the daemon as its unit. From a recipe to nothing left, with the installed build; then what the
integration tests say of it.

    vms.py qemu|cloudhv
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LAB = Path(os.environ["LAB"])
SLOWNESS = 4  # every instruction of a guest is emulated twice
os.environ.update(MINIONS_BUILD="/usr/local", MINIONS_TEST_IMAGE=f"{LAB}/add", MINIONS_TEST_SLOWNESS=str(SLOWNESS))

from support import procs  # noqa: E402  (it reads the environment)
from support.images import add_minimal_image  # noqa: E402
from support.unit import Unit  # noqa: E402
from support.vms import VMS, VmHost  # noqa: E402
from support.wait import until  # noqa: E402

BOOT = 300
CLOUD_HYPERVISOR = Path("/usr/local/bin/cloud-hypervisor")
# Of what debootstrap does, the part that a unit could forbid.
DEBOOTSTRAP = """
while [[ $1 != --output ]]; do shift; done
work=$2/.work
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work"/{proc,bin}
unshare --mount -- bash -c 'mount -t proc proc "$1/proc" && test -e "$1/proc/self"' bash "$work"
mknod -m 666 "$work/null" c 1 3 && echo >"$work/null"
mknod -m 600 "$work/console" c 5 1
cp /bin/busybox "$work/bin/"
chmod 4755 "$work/bin/busybox"
chown 1:1 "$work/bin" && chmod 2775 "$work/bin"
setcap cap_net_raw+ep "$work/bin/busybox"
chroot "$work" /bin/busybox test -x /bin/busybox
setpriv --reuid=65534 --regid=65534 --clear-groups true
"""


def say(text):
    print(f"[{time.monotonic():.1f}] {text}", flush=True)


def ancestors(pid):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        yield pid


class UnitHost(VmHost):
    """The daemon as a unit, with an image of the packages that were brought along."""

    def __init__(self, runtime, settings):
        super().__init__("/var/lib/minions-lab", runtime, settings, daemon=Unit)

    def clean_up(self):
        subprocess.run(["systemctl", "stop", "minions.service"], check=False)
        for pid in self.vm_processes():
            procs.end(pid, 5)

    def vm_processes(self):
        return {pid: line for pid, line in super().vm_processes().items() if pid != Unit.pid()}


def build_images(host):
    """By the installed recipe, of the packages that were brought along; and by what does as debootstrap does."""
    recipes = host.daemon.directory / "recipes"
    installed = "/usr/local/share/minions/recipes"
    for name, script in {
            "debian": f'{DEBOOTSTRAP}\nexec "{recipes}/prebuilt.sh" "$@"',
            "minimal": f'exec {installed}/minimal.sh "$@" --package-dir "{LAB}/add/packages"'}.items():
        (recipes / f"{name}.sh").write_text(f"#!/bin/bash\nset -euo pipefail\n{script}\n")
        (recipes / f"{name}.sh").chmod(0o755)
        start = time.monotonic()
        made = host.daemon.cli("--json", "image", "build", "--recipe", name, name, seconds=600)
        assert made.returncode == 0, f"{made.stdout}{made.stderr}\n{host.daemon.logs()}"
        say(f"built by the recipe {name} within {time.monotonic() - start:.1f} s")


def health(host, runtime):
    return next(each["health"] for each in host.daemon.get("/api/plugins").json if each["name"] == runtime)


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


def check_adopted(host, made, how):
    until(lambda: host.daemon.get(f"{VMS}/one").json["status"] == "running", "the VM is adopted", 60)
    assert host.daemon.get(f"{VMS}/one").json["pid"] == made["pid"]
    assert host.execute("one", "uname", "-n")["stdout"] == "one\n"
    say(f"the VM outlived its daemon, which {how}")


def run(runtime, host):
    host.daemon.start()
    say("the unit is up")
    if runtime == "qemu":  # once is enough
        build_images(host)
    add_minimal_image(host.daemon)
    until(lambda: health(host, runtime)["healthy"], "the runtime is healthy", 15, 1)  # a cold program answers late
    say(f"{runtime}: {health(host, runtime)}")
    before = host.traces()

    start = time.monotonic()
    made = host.create("one")
    say(f"created within {time.monotonic() - start:.1f} s: {made}")
    check_vmm(runtime, made)

    start = time.monotonic()
    done = host.execute("one", "uname", "-n")
    assert (done["exit_code"], done["stdout"]) == (0, "one\n"), done
    say(f"executed within {time.monotonic() - start:.2f} s")
    assert host.execute("one", "ping", "-c", "1", "-W", "60", "10.0.0.1")["exit_code"] == 0
    say("the guest reaches the host")

    host.daemon.kill()
    check_adopted(host, made, "was killed")
    host.daemon.restart()
    check_adopted(host, made, "was restarted")
    host.daemon.stop()
    assert procs.cmdline(made["pid"]), "the VMM ended with the unit"
    host.daemon.start()
    check_adopted(host, made, "was stopped, and started")

    os.kill(made["pid"], signal.SIGKILL)
    until(lambda: host.daemon.get(f"{VMS}/one").json["status"] == "stopped", "its end is noticed", 30)
    until(lambda: not host.taps(), "its TAP is gone", 30)
    started = host.daemon.post(f"{VMS}/one/start")
    assert started.status == 200 and started.json["status"] == "running", f"{started}\n{host.daemon.logs()}"
    assert host.execute("one", "true")["exit_code"] == 0
    say("killed and started again")

    host.destroy("one")
    until(lambda: host.traces() == before, "nothing is left", 30, 0.2)
    score = subprocess.run(["systemd-analyze", "security", "--no-pager", "minions.service"], capture_output=True,
                           text=True, check=False).stdout.strip().splitlines()
    say(f"nothing is left; {score[-1] if score else 'no score'}")
    host.daemon.stop()


def integration_tests(*arguments, **environment):
    """Of tests/integration, on this host instead of in namespaces of their own."""
    directory = Path("/var/lib/minions-it")
    directory.mkdir(mode=0o755)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--tb=short", "-v", *arguments]
    given = {"MINIONS_ISOLATED": "1", "MINIONS_TEST_TMP": str(directory)}
    done = subprocess.run(command, cwd=LAB / "tests" / "integration", check=False,
                          env={**os.environ, **given, **environment})
    assert done.returncode == 0, f"pytest ended with {done.returncode}"


def main(runtime):
    settings = {"vms.agent_timeout_seconds": BOOT}
    if runtime == "cloudhv":
        settings["runtimes.cloudhv.binary"] = CLOUD_HYPERVISOR
        CLOUD_HYPERVISOR.write_bytes((LAB / "add" / "cloud-hypervisor").read_bytes())
        CLOUD_HYPERVISOR.chmod(0o755)
    host = UnitHost(runtime, settings)
    try:
        run(runtime, host)
    except BaseException:
        print(host.daemon.logs(100), file=sys.stderr)
        raise
    finally:
        host.clean_up()
    if runtime == "qemu":  # which gives CPUs back only with KVM
        integration_tests("test_vms_qemu.py", "-k", "gets_cpus_and_memory")
    if runtime == "cloudhv":
        integration_tests("test_cloudhv.py", "-k", "real", MINIONS_TEST_CLOUD_HYPERVISOR=str(CLOUD_HYPERVISOR))


main(sys.argv[1])
