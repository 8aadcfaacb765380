#!/usr/bin/env bash
# Measures the daemon beside the Docker Engine that it drives: ratios with their goals, as a table and as JSON.
#
#   scripts/bench.sh                     everything (some 20 minutes), results in build/bench.json
#   scripts/bench.sh --quick exec        one part, few rounds: to try the benchmark itself
#
# Parts: empty, exec, create, thousand. Builds the release preset first; nothing else should run meanwhile.
set -euo pipefail

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
cd "$root"
# shellcheck source=scripts/packages.sh
source scripts/packages.sh

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi
keep_root
install_packages "${packages_build[@]}" "${packages_runtime[@]}" "${packages_bench[@]}"
install_engine
cmake --preset release >/dev/null
cmake --build --preset release --target minions plugin_docker
mkdir -p build
# shellcheck disable=SC2016  # it expands in there
exec tests/support/isolated bash -c \
    'exec /usr/bin/python3 "$0/bench/bench.py" --directory "$MINIONS_TEST_TMP" --json "$0/build/bench.json" "$@"' \
    "$root" "$@"
