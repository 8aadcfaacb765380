# shellcheck shell=bash
# What the recipes share. A recipe makes a directory with an image: disk.raw, kernel, initramfs and manifest.json. It is
# run by the daemon, or by hand through scripts/bake-agent.sh:
#
#   RECIPE.sh --output DIR --agent PATH [--suite S] [--mirror URL] [--include A,B] [--size-mb N]
#             [--kernel-package P] [--package-dir DIR] [--keep-packages DIR]
#
#   --output DIR          an empty directory, or one to be made; what fails or is cut off leaves it empty
#   --agent PATH          the static program minions-agent
#   --suite S             of Debian or Ubuntu (default bookworm)
#   --mirror URL          the archive of packages (default: the one that this machine's apt has for the suite)
#   --include A,B         further packages
#   --size-mb N           of the disk (default: what its files need and some room; a VM's disk can be larger)
#   --kernel-package P    default linux-image-cloud-amd64, of Ubuntu linux-image-virtual
#   --package-dir DIR     take packages from the .deb files there, with no archive in reach (not for debian)
#   --keep-packages DIR   leave those that were taken from an archive there, for the next time
#
# Lines `progress DONE TOTAL TEXT` on stdout say how far it is. A recipe sets recipe_steps before anything else.
set -euo pipefail
export LC_ALL=C
umask 022
PATH=$PATH:/usr/sbin:/sbin

fail() {
    echo "error: $1" >&2
    exit 1
}

# need TOOL PACKAGE: what is missing is told with the package that has it.
need() { command -v "$1" >/dev/null || fail "'$1' is missing: install the package $2"; }

steps_done=0
progress() {
    echo "progress $steps_done ${recipe_steps:?} $1"
    steps_done=$((steps_done + 1))
}

# matching NAME VALUE REGEX: these values are written into JSON and given to other programs, so they are plain.
matching() { [[ $2 =~ ^$3$ ]] || fail "$1: '$2' is not of the form $3"; }

parse_options() {
    output='' agent='' suite=bookworm mirror='' include='' size_mb='' kernel_package='' package_dir='' keep_packages=''
    while [[ $# -gt 0 ]]; do
        [[ $# -ge 2 ]] || fail "option '$1' needs a value"
        case $1 in
        --output) output=$2 ;;
        --agent) agent=$2 ;;
        --suite) suite=$2 ;;
        --mirror) mirror=$2 ;;
        --include) include=$2 ;;
        --size-mb) size_mb=$2 ;;
        --kernel-package) kernel_package=$2 ;;
        --package-dir) package_dir=$2 ;;
        --keep-packages) keep_packages=$2 ;;
        *) fail "unknown option '$1'" ;;
        esac
        shift 2
    done
    [[ -n $output && -n $agent ]] || fail "--output and --agent are needed"
    matching --suite "$suite" '[a-z][a-z0-9.-]*'
    matching --mirror "$mirror" '|(https?|file)://[A-Za-z0-9._~:/@%+-]+'
    matching --include "$include" '|[a-z0-9][a-z0-9.+,-]*'
    matching --size-mb "$size_mb" '|[1-9][0-9]{0,6}'
    matching --kernel-package "$kernel_package" '|[a-z0-9][a-z0-9.+-]*'
    [[ -x $agent ]] || fail "--agent: '$agent' is not a program"
    agent=$(realpath "$agent")
    agent_version=$("$agent" --version) || fail "--agent: '$agent' does not run here"
    if is_ubuntu; then
        : "${kernel_package:=linux-image-virtual}"
    else
        : "${kernel_package:=linux-image-cloud-amd64}"
    fi
    if is_ubuntu && [[ -z $package_dir && ! -e $ubuntu_keyring ]]; then
        fail "the keys of Ubuntu's archive are missing: put $ubuntu_keyring there, of Ubuntu's package ubuntu-keyring"
    fi
    [[ -z $package_dir ]] || package_dir=$(realpath -e "$package_dir")

    mkdir -p "$output"
    output=$(realpath "$output")
    [[ -z $(ls -A "$output") ]] || fail "--output: '$output' is not empty"
    # Inside the output, so that its owner's removal of that catches everything even if this is killed.
    work=$output/.work
    trap 'clean $?' EXIT
    trap 'exit 143' TERM
    trap 'exit 130' INT
    mkdir "$work" "$work/packages"
}

clean() {
    rm -rf --one-file-system "$work"
    [[ $1 == 0 ]] || rm -f "$output"/{disk.raw,kernel,initramfs,manifest.json}
}

debootstrap_scripts=/usr/share/debootstrap/scripts
ubuntu_keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg

# By the archive's name, or by the suite's: debootstrap has Ubuntu's scripts as links to one of them, and those that
# follow are younger than that of Debian 12.
is_ubuntu() {
    [[ $mirror == *ubuntu* || $suite =~ ^(noble|oracular|plucky|questing|resolute)$ ]] ||
        [[ $(readlink -f "$debootstrap_scripts/$suite") == */gutsy ]]
}

