#!/usr/bin/env bash
# Makes a stand-in for the image python:3.11-slim from Debian packages, as a tar of its root file system, for
# places where no image registry is in reach. Debian 12 has Python 3.11.
#
#   scripts/make-base-image.sh OUT.tar
#   docker import --change 'CMD ["python3"]' OUT.tar python:3.11-slim
#
# Needs root and debootstrap. An existing OUT.tar is kept: delete it to make it anew. Takes the packages from the
# archive that apt is configured with, or from DEBIAN_MIRROR.
set -euo pipefail

out=$(realpath -m "${1:?usage: make-base-image.sh OUT.tar}")
mkdir -p "$(dirname "$out")"

exec {lock}>"$out.lock"
flock "$lock" # two callers at once: the second finds the first one's result
if [[ -s $out ]]; then
    echo "base image: $out exists"
    exit 0
fi
if [[ $(id -u) != 0 ]]; then
    echo "error: debootstrap needs root: run sudo $0 $1" >&2
    exit 1
fi

work=$(mktemp -d "$(dirname "$out")/base-image.XXXXXX")
trap 'rm -rf --one-file-system "$work" "$out.part"' EXIT

mirror=${DEBIAN_MIRROR:-}
if [[ -z $mirror ]]; then
    # shellcheck disable=SC2016  # apt's own format, not the shell's
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Label: Debian' \
        2>/dev/null | sed -n 1p || true)
fi

echo "base image: debootstrap of Debian 12 with Python 3.11 (a minute or two)"
# A mount namespace of its own: whatever debootstrap mounts goes with it, also when it fails.
if ! unshare --mount -- debootstrap --variant=minbase \
    --include=python3,python3-pip,python3-setuptools,python3-wheel,ca-certificates \
    bookworm "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    [[ ! -f $work/root/debootstrap/debootstrap.log ]] || tail -n 20 "$work/root/debootstrap/debootstrap.log" >&2
    exit 1
fi

root=$work/root
# As in the official image: `python` is there, and pip installs into the system.
ln -sf python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3.*/EXTERNALLY-MANAGED
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old \
    "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/debootstrap \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* \
    "$root"/usr/share/locale/* "$root"/usr/share/i18n/* "$root"/usr/lib/python3.*/lib2to3/tests \
    "$root"/usr/share/zoneinfo/{right,posix}
find "$root/dev" -mindepth 1 -delete # the engine makes its own
: >"$root/etc/resolv.conf"
: >"$root/etc/hostname"

tar --numeric-owner --one-file-system -C "$root" -cf "$out.part" .
mv "$out.part" "$out"
echo "base image: $out ($(du -h "$out" | cut -f 1))"
