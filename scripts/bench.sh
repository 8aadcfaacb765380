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
    if as_root scripts/make-test-image.sh "$cache/debian" build/release/bin/minions-agent debian; then
        extra=(--debian "$cache/debian/image")
    else
        echo "no Debian image could be made: vm-images is left out" >&2
    fi
fi
# shellcheck disable=SC2016  # it expands in there
exec tests/support/isolated bash -c \
    'exec /usr/bin/python3 "$0/bench/bench.py" --directory "$MINIONS_TEST_TMP" --json "$0/build/bench.json" "$@"' \
    "$root" "${extra[@]}" "$@"
