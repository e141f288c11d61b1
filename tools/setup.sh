#!/bin/sh
# Install the Debian packages that are missing; says which and why.  Does nothing when all are there.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
need() { # need PACKAGE REASON TEST...
    package=$1 reason=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        echo "  missing  $package: $reason"
        missing="$missing $package"
    fi
}

has() { command -v "$1"; }

need python3 "runs the tools" has python3
need python3-venv "keeps the test tools apart from the system's" python3 -c "import ensurepip, venv"
need gcc "builds mpy-cross" has gcc
need libc6-dev "builds mpy-cross" test -f /usr/include/stdio.h
need gcc-riscv64-unknown-elf "builds the firmware" has riscv64-unknown-elf-gcc
need patch "applies firmware/patches to MicroPython" has patch
need qemu-system-riscv "runs the firmware" has qemu-system-riscv64
need e2fsprogs "makes ext4 disks" has mkfs.ext4
need dosfstools "makes FAT disks" has mkfs.fat
need mtools "puts files on FAT disks" has mcopy
need fdisk "checks the disks that the tests make" has sfdisk
need gdisk "makes and checks GPT disks in the tests" has sgdisk
need device-tree-compiler "checks device trees in the tests" has dtc
if [ "${1-}" = bench ]; then
    need u-boot-qemu "is what the firmware is measured against" test -d /usr/lib/u-boot/qemu-riscv64_smode
    need opensbi "starts U-Boot and the kernel for comparison" test -d /usr/lib/riscv64-linux-gnu/opensbi
fi
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here; install what these Debian packages hold:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
else
    root=none
fi
[ "$root" = none ] || $root apt-get update -qq
# Debian 12 has QEMU for RISC-V in qemu-system-misc
if ! apt-cache show qemu-system-riscv 2>/dev/null | grep -q '^Filename:'; then
    missing=$(echo "$missing" | sed 's/qemu-system-riscv/qemu-system-misc/')
fi
if [ "$root" = none ]; then
    echo "setup: run this as root, then try again: apt-get install$missing" >&2
    exit 1
fi
echo "  install $missing"
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
