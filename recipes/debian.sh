#!/usr/bin/env bash
# A Debian or Ubuntu guest with systemd, from debootstrap; the agent is a service. Needs root, as debootstrap does. See
# lib.sh for the options.
# shellcheck source=recipes/lib.sh
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
source "$here/lib.sh"
recipe_steps=6
wanted=systemd-sysv,udev,kmod,dbus,procps,iproute2,iputils-ping,ca-certificates

[[ $(id -u) == 0 ]] || fail "debootstrap needs root: run this as root"
parse_options "$@"
need debootstrap debootstrap
need unshare util-linux
root=$work/root

progress "reading the archive"
prepare_archive

progress "unpacking the kernel"
unpack_kernel

progress "installing $suite"
debootstrap_arguments "$root" "$wanted${include:+,$include}"
# A mount namespace of its own: whatever debootstrap mounts goes with it, also when it fails.
unshare --mount -- debootstrap "${arguments[@]}" 2>&1 |
    while read -r line; do
        echo "$line" >>"$work/debootstrap"
        case $line in
        "I: "*) echo "progress $((steps_done - 1)) $recipe_steps $suite: ${line#I: }" ;;
        esac
    done || {
    tail -n 5 "$work/debootstrap" >&2
    [[ ! -f $root/debootstrap/debootstrap.log ]] || tail -n 5 "$root/debootstrap/debootstrap.log" >&2
    fail "debootstrap of '$suite' failed"
}

progress "setting the guest up"
dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version}\n' >>"$work/manifest-packages"
mkdir -p "$root/usr/lib/modules"
cp -a "$modules" "$root/usr/lib/modules/"
chroot "$root" depmod "$kernel_release"
install -m 755 "$agent" "$root/usr/sbin/minions-agent"
install -m 644 "$here/minions-agent.service" "$root/etc/systemd/system/minions-agent.service"
chroot "$root" systemctl --quiet enable minions-agent.service
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service; do
    chroot "$root" systemctl --quiet mask "$unit" # they wake a machine that may live for a minute
done
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nSystemMaxUse=32M\nRuntimeMaxUse=16M\n' >"$root/etc/systemd/journald.conf.d/minions.conf"
echo '/dev/vda / ext4 defaults 0 0' >"$root/etc/fstab"
echo "$suite" >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf" # in Ubuntu a link to a service that is not there; the agent writes it
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id" # each machine makes its own
if [[ -s $work/apt/sources.list ]]; then
    sed 's/^deb \[[^]]*\] /deb /' "$work/apt/sources.list" >"$root/etc/apt/sources.list"
fi
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log \
    "$root"/var/log/apt/* "$root"/debootstrap "$root"/usr/share/{man,info,locale}/*
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/dev" "$root/proc" "$root/sys" "$root/run" -mindepth 1 -delete

progress "making the initramfs"
make_initramfs

progress "making the disk"
make_disk "$root"
write_manifest debian "root=/dev/vda rootfstype=ext4 rw minions.init=/sbin/init quiet panic=-1"
progress "done"
