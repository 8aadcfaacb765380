#!/usr/bin/env bash
# Every Debian 12 package that this project needs, in one place, and a function that installs missing ones.
# Sourced by the other scripts; run by itself it prints the sets.
#
#   packages_build     to compile
#   packages_runtime   what the daemon and the scripts call: git, ssh; and what a base image is made with
#   packages_vm        virtual machines: QEMU, and what images are built and imported with
#   packages_engine    a Docker Engine, where the machine has none: see install_engine
#   packages_test      for scripts/test.sh beside those above
#   packages_long      for scripts/test.sh --long
#   packages_bench     for scripts/bench.sh

packages_build=(
    g++ cmake ninja-build ccache pkg-config git ca-certificates
    libpoco-dev libssl-dev libsqlite3-dev libboost-dev libfmt-dev nlohmann-json3-dev catch2
    libcli11-dev prometheus-cpp-dev libsystemd-dev libnftables-dev
)
packages_runtime=(git openssh-client iptables iproute2 procps curl debootstrap ca-certificates)
packages_vm=(qemu-system-x86 qemu-utils e2fsprogs cpio util-linux gzip xz-utils zstd)
packages_engine=(docker.io)
packages_test=(python3 python3-pytest python3-yaml python3-jsonschema openssh-server util-linux nftables shellcheck podman)
packages_long=(clang-tidy clang-format)
packages_bench=(wrk python3)

# Runs a command with root's rights: directly, or through sudo.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "error: this needs root: run it as root, or install sudo" >&2
        return 1
    fi
}

# Asks for sudo's password now, where one is needed, and keeps the answer good until this script ends, so that a step
# after a long build need not ask.
keep_root() {
    as_root true
    [[ $(id -u) != 0 ]] || return 0
    while sleep 50 && kill -0 $$ 2>/dev/null && sudo -n true; do :; done </dev/null >/dev/null 2>&1 &
}

# Installs those of the packages that are missing; silent and offline when there are none.
install_packages() {
    local missing=() package
    for package in "$@"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "error: this needs the Debian packages ${missing[*]}, and there is no apt-get to install them" >&2
        return 1
    fi
    echo "== installing ${missing[*]}"
    # Policy 101 keeps services (dockerd, sshd) from being started by their installation, which nobody asked for.
    # An existing policy of the machine stays as it is.
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [[ ! -e $policy ]]; then
        ours=yes
        # shellcheck disable=SC2016  # $1 belongs to the inner shell
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
    fi
    {
        as_root apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove \
                "${missing[@]}"
    } </dev/null || status=$?
    [[ $ours == no ]] || as_root rm -f "$policy"
    return "$status"
}

# Debian's Docker Engine, unless the machine has a dockerd of any origin: docker-ce and docker.io exclude each other.
install_engine() {
    PATH=$PATH:/usr/sbin command -v dockerd >/dev/null || install_packages "${packages_engine[@]}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    printf 'build:   %s\nruntime: %s\nvm:      %s\nengine:  %s\ntest:    %s\nlong:    %s\nbench:   %s\n' \
        "${packages_build[*]}" "${packages_runtime[*]}" "${packages_vm[*]}" "${packages_engine[*]}" \
        "${packages_test[*]}" "${packages_long[*]}" "${packages_bench[*]}"
fi
