#!/usr/bin/env bash
# What is shown on a test machine only; see `run`.
#
#   tests/lab/test_lab.sh host      the machine and its harness: what they promise
#   tests/lab/test_lab.sh qemu      VMs in QEMU, with KVM and the host's vsock
#   tests/lab/test_lab.sh cloudhv   VMs in Cloud Hypervisor; MINIONS_TEST_CLOUD_HYPERVISOR names the program
#
# Exit code 77: this host cannot, which is said.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(dirname "$(dirname "$here")")
build=${MINIONS_BUILD:-$root/build/release}
cache=$(realpath -m "${MINIONS_TEST_CACHE:-$root/build/test-cache}")

skip() {
    echo "skipped: $1"
    exit 77
}
fail() {
    echo "failed: $1" >&2
    exit 1
}

# ends CODE TEXT COMMAND...: the command ends with that code and says the text.
ends() {
    local wanted=$1 text=$2 status=0 output
    shift 2
    output=$("$@" 2>&1) || status=$?
    printf '%s\n' "$output"
    [[ $status != 77 ]] || exit 77
    [[ $status == "$wanted" ]] || fail "exit code $status instead of $wanted"
    [[ $output == *"$text"* ]] || fail "'$text' is not in the output"
}

guest_image() {
    [[ $(id -u) == 0 ]] || skip "this test needs root"
    "$root/scripts/make-test-image.sh" "$cache/minimal" "$build/bin/minions-agent"
    image=(--add "$cache/minimal/image=image" --add "$cache/minimal/packages=packages")
}

case ${1:-} in
host)
    TMPDIR=$(mktemp -d)
    export TMPDIR
    trap 'rm -rf --one-file-system "$TMPDIR"' EXIT
    ends 7 "ok: the arguments arrive" "$here/run" "$here/inside/host.sh" 7 $'two words\nand a line'
    MINIONS_LAB_TIMEOUT=3 ends 124 "not done within 3 seconds" "$here/run" "$here/inside/host.sh" 0
    [[ -z $(ls -A "$TMPDIR") ]] || fail "$(ls -A "$TMPDIR") is left"
    ;;
qemu)
    [[ -e $build/lib/minions/runtimes/qemu.so ]] || skip "the build has no runtime qemu"
    guest_image
    "$here/run" "${image[@]}" "$here/inside/vms.py" qemu
    ;;
cloudhv)
    [[ -n ${MINIONS_TEST_CLOUD_HYPERVISOR:-} ]] ||
        skip "MINIONS_TEST_CLOUD_HYPERVISOR names no cloud-hypervisor program"
    [[ -x $MINIONS_TEST_CLOUD_HYPERVISOR ]] || fail "$MINIONS_TEST_CLOUD_HYPERVISOR is not a program"
    [[ -e $build/lib/minions/runtimes/cloudhv.so ]] || skip "the build has no runtime cloudhv"
    guest_image
    "$here/run" "${image[@]}" --add "$MINIONS_TEST_CLOUD_HYPERVISOR=cloud-hypervisor" "$here/inside/vms.py" cloudhv
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
