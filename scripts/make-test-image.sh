#!/usr/bin/env bash
# Makes a guest image that integration tests start VMs from, out where there is a network.
#
#   scripts/make-test-image.sh DIR [AGENT [RECIPE]]
#
# DIR/image then holds disk.raw, kernel, initramfs and manifest.json. It is made anew when the agent or the recipes are
# other ones. Of the recipe `minimal` (the default), DIR/packages keeps the .deb files, so that tests can build it anew
# without a network; delete DIR to have newer ones. `debian` takes some minutes, and needs root.
set -euo pipefail

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
directory=$(realpath -m "${1:?usage: make-test-image.sh DIR [AGENT]}")
agent=$(realpath "${2:-$root/build/release/bin/minions-agent}")
recipe=${3:-minimal}
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

packages=()
if [[ $recipe == minimal && ! -d $directory/packages ]]; then
    echo "test image: getting the packages"
    # The recipe says itself what it needs.
    "$root/recipes/minimal.sh" --output "$new/image" --agent "$agent" --keep-packages "$new/packages"
    mv "$new/packages" "$directory/packages"
fi
[[ $recipe != minimal ]] || packages=(--package-dir "$directory/packages")

stamp=$(cat "$agent" "$root"/recipes/*.sh | sha256sum)
if [[ -d $directory/image && $(cat "$directory/stamp" 2>/dev/null) == "$stamp" ]]; then
    echo "test image: $directory/image exists"
    exit 0
fi
[[ -d $new/image ]] ||
    "$root/recipes/$recipe.sh" --output "$new/image" --agent "$agent" "${packages[@]}"
rm -rf --one-file-system "$directory/image"
mv "$new/image" "$directory/image"
echo "$stamp" >"$directory/stamp"
echo "test image: $directory/image"
