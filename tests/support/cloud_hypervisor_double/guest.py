"""Stands in for a guest: the real minions-agent as process 1 of namespaces of its own, with a file system in memory, an
Ethernet interface that is connected to the VM's TAP, and a power button."""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

from namespaces import (MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_RELATIME, MS_REMOUNT,
                        NEWIPC, NEWNET, NEWNS, NEWPID, NEWUSER, NEWUTS, die_with_parent, mount, pretend,
                        unshare)

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
IFF_VNET_HDR = 0x4000
SIOCSIFHWADDR, SIOCSIFMTU, SIOCGIFMTU, ARPHRD_ETHER = 0x8924, 0x8922, 0x8921, 1
VSOCK_PORT = 1024
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return tap


def interface_request(name, request, value):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, struct.pack("16s", name.encode()) + value.ljust(24, b"\0"))


def mtu_of(name):
    return struct.unpack("16xi20x", interface_request(name, SIOCGIFMTU, b""))[0]


class Guest:
    """One life of a guest, from power on to power off. `ended(signal)` is called once, on another thread: SIGINT stands
    for power off and SIGHUP for a restart, as reboot(2) has it in a pid namespace; all else is a crash."""

    def __init__(self, config, agent, tap, ended):
        self._init, self._paused = None, threading.Event()
        self._unplugged, self._unplug = os.pipe()
        mtu = mtu_of(config["net"][0]["tap"]) if tap is not None else 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._launcher = os.fork()
        if self._launcher == 0:
            ours.close()
            _launch(config, agent, theirs, mtu)
        theirs.close()
        self._control = ours
        message, fds, _, _ = socket.recv_fds(ours, 256, 1)
        if not message.isdigit():
            os.waitpid(self._launcher, 0)
            raise OSError(message.decode() or "the stand-in for the guest cannot be started")
        self._init = int(message)
        if fds:
            threading.Thread(target=self._carry, args=(tap, fds[0]), daemon=True).start()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def press_power_button(self):
        self._signal([self._init], signal.SIGTERM)

    def pause(self):
        self._paused.set()
        stopped = set()
        while (now := set(self._processes())) != stopped:  # until nobody new has been forked
            self._signal(now, signal.SIGSTOP)
            stopped = now

    def resume(self):
        self._signal(self._processes(), signal.SIGCONT)
        self._paused.clear()

    def kill(self):
        self._signal([self._init], signal.SIGKILL)

    def _signal(self, pids, number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _processes(self):
        """All of the guest's namespace."""
        with contextlib.suppress(OSError):
            own = os.readlink(f"/proc/{self._init}/ns/pid")
            for entry in os.listdir("/proc"):
                with contextlib.suppress(OSError):
                    if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == own:
                        yield int(entry)

    def _wait(self, ended):
        message = self._control.recv(16)
        os.waitpid(self._launcher, 0)
        os.close(self._unplug)
        ended(int(message or b"9"))

    def _carry(self, host, guest):
        """Frames between the host's TAP and the guest's."""
        with open(self._unplugged, "rb", 0), open(guest, "rb", 0):
            while True:
                ready, _, _ = select.select([host, guest, self._unplugged], [], [])
                if self._unplugged in ready:
                    return
                for source in ready:
                    with contextlib.suppress(OSError):  # an interface that is down takes none
                        frame = os.read(source, 65600)
                        if not self._paused.is_set():
                            os.write(guest if source == host else host, frame)


# -- in the launcher and in process 1 ----------------------------------------------------------------------------------


def _launch(config, agent, control, mtu):
    """Does not return."""
    try:
        die_with_parent()
        for name in os.listdir("/proc/self/fd"):  # disks and their locks are the VM's alone
            if int(name) > 2 and int(name) != control.fileno():
                with contextlib.suppress(OSError):
                    os.close(int(name))
        user, group = os.geteuid(), os.getegid()
        try:
            unshare(NEWUSER | NEWNS | NEWPID | NEWUTS | NEWIPC | NEWNET)
        except OSError as error:
            raise OSError(f"the stand-in for a guest needs user namespaces, which are forbidden here: {error}") from None
        # The guest's root is who runs this, without rights beyond the guest, whoever that is.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        guest_end = None
        if mtu:
            guest_end = open_tap("eth0")
            mac = bytes.fromhex(config["net"][0]["mac"].replace(":", ""))
            interface_request("eth0", SIOCSIFHWADDR, struct.pack("H", ARPHRD_ETHER) + mac)
            interface_request("eth0", SIOCSIFMTU, struct.pack("i", mtu))
        init = os.fork()
        if init == 0:
            control.close()
            _become_init(config["vsock"]["socket"], agent)
        socket.send_fds(control, [str(init).encode()], [] if guest_end is None else [guest_end])
        if guest_end is not None:
            os.close(guest_end)
        _, status = os.waitpid(init, 0)
        control.send(str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0).encode())
    except OSError as error:
        control.send(str(error).encode()[:256])
    finally:
        os._exit(0)


def _become_init(vsock, agent):
    """Does not return."""
    try:
        die_with_parent()
        run = os.open(os.path.dirname(vsock), os.O_PATH | os.O_DIRECTORY)
        agent_file = os.open(agent, os.O_PATH)  # /tmp will be another
        _make_root(Path("/tmp/root"), agent_file)
        os.chroot("/tmp/root")
        os.fchdir(run)  # the socket is found from there, whatever is mounted over it
        pretend()
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(1, 2)  # all that an init says goes to the console
        os.execve("/minions-agent", ["minions-agent", "--connect", f"unix:{os.path.basename(vsock)}_{VSOCK_PORT}"],
                  {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"})
    except OSError as error:
        print(f"the stand-in for the guest: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _make_root(root, agent_file):
    """A file system in memory with the host's programs. What the agent mounts as an init is there already."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("guest", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # Not that file system itself: the agent would take it for an initramfs, and the host's disk for its root.
    for name in ("root", "lower", "upper", "work"):
        Path("/tmp", name).mkdir()
    mount("guest", root, "overlay", 0, "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr")
    for name in ("usr", "etc", "dev", "proc", "sys", "tmp", "run", "root", "var", "home", "mnt"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    _show("/usr", root / "usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(f"usr/{name}")
        elif host.is_dir():
            (root / name).mkdir()
            _show(host, root / name)
    for name in ("ld.so.cache", "nsswitch.conf", "protocols", "services", "alternatives"):
        with contextlib.suppress(OSError):
            copy = shutil.copytree if Path("/etc", name).is_dir() else shutil.copy
            copy(Path("/etc", name), root / "etc" / name, **({"symlinks": True} if copy is shutil.copytree else {}))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="ascii")
    (root / "etc/group").write_text("root:x:0:\n", encoding="ascii")
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, None, MS_BIND)
    (root / "dev/pts").mkdir()
    mount("devpts", root / "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV)
    (root / "minions-agent").touch()
    _show(f"/proc/self/fd/{agent_file}", root / "minions-agent")


def _show(source, target):
    """The host's directory, read-only; flags that the mount has already cannot be taken off in here."""
    mount(source, target, None, MS_BIND | MS_REC)
    has = os.statvfs(target).f_flag
    kept = has & (MS_NOSUID | MS_NODEV | MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    kept |= MS_RELATIME if has & os.ST_RELATIME else 0
    mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
