#!/bin/sh
# Installs from Debian's packages what a goal needs and this machine lacks; without anything lacking it does nothing.
#
#   tools/install.sh build|test|model|fuzz|ci|deb|embedded|aarch64|avx512|docs|page|mpi
#
# As root it installs; else with sudo; else it prints the line to type and exits 1.
set -eu

goal=${1:-build}
cc=${CC:-cc}

# One line a need: goals, what looks for it, the Debian package. `needs` reads this table top to bottom.
table='
build,test,ci,deb   compiler             gcc libc6-dev
build,test,fuzz,ci,deb command:make      make
build,test,fuzz,ci,deb command:cmake     cmake
build,test,fuzz,ci,deb command:pkg-config pkg-config
build,test,fuzz,ci,deb library:jansson   libjansson-dev
build,test,fuzz,ci,deb library:libutf8proc libutf8proc-dev
build,test,ci,deb   library:libedit      libedit-dev
build,test,fuzz,ci,deb library:libmicrohttpd libmicrohttpd-dev
ci,deb              command:dpkg-shlibdeps dpkg-dev
ci,deb              command:file         file
test,fuzz,ci        library:cmocka       libcmocka-dev
ci                  command:clang-format clang-format
model,ci            pip                  python3-pip
fuzz,ci             command:clang        clang
fuzz                fuzzer               libclang-rt-14-dev
ci                  command:g++          g++
ci                  command:objdump      binutils
ci                  command:valgrind     valgrind
ci                  command:arduino-builder arduino-builder
test,model,ci,embedded,docs command:python3 python3
docs                command:mkdocs       mkdocs
docs                command:doxygen      doxygen
mpi                 command:mpirun.mpich mpich
mpi                 library:mpich        libmpich-dev
mpi                 command:mpirun.openmpi openmpi-bin
mpi                 library:ompi-c       libopenmpi-dev
ci,page             command:chromium     chromium
ci,page             command:chromedriver chromium-driver
ci,page             selenium             python3-selenium
ci                  python-headers       python3-dev
ci                  numpy                python3-numpy
embedded            command:gcc          gcc libc6-dev
embedded            command:arm-none-eabi-gcc gcc-arm-none-eabi
embedded            command:riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
embedded            command:xtensa-lx106-elf-gcc gcc-xtensa-lx106
embedded,aarch64    cross:aarch64-linux-gnu gcc-aarch64-linux-gnu libc6-dev-arm64-cross
embedded            command:arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
embedded            command:mips-linux-gnu-gcc gcc-mips-linux-gnu libc6-dev-mips-cross
embedded            command:qemu-system-arm qemu-system-arm
embedded            command:qemu-system-riscv32 qemu-system-misc
embedded            command:qemu-mips    qemu-user
aarch64             command:cmake        cmake
aarch64             command:pkg-config   pkg-config
aarch64             command:python3      python3
aarch64             command:qemu-aarch64 qemu-user
aarch64             arm64:jansson        libjansson-dev:arm64
aarch64             arm64:libutf8proc    libutf8proc-dev:arm64
aarch64             arm64:cmocka         libcmocka-dev:arm64
avx512              command:cmake        cmake
avx512              command:pkg-config   pkg-config
avx512              command:python3      python3
avx512              library:jansson      libjansson-dev
avx512              library:libutf8proc  libutf8proc-dev
avx512              library:cmocka       libcmocka-dev
avx512              simde                libsimde-dev
'

has() { # has KIND: whether the need is met
    case $1 in
    compiler)
        command -v "$cc" >/dev/null && echo '#include <stdio.h>' | "$cc" -x c -fsyntax-only - 2>/dev/null ;;
    command:*) command -v "${1#command:}" >/dev/null ;;
    library:*) command -v pkg-config >/dev/null && pkg-config --exists "${1#library:}" ;;
    cross:*) echo 'int main(void) { return 0; }' | "${1#cross:}-gcc" -x c - -o /dev/null 2>/dev/null ;;
    arm64:*) [ -e "/usr/lib/aarch64-linux-gnu/pkgconfig/${1#arm64:}.pc" ] ;;
    simde) echo '#include <simde/x86/avx512.h>' | "$cc" -fsyntax-only -x c - 2>/dev/null ;;
    pip) python3 -m pip --version >/dev/null 2>&1 || python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    python-headers)
        for python in python3 /usr/bin/python3; do
            [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)/Python.h" ] && return 0
        done
        return 1 ;;
    selenium) /usr/bin/python3 -c 'import selenium' 2>/dev/null ;;
    numpy) python3 -c 'import numpy' 2>/dev/null || /usr/bin/python3 -c 'import numpy' 2>/dev/null ;;
    fuzzer)
        command -v clang >/dev/null &&
            [ -n "$(find "$(dirname "$(clang -print-libgcc-file-name -rtlib=compiler-rt)")" -name 'libclang_rt.fuzzer*' 2>/dev/null)" ] ;;
    esac
}

packages=
while read -r goals kind names; do
    case ,$goals, in
    *,"$goal",*) has "$kind" || { packages="$packages $names"; echo "needed: ${kind#*:}, from Debian's package ${names}" >&2; } ;;
    esac
done <<END
$(echo "$table" | sed '/^$/d')
END
[ -n "$packages" ] || exit 0
packages=${packages# }

install="apt-get install -y --no-install-recommends $packages"
by_hand() {
    echo "$1 Please type, as root:" >&2
    echo "    apt-get update && $install" >&2
    exit 1
}
command -v apt-get >/dev/null || by_hand "There is no apt-get here; the names below are Debian's."
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
else
    by_hand "This account may not install packages."
fi

echo "installing: $packages" >&2
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2; }
# Package lists may be absent or old: a dry run tells, and so does a failed download.
if ! apt install -s --no-install-recommends $packages >/dev/null 2>&1; then
    apt update || by_hand "apt-get update failed."
fi
apt install -y --no-install-recommends $packages || { apt update && apt install -y --no-install-recommends $packages; } ||
    by_hand "apt-get failed."

# What was asked for must now be there: a package of another name or version would fail later and say less.
for kind in $(echo "$table" | awk -v goal="$goal" 'NF && ("," $1 ",") ~ ("," goal ",") { print $2 }'); do
    has "$kind" || { echo "$0: ${kind#*:} is still missing after the installation" >&2; exit 1; }
done
