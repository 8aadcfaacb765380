#!/usr/bin/env bash
# Makes the minimal guest image that integration tests start VMs from, out where there is a network, and keeps the
# packages that it is made of, so that tests can build it anew without one.
#
#   scripts/make-test-image.sh DIR [AGENT]
#
# DIR/image then holds disk.raw, kernel, initramfs and manifest.json, and DIR/packages the .deb files. The packages are
# kept: delete DIR to have newer ones. The image is made anew when the agent or the recipe is another.
set -euo pipefail

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
directory=$(realpath -m "${1:?usage: make-test-image.sh DIR [AGENT]}")
agent=$(realpath "${2:-$root/build/release/bin/minions-agent}")
[[ -x $agent ]] || {
    echo "error: $agent is not built" >&2
    exit 1
}
mkdir -p "$directory"
exec {lock}>"$directory/lock"
flock "$lock" # two callers at once: the second finds the first one's result

new=$directory/new
trap 'rm -rf --one-file-system "$new"' EXIT
rm -rf --one-file-system "$new"
mkdir "$new"

if [[ ! -d $directory/packages ]]; then
    echo "test image: getting the packages"
    # The recipe says itself what it needs.
    "$root/recipes/minimal.sh" --output "$new/image" --agent "$agent" --keep-packages "$new/packages"
    mv "$new/packages" "$directory/packages"
fi

stamp=$(cat "$agent" "$root"/recipes/*.sh | sha256sum)
if [[ -d $directory/image && $(cat "$directory/stamp" 2>/dev/null) == "$stamp" ]]; then
    echo "test image: $directory/image exists"
    exit 0
fi
[[ -d $new/image ]] ||
    "$root/recipes/minimal.sh" --output "$new/image" --agent "$agent" --package-dir "$directory/packages"
rm -rf --one-file-system "$directory/image"
mv "$new/image" "$directory/image"
echo "$stamp" >"$directory/stamp"
echo "test image: $directory/image"
