#!/usr/bin/env bash
# Makes a guest image by hand: the directory OUTPUT with disk.raw, kernel, initramfs and manifest.json, which starts
# under any VMM by direct kernel boot. `minions image build` does the same and keeps the result for the daemon.
#
#   scripts/bake-agent.sh [--recipe debian|minimal] OUTPUT [OPTION VALUE ...]
#
#   scripts/bake-agent.sh /tmp/guest
#   scripts/bake-agent.sh --recipe minimal /tmp/tiny
#   scripts/bake-agent.sh /tmp/sid --suite sid --include git,python3
#
# Options are those of recipes/lib.sh: --suite --mirror --include --size-mb --kernel-package --package-dir --agent. The
# agent is that of the newest build, or the installed one. What fails or is cut off leaves nothing.
set -euo pipefail

usage() { sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
recipe=debian output='' agent='' arguments=()
while [[ $# -gt 0 ]]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --recipe) recipe=${2:?--recipe needs a value} && shift ;;
    --agent) agent=${2:?--agent needs a value} && shift ;;
    --*) arguments+=("$1" "${2:?$1 needs a value}") && shift ;;
    *)
        [[ -z $output ]] || { usage >&2 && exit 2; }
        output=$1
        ;;
    esac
    shift
done
[[ -n $output ]] || { usage >&2 && exit 2; }
[[ $recipe =~ ^[a-z0-9-]+$ && -x $root/recipes/$recipe.sh ]] || {
    echo "error: no recipe '$recipe': debian and minimal are" >&2
    exit 2
}

if [[ -z $agent ]]; then
    for agent in "$root"/build/{release,dev,*}/bin/minions-agent /usr/sbin/minions-agent /usr/local/sbin/minions-agent; do
        [[ ! -x $agent ]] || break
    done
    [[ -x $agent ]] || {
        echo "error: no minions-agent is built: run cmake --build --preset release, or give --agent" >&2
        exit 1
    }
fi

made=no
[[ -e $output ]] || made=yes
remove_output() { [[ $1 == 0 || $made == no ]] || rm -rf --one-file-system "$output"; }
trap 'remove_output $?' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

"$root/recipes/$recipe.sh" --output "$output" --agent "$agent" "${arguments[@]}" | while read -r word at total text; do
    if [[ $word == progress ]]; then
        printf '[%s/%s] %s\n' "$at" "$total" "$text"
    else
        printf '%s\n' "$word $at $total $text"
    fi
done
printf '%s\n' "$output: $(du -sh --total "$output" | tail -n 1 | cut -f 1)"
