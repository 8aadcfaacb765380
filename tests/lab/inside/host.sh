#!/bin/bash
# The test machine itself: what it promises to the scripts that run on it. Ends with the exit code that it is given.
set -euo pipefail

check() { # WHAT COMMAND...
    local output
    if output=$("${@:2}" 2>&1); then
        echo "ok: $1"
    else
        printf 'not ok: %s\n%s\n' "$1" "$output"
        exit 1
    fi
}

# shellcheck disable=SC2317  # check calls them
opens() { python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR)' "$1"; }
# KVM_CREATE_VM: a device that opens proves little.
# shellcheck disable=SC2317
makes_vm() { python3 -c 'import fcntl, os; os.close(fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0))'; }

check "systemd is process 1" test "$(cat /proc/1/comm)" == systemd
check "the CPU can run virtual machines" grep -q -w svm /proc/cpuinfo
check "KVM makes one" makes_vm
check "vhost-vsock opens" opens /dev/vhost-vsock
check "cgroup v2 is unified" test "$(stat -f -c %T /sys/fs/cgroup)" == cgroup2fs
check "a bridge and a TAP can be made" eval 'ip link add lab0 type bridge && ip tuntap add labtap mode tap'
check "nftables work" nft add table inet lab
check "services can be started" systemd-run --quiet --wait true
check "QEMU is there" qemu-system-x86_64 --version
check "the build is installed" minions --version
check "and its libraries are" test -z "$(ldd /usr/local/bin/minions | grep 'not found')"
check "the shim is" test -x /usr/local/libexec/minions/minions-shim
check "the arguments arrive" test "$#" == 2 -a "$2" == $'two words\nand a line'
echo "some seconds after the start of the kernel: $(cut -d ' ' -f 1 /proc/uptime)"
exit "$1"
