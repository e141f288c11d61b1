// SPDX-License-Identifier: MIT
// The text that help() prints.
#include "py/builtin.h"

const char main_help_text[] =
    "MicroPython as firmware of QEMU's RISC-V virt machine.\n"
    "\n"
    "Devices and disks:\n"
    "  import virtio; virtio.devices()   what is there; help(virtio) for more\n"
    "  import fdt; fdt.tree()            the device tree\n"
    "Starting a system:\n"
    "  import loader; help(loader)       read a kernel and jump to it\n"
    "The machine:\n"
    "  riscv     csr_read, fence, regions, ram, irq, ...\n"
    "  machine   mem8 .. mem64, reset, poweroff(code)\n"
    "Keys:\n"
    "  Ctrl-A    raw REPL            Ctrl-B    normal REPL\n"
    "  Ctrl-C    interrupt           Ctrl-D    soft reset (on an empty line)\n"
    "  Ctrl-E    paste mode\n"
    "\n"
    "help(obj) describes an object, help('modules') lists the modules.\n";
