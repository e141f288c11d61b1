"""Leave MicroPython: the devicetree for the next program, and the jump. Nothing else leaves."""

from micropython import const

OPENSBI_ALIGN = const(0x80000)
OPENSBI_SIZE = const(0x80000)  # what it takes at run time, with its heap and stacks
PAGE = const(4096)  # of the trampoline
FDT_ROOM = const(0x4000)  # OpenSBI adds reserved-memory nodes
_SEED_SIZE = const(32)


def build_fdt(base, bootargs, initrd, page):
    """The next program's devicetree as a bytearray, with room to grow.

    base: an FDT; all of it is kept but these properties of /chosen: bootargs (None: as it is),
    linux,initrd-start and -end (initrd: (start, end) or None), rng-seed (fresh).  page: of the
    trampoline, reserved because a late hart may still run there.
    """
    from os import urandom

    from fdt.edit import u64
    from fdt.rewrite import rewrite

    if base.chosen is None:
        from fdt.edit import Editor

        edit = Editor(base)
        edit.add("/chosen")
        base = edit.fdt
    values = {"rng-seed": urandom(_SEED_SIZE)}
    if bootargs is not None:
        values["bootargs"] = bootargs
    if initrd:
        values["linux,initrd-start"] = u64(initrd[0])
        values["linux,initrd-end"] = u64(initrd[1])
    drop = ("linux,initrd-start", "linux,initrd-end")
    return rewrite(base, base.chosen, values, drop, ((page, PAGE),), FDT_ROOM)


def jump(page, entry, fdt, next_addr, moves):
    """Stop every device and go; does not return. OSError: a hart is missing."""
    import riscv

    riscv.handoff(page, entry, fdt, next_addr, moves)