# debootstrap_arguments ROOT PACKAGES: sets `arguments` to what debootstrap makes that root of the suite with.
debootstrap_arguments() {
    local uri=$mirror
    [[ -n $uri ]] ||
        uri=$(sed -n "s/^deb \(\[.*\] \)\?\([^ ]*\) $suite .*/\2/p" "$work/apt/sources.list" | head -n 1)
    arguments=(--variant=minbase --force-check-gpg --include="$2")
    if is_ubuntu; then arguments+=(--keyring="$ubuntu_keyring" "--components=main,universe"); fi
    arguments+=("$suite" "$1" "$uri")
    if [[ ! -e $debootstrap_scripts/$suite ]]; then # a suite younger than this debootstrap
        if is_ubuntu; then arguments+=(gutsy); else arguments+=(sid); fi
    fi
}

# Runs itself with root's rights over its own files only, where it has none: a file then is root's in the image.
enter_user_namespace() {
    [[ $(id -u) != 0 ]] || return 0
    need unshare util-linux
    unshare --user --map-root-user true 2>/dev/null ||
        fail "user namespaces are not allowed here: run this as root"
    exec unshare --user --map-root-user "$0" "$@"
}

# The lines of sources.list for the suite: of --mirror, or else what this machine's apt has, with its updates.
apt_sources() {
    if [[ -n $mirror ]]; then
        if is_ubuntu; then
            echo "deb [signed-by=$ubuntu_keyring] $mirror $suite main universe"
        else
            echo "deb $mirror $suite main"
        fi
        return
    fi
    # shellcheck disable=SC2016  # apt's own format, not the shell's
    apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(COMPONENT) $(SIGNED_BY)' 'Created-By: Packages' 2>/dev/null |
        while read -r codename uri component key; do
            case $codename in
            "$suite" | "$suite-updates" | "$suite-security")
                if [[ $key != /* ]]; then key=; else key="[signed-by=$key] "; fi
                echo "deb $key$uri $codename $component"
                ;;
            esac
        done
}

# apt with an archive and lists of its own, so that it is the suite's that counts and not this machine's.
private_apt() {
    local tool=$1
    shift
    "$tool" -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$work/apt/state" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@"
}

prepare_archive() {
    [[ -z $package_dir ]] || return 0
    need apt-get apt
    mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial}
    : >"$work/apt/status"
    apt_sources >"$work/apt/sources.list"
    [[ -s $work/apt/sources.list ]] || fail "this machine's apt knows no archive of '$suite': give --mirror"
    private_apt apt-get update -qq >"$work/apt/log" 2>&1 || {
        tail -n 5 "$work/apt/log" >&2
        fail "cannot read the archive of '$suite'"
    }
}

# with_dependencies PACKAGE REGEX: it and those that it depends on, directly or not, whose names match.
with_dependencies() {
    if [[ -n $package_dir ]]; then
        local file name
        for file in "$package_dir"/*.deb; do
            name=$(dpkg-deb -f "$file" Package)
            [[ ! $name =~ ^$2$ && $name != "$1" ]] || echo "$name"
        done
        return
    fi
    local queue=("$1") seen=' ' next found
    while [[ ${#queue[@]} -gt 0 ]]; do
        next=${queue[0]} queue=("${queue[@]:1}")
        [[ $seen != *" $next "* ]] || continue
        seen+="$next "
        echo "$next"
        while read -r found; do
            [[ ! $found =~ ^$2$ ]] || queue+=("$found")
        done < <(private_apt apt-cache depends --important "$next" | sed -n 's/^ *Depends: //p')
    done
}

# unpack DIR PACKAGE...: what the packages hold, without their scripts. Tells them in the manifest.
unpack() {
    local directory=$1 package file files
    shift
    need dpkg-deb dpkg
    for package in "$@"; do
        if [[ -n $package_dir ]]; then
            files=("$package_dir/${package}_"*.deb)
        else
            (cd "$work/packages" && private_apt apt-get download -qq "$package" >&2) ||
                fail "cannot get the package '$package' of '$suite'"
            files=("$work/packages/${package}_"*.deb)
        fi
        file=${files[-1]}
        [[ -f $file ]] || fail "no package '$package' in '$package_dir'"
        dpkg-deb -x "$file" "$directory"
        dpkg-deb -f "$file" Package Version | sed 's/^[^ ]*: //' | paste -sd ' ' >>"$work/manifest-packages"
        if [[ -n $keep_packages ]]; then
            mkdir -p "$keep_packages" && cp "$file" "$keep_packages/"
        fi
        [[ -n $package_dir ]] || rm -f "$file"
    done
}

# Unpacks the kernel into $work/kernel and puts the file `kernel` into the output. Sets kernel_release.
unpack_kernel() {
    local packages image
    mapfile -t packages < <(with_dependencies "$kernel_package" 'linux-(image|modules)-[0-9].*')
    [[ ${#packages[@]} -gt 0 ]] || fail "no package '$kernel_package' in '$suite'"
    mkdir "$work/kernel"
    unpack "$work/kernel" "${packages[@]}"
    image=("$work"/kernel/boot/vmlinuz-*)
    [[ -f ${image[0]} ]] || fail "the package '$kernel_package' holds no kernel"
    kernel_release=${image[0]##*/vmlinuz-}
    [[ -d $work/kernel/usr/lib/modules ]] || mkdir -p "$work/kernel/usr/lib"
    [[ ! -d $work/kernel/lib/modules ]] || mv "$work/kernel/lib/modules" "$work/kernel/usr/lib/modules"
    modules=$work/kernel/usr/lib/modules/$kernel_release
    install -m 644 "${image[0]}" "$output/kernel"
}

