#!/usr/bin/env bash
# Builds everything and runs every test; what CI runs. From any directory, in a fresh clone, on a bare Debian 12.
#
#   scripts/test.sh          release and dev (ASan, UBSan) builds, unit, loader and integration tests
#   scripts/test.sh --long   also clang-tidy, a ThreadSanitizer build with its unit and loader tests, and the long form of
#                            tests that have one (about two hours)
#
# Ends with one ctest summary, and with a non-zero code if anything failed. JOBS sets the parallelism of builds. Needs
# root for packages and for the tests' namespaces, or takes it through sudo.
set -euo pipefail

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
cd "$root"
# shellcheck source=scripts/packages.sh
source scripts/packages.sh

long=no
while [[ $# -gt 0 ]]; do
    case $1 in
    --long) long=yes ;;
    -h | --help) usage && exit 0 ;;
    *) echo "error: unknown option '$1'" >&2 && usage >&2 && exit 2 ;;
    esac
    shift
done

[[ $long == no ]] || export MINIONS_TEST_LONG=1
exec </dev/null
export DEBIAN_FRONTEND=noninteractive CTEST_OUTPUT_ON_FAILURE=1 CI=${CI:-true}
jobs=${JOBS:-$(nproc)}
summaries=$(mktemp -d)
trap 'rm -rf "$summaries"' EXIT

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

# build PRESET: configures and builds it, through ccache where there is one.
build() {
    step "build $1"
    local launcher=()
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    cmake --preset "$1" "${launcher[@]}" >"$summaries/$1.configure" || {
        cat "$summaries/$1.configure"
        return 1
    }
    cmake --build --preset "$1" --parallel "$jobs"
}

wanted=("${packages_build[@]}" "${packages_runtime[@]}" "${packages_vm[@]}" "${packages_test[@]}")
[[ $long == no ]] || wanted+=("${packages_long[@]}")
step "packages"
keep_root
install_packages "${wanted[@]}"
install_engine

step "shellcheck"
mapfile -t shell_files < <(find scripts recipes .ci tests/integration tests/fault tests/support tests/lab -type f \( -name '*.sh' -o -name run -o -name start -o -name isolated \))
shellcheck -x "${shell_files[@]}"

if [[ $long == yes ]]; then
    step "format"
    git ls-files -z '*.hpp' '*.cpp' | xargs -0 clang-format --dry-run -Werror
    build tidy
fi
presets=(release dev)
[[ $long == no ]] || presets+=(tsan)
for preset in "${presets[@]}"; do
    build "$preset"
done

step "tests"
# One directory for ctest that stands for all builds, so that one summary tells everything: the release build's
# tests as they are, and the unit and loader tests of the others under names of their own.
suite=build/suite
cmake -E make_directory "$suite"
{
    echo "subdirs(\"$root/build/release\")"
    for preset in "${presets[@]:1}"; do
        for label in unit loader; do
            # Every build has unit tests; one without loader tests has nothing to add.
            listing=$(ctest --test-dir "build/$preset" -N -L "^$label$")
            if [[ $label == unit || $listing == *"Test #"* ]]; then
                echo "add_test(\"$preset.$label\" ctest --test-dir \"$root/build/$preset\" -L \"^$label\$\"" \
                    "--no-tests=error -j \"$jobs\" --output-on-failure)"
                echo "set_tests_properties(\"$preset.$label\" PROPERTIES LABELS $preset TIMEOUT 1200 PROCESSORS $jobs)"
            fi
        done
    done
} >"$suite/CTestTestfile.cmake"

# PROCESSORS keeps the other builds' tests from running beside anything else.
ctest --test-dir "$suite" -j "$jobs" --output-on-failure --no-tests=error
