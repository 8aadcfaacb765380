#!/usr/bin/env bash
# The smallest guest: a kernel, busybox, and the agent as init. See lib.sh for the options.
# shellcheck source=recipes/lib.sh
source "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/lib.sh"
recipe_steps=5

enter_user_namespace "$@"
parse_options "$@"

progress "reading the archive"
prepare_archive

progress "unpacking the kernel"
unpack_kernel

progress "unpacking busybox"
root=$work/root
mkdir -p "$root"
IFS=, read -ra further <<<"$include"
unpack "$root" busybox-static "${further[@]}"
rm -rf "${root:?}"/usr/share/{doc,man,info,locale}
# The layout of today's systems: one directory of programs.
mkdir -p "$root"/usr/{bin,sbin,lib} "$root"/{etc,root,home,tmp,var/log,var/tmp,dev,proc,sys,run,mnt}
for each in bin sbin lib; do
    if [[ -d $root/$each && ! -L $root/$each ]]; then
        cp -a "$root/$each/." "$root/usr/$each/" && rm -rf "${root:?}/$each"
    fi
    ln -s "usr/$each" "$root/$each"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
for applet in $("$root/usr/bin/busybox" --list); do
    [[ -e $root/usr/bin/$applet || -L $root/usr/bin/$applet ]] || ln -s busybox "$root/usr/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >>"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1\tlocalhost\n' >"$root/etc/hosts"
echo minimal >"$root/etc/hostname"
printf 'ID=minions-minimal\nNAME="minions minimal guest"\nPRETTY_NAME="minions minimal guest"\n' >"$root/etc/os-release"

progress "making the initramfs"
make_initramfs

progress "making the disk"
make_disk "$root"
write_manifest minimal "root=/dev/vda rootfstype=ext4 rw quiet panic=-1"
progress "done"
