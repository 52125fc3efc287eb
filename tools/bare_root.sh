#!/bin/sh
# Tries the README's two commands where nothing is installed: a Debian 12 root with make, gcc and python3 only.
#
#   tools/bare_root.sh FOLDER [COMMAND...]       default: make test, make demo, make demo again
#
# Needs root, mmdebstrap and git. The root takes this machine's way to Debian's packages and to PyPI (apt sources, apt and
# pip settings, certificates). FOLDER/root.tar is kept for the next trial; the clone is of HEAD, not of the working tree.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
[ -e "$folder/root.tar" ] ||
    mmdebstrap --variant=minbase --include=make,gcc,python3,ca-certificates bookworm "$folder/root.tar"
root=$folder/root
[ ! -e "$root" ] || rm -rf --one-file-system "$root"
mkdir "$root"
tar -C "$root" -xf "$folder/root.tar"

copy() { # a file or folder of this machine, if there is one, to the same place in the root
    for path in "$@"; do
        [ -e "$path" ] || continue
        mkdir -p "$root$(dirname "$path")"
        cp -rLT "$path" "$root$path"
    done
}
copy /etc/resolv.conf /etc/hosts /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" \
    /etc/ssl/certs/ca-certificates.crt
for part in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
    case $part in *docker*) ;; *) copy "$part" ;; esac
done
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
copy /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources

git clone -q "$here" "$root/fovea"
cat >"$root/trial.sh" <<'END'
cd /fovea
if [ $# -gt 0 ]; then exec "$@"; fi
for goal in test demo demo; do
    echo "=== make $goal"
    start=$(date +%s)
    make $goal
    echo "=== make $goal: $(($(date +%s) - start)) s"
done
END
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
trap 'umount "$root/proc" "$root/dev/pts" "$root/dev"' EXIT INT TERM
env -u CC -u CXX PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot "$root" sh -e /trial.sh "$@"
