#!/usr/bin/env bash
# Makes the disk of the test machine: Debian 12 with systemd, a kernel with KVM, and what the project needs at run time.
# Made once and kept in MINIONS_TEST_CACHE (default build/test-cache) until this script or the recipe changes.
#
#   tests/lab/make-image.sh AGENT
#
# AGENT is the program minions-agent of a build, which starts the kernel's first steps as it does in any guest. Prints
# the image's directory. Needs root, or sudo, and the archive that apt is configured with.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(dirname "$(dirname "$here")")
agent=$(realpath "${1:?usage: make-image.sh AGENT}")

packages=(
    # The project's libraries and tools.
    libpoconet80 libpocoutil80 libpocodatasqlite80 libpocojson80 libfmt9 libssl3 libprometheus-cpp-core1.0 libsystemd0
    git openssh-client iptables nftables
    # Virtual machines; their network cards need the ROMs.
    qemu-system-x86 ipxe-qemu
    # Tests.
    python3 python3-pytest busybox-static e2fsprogs cpio
)

cache=${MINIONS_TEST_CACHE:-$root/build/test-cache}
mkdir -p "$cache" # as who calls, who can delete it then
cache=$(realpath "$cache")
key=$(cat "${BASH_SOURCE[0]}" "$root/recipes/debian.sh" "$root/recipes/lib.sh" | sha256sum | cut -c -12)
image=$cache/lab-$key

exec {lock}>"$cache/lab.lock"
flock "$lock" # two callers at once: the second finds the first one's result
if [[ ! -e $image/manifest.json ]]; then
    as_root=()
    [[ $(id -u) == 0 ]] || as_root=(sudo -n)
    # Older ones, but for those that a machine runs on.
    for old in "$cache"/lab-*/; do
        [[ -d $old ]] || continue
        flock -n "${old%/}" "${as_root[@]}" rm -rf --one-file-system "$old" || true
    done
    echo "lab image: debootstrap of Debian 12 with QEMU (some minutes)" >&2
    trap '"${as_root[@]}" rm -rf --one-file-system "$image.part"' EXIT
    # A size with room: the file is sparse.
    "${as_root[@]}" nice -n 10 "$root/recipes/debian.sh" --output "$image.part" --agent "$agent" --size-mb 4096 \
        --kernel-package linux-image-amd64 --include "$(IFS=,; echo "${packages[*]}")" >"$cache/lab.log" 2>&1 || {
        tail -n 20 "$cache/lab.log" >&2
        exit 1
    }
    "${as_root[@]}" mv "$image.part" "$image"
fi
echo "$image"