# Modules for all that a VMM gives a guest, most needed first. What a kernel has built in or lacks is left out; a
# disk that none of them can drive shows itself when the guest starts.
guest_modules=(
    virtio_pci virtio_mmio virtio_blk ext4 crc32c_generic virtio_console vmw_vsock_virtio_transport virtio_net
    virtio-rng virtio_balloon virtio_mem button evdev
    pvpanic-mmio pvpanic-pci
)

module_file() { # the kernel takes - and _ in names for the same
    find "$modules/kernel" -type f -regextype posix-extended -regex ".*/${1//[-_]/[-_]}\.ko(\.xz|\.zst|\.gz)?" | head -n 1
}

# Copies a module and what it depends on into the initramfs, and lists them in the order to load them.
add_module() {
    local file base needed
    file=$(module_file "$1")
    [[ -n $file ]] || return 0
    base=$(basename "$file")
    base=${base%%.ko*}.ko
    [[ ! -e $initramfs/lib/modules/$base ]] || return 0
    mkdir -p "$initramfs/lib/modules"
    case $file in
    *.xz) need xz xz-utils && xz -dc "$file" ;;
    *.zst) need zstd zstd && zstd -qdc "$file" ;;
    *.gz) gzip -dc "$file" ;;
    *) cat "$file" ;;
    esac >"$initramfs/lib/modules/$base"
    # The module's own list of what it needs: no kmod, which a small host may lack.
    for needed in $(tr '\0' '\n' <"$initramfs/lib/modules/$base" | sed -n 's/^depends=//p' | tr ',' ' '); do
        add_module "$needed"
    done
    echo "/lib/modules/$base" >>"$initramfs/etc/minions-agent/modules"
}

# The initramfs: the agent as init, and modules. Not compressed: unpacking costs a small guest more than reading.
make_initramfs() {
    need cpio cpio
    initramfs=$work/initramfs
    mkdir -p "$initramfs"/{dev,proc,sys,run,etc/minions-agent}
    install -m 755 "$agent" "$initramfs/init"
    : >"$initramfs/etc/minions-agent/modules"
    local each
    for each in "${guest_modules[@]}"; do add_module "$each"; done
    find "$initramfs" -exec touch -h -d @0 {} +
    (cd "$initramfs" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0 --reproducible) >"$output/initramfs"
}

# make_disk DIR: an ext4 file system that holds what is there, and can grow while it is mounted.
make_disk() {
    need mke2fs e2fsprogs
    local needed used entries
    used=$(du -s --apparent-size --block-size=1M "$1" | cut -f 1)
    entries=$(find "$1" -printf x | wc -c)
    needed=$((used + used / 5 + entries / 200 + 48))
    : "${size_mb:=$needed}"
    ((size_mb > used)) || fail "--size-mb: $size_mb MiB do not hold the files' $used MiB"
    truncate -s "${size_mb}M" "$output/disk.raw"
    # Growing takes larger transactions than the journal of a small disk would hold. It also reads and writes all that is
    # reserved for it, so that is for 64 GiB: further on the kernel takes up another layout (meta_bg) by itself.
    mke2fs -q -F -t ext4 -b 4096 -m 1 -J size=16 -L root -E resize=16777216,root_owner=0:0,lazy_itable_init=1 -d "$1" \
        "$output/disk.raw"
}

json_list() { # of words
    local separator='' each
    printf '['
    for each in "$@"; do printf '%s"%s"' "$separator" "$each" && separator=', '; done
    printf ']'
}

file_sha256() { sha256sum "$output/$1" | cut -d ' ' -f 1; }

# write_manifest RECIPE COMMAND_LINE: the last thing that a recipe does.
write_manifest() {
    local include_list
    IFS=, read -ra include_list <<<"$include"
    {
        cat <<EOF
{
  "format": 1,
  "recipe": "$1",
  "arguments": {"suite": "$suite", "mirror": "$mirror", "include": $(json_list "${include_list[@]}"),
    "kernel_package": "$kernel_package", "size_mb": $size_mb},
  "created": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
  "agent": "$agent_version",
  "kernel": "$kernel_release",
  "command_line": "$2",
  "files": {
    "disk.raw": "$(file_sha256 disk.raw)",
    "kernel": "$(file_sha256 kernel)",
    "initramfs": "$(file_sha256 initramfs)"
  },
  "packages": [
EOF
        sort -u "$work/manifest-packages" | sed -E 's/^([^ ]+) ([^ ]+)$/    {"name": "\1", "version": "\2"},/; $s/,$//'
        printf '  ]\n}\n'
    } >"$output/manifest.json"
}
