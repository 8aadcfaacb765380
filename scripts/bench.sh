#!/usr/bin/env bash
# Measures the daemon beside what it drives: figures with their goals, as a table and as JSON (see docs/testing.md).
#
#   scripts/bench.sh                               everything (some 25 minutes), results in build/bench.json
#   scripts/bench.sh --only vm-create,vm-death     these parts
#   scripts/bench.sh --quick                       few rounds: to try the benchmark itself
#
# Parts: agent, vm-create, vm-death, vm-boot, vm-images (VMs), empty, exec, create, thousand (containers). Builds the
# release preset first, and once a Debian image for vm-images, which needs a package archive. Nothing else should run
# meanwhile.
set -euo pipefail

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
cd "$root"
# shellcheck source=scripts/packages.sh
source scripts/packages.sh

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi
cache=${MINIONS_TEST_CACHE:-$root/build/test-cache}
build=build/release

# debian_image: makes the image at $cache/debian/image unless it is there, from this agent and these recipes.
debian_image() {
    local directory=$cache/debian stamp
    stamp=$(cat "$build/bin/minions-agent" recipes/*.sh | sha256sum)
    [[ ! -d $directory/image || $(cat "$directory/stamp" 2>/dev/null) != "$stamp" ]] || return 0
    echo "== making a Debian image (some minutes)"
    as_root rm -rf --one-file-system "$directory"
    mkdir -p "$directory"
    as_root recipes/debian.sh --output "$directory/image" --agent "$build/bin/minions-agent" >"$directory/log" 2>&1 || {
        tail -n 5 "$directory/log" >&2
        return 1
    }
    echo "$stamp" >"$directory/stamp"
}

wants_debian() { [[ " $* " != *" --only"* || " $* " == *vm-images* ]]; }

keep_root
install_packages "${packages_build[@]}" "${packages_runtime[@]}" "${packages_vm[@]}" "${packages_bench[@]}"
install_engine
cmake --preset release >/dev/null
cmake --build --preset release --target minions minions-agent minions-shim stand_in_vmm agent_calls \
    plugin_docker plugin_qemu plugin_cloudhv
mkdir -p build
extra=()
if wants_debian "$@"; then
    if debian_image; then
        extra=(--debian "$cache/debian/image")
    else
        echo "no Debian image could be made: vm-images is left out" >&2
    fi
fi
# shellcheck disable=SC2016  # it expands in there
exec tests/support/isolated bash -c \
    'exec /usr/bin/python3 "$0/bench/bench.py" --directory "$MINIONS_TEST_TMP" --json "$0/build/bench.json" "$@"' \
    "$root" "${extra[@]}" "$@"
