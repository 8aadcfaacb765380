"""System calls that Python 3.11 lacks: namespaces, mounts, a seccomp filter."""

import ctypes
import os
import struct

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE, MS_RELATIME = 1 << 18, 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38


def _checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _checked(_libc.unshare(flags), "unshare")


def mount(source, target, kind=None, flags=0, data=None):
    def encoded(text):
        return None if text is None else str(text).encode()

    _checked(_libc.mount(encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(data)),
             f"mount {target}")


def die_with_parent(signal_number=9):
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def pretend():
    """From here on setting the clock, which is the host's, and supplementary groups, of which an unprivileged user
    namespace has none, succeeds and does nothing."""
    load, jump_equal, give = 0x20, 0x15, 0x06
    allow, succeed = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with the number 0
    calls = (227, 164, 116)  # x86-64: clock_settime, settimeofday, setgroups
    program = [struct.pack("HBBI", load, 0, 0, 0)]
    for index, number in enumerate(calls):
        program.append(struct.pack("HBBI", jump_equal, len(calls) - index, 0, number))
    program += [struct.pack("HBBI", give, 0, 0, allow), struct.pack("HBBI", give, 0, 0, succeed)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _checked(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header), 0, 0), "seccomp")
