"""The words of U-Boot's virtio command: scan, info, device, part, read, write; the same output."""

import errno

from micropython import const

from . import discover

_SCSI = const(8)
_P9 = const(9)

_current = 0


def disk(number):
    """The block device of that number, opened.  OSError: ENODEV."""
    try:
        found = discover.find("blk%d" % number)
    except OSError:
        raise OSError(errno.ENODEV, "virtio device %d not available" % number)
    return found if found.is_open else found.open()


def scsi_units():
    """The disks and CD-ROMs of all SCSI adapters, which are opened, in order."""
    found = []
    for slot in discover.slots():
        if slot[0].device_id == _SCSI:
            adapter = discover.device(slot)
            adapter = adapter if adapter.is_open else adapter.open()
            found.extend([unit for unit in adapter.units if unit.kind in ("disk", "cdrom", "optical")])
    return found


def scsi_disk(which):
    """A SCSI disk by number, in the order of scsi_units(), or by name: 'scsi0:2:0'.  OSError: ENODEV."""
    for number, unit in enumerate(scsi_units()):
        if which == number or which == unit.name:
            return unit
    raise OSError(errno.ENODEV, "no SCSI disk %s" % which)


def _disks():
    return len([1 for slot in discover.slots() if slot[1].startswith("blk")])


def share(which):
    """The volume of a shared folder, by number or by the tag that it was given.  OSError: ENODEV."""
    if which.isdigit():
        found = discover.find("9p" + which)
        return (found if found.is_open else found.open()).vfs()
    for slot in discover.slots():
        if slot[0].device_id == _P9:
            found = discover.device(slot)
            if (found if found.is_open else found.open()).tag == which:
                return found.vfs()
    raise OSError(errno.ENODEV, "no shared folder with the tag %r" % which)


def memory(addr, size):
    """size bytes of memory to read to or write from: an address, which must be free RAM, or a buffer."""
    if not isinstance(addr, int):
        view = memoryview(addr)
        if len(view) < size:
            raise ValueError("%d bytes for a buffer of %d" % (size, len(view)))
        return view[:size]
    import riscv
    from uctypes import bytearray_at

    if not any([start <= addr and addr + size <= end for start, end in riscv.ram()]):
        raise ValueError("0x%x+0x%x is not in RAM" % (addr, size))
    for start, end, name in riscv.regions():
        if addr < end and start < addr + size:
            raise ValueError("0x%x+0x%x is in use: %s" % (addr, size, name))
    return memoryview(bytearray_at(addr, size))


def _describe(found):
    """The three lines about a disk; sizes are cut, not rounded, to a tenth."""
    blocks = found.ioctl(4, 0)
    mib = blocks * found.block_size * 10 >> 20
    gib = mib // 1024
    print("QEMU VirtIO Block Device")
    print("            Type: Hard Disk")
    print(
        "            Capacity: %d.%d MB = %d.%d GB (%d x %d)"
        % (mib // 10, mib % 10, gib // 10, gib % 10, blocks, found.block_size)
    )


def scan():
    """Look for devices again."""
    discover.scan()


def info():
    """Print number, type and capacity of every disk."""
    for number in range(_disks()):
        print("Device %d: " % number, end="")
        _describe(disk(number))


def device(number=None):
    """Print the current disk, or make another one current."""
    global _current
    if number is None and not _disks():
        print("\nno virtio devices available")
        return
    shown = _current if number is None else number
    print("\nDevice %d: " % shown, end="")
    if not 0 <= shown < _disks():
        print("unknown device")
        return
    _describe(disk(shown))
    if number is not None:
        _current = number
        print("... is now current device")


def part(number=None):
    """Print the partitions of one disk, or of all."""
    if number is None and not _disks():
        print("\nno virtio partition table available")
    for n in range(_disks()) if number is None else (number,):
        _part_list(n)


def _part_list(number):
    from fs.part import table

    found = table(disk(number))
    if found.scheme == "none":
        print("## Unknown partition table type 0")
        return
    kind = "EFI" if found.scheme == "gpt" else "DOS"
    print("\nPartition Map for VirtIO device %d  --   Partition Type: %s\n" % (number, kind))
    if found.scheme == "gpt":
        _gpt_list(found)
    else:
        _mbr_list(found)
    if found.damaged:
        print("Damaged: " + found.damaged)
    print()


def _gpt_list(found):
    print("Part\tStart LBA\tEnd LBA\t\tName\n\tAttributes\n\tType GUID\n\tPartition GUID")
    for p in found:
        print('%3d\t0x%08x\t0x%08x\t"%s"' % (p.number, p.start, p.start + p.count - 1, p.label))
        print("\tattrs:\t0x%016x\n\ttype:\t%s\n\tguid:\t%s" % (p.attributes, p.type, p.uuid))


def _mbr_list(found):
    print("Part\tStart Sector\tNum Sectors\tUUID\t\tType")
    rows = [(p.number, p.start, p.count, p.type, " Boot" if p.bootable else "") for p in found]
    if found.extended:
        number, start, count, kind = found.extended
        rows.append((number, start, count, "%02x" % kind, " Extd"))
    for number, start, count, kind, more in sorted(rows):
        print("%3d\t%-10d\t%-10d\t%s-%02x\t%s%s" % (number, start, count, found.uuid, number, kind, more))


def read(addr, block, count):
    """Read blocks of the current disk to an address or into a buffer."""
    _transfer("read", addr, block, count)


def write(addr, block, count):
    """Write blocks of the current disk from an address or a buffer."""
    _transfer("write", addr, block, count)


def _transfer(what, addr, block, count):
    found = disk(_current)
    view = memory(addr, count * found.block_size)
    done = "read" if what == "read" else "written"
    print("\nvirtio %s: device %d block # %d, count %d ... " % (what, _current, block, count), end="")
    try:
        if what == "read":
            found.readblocks(block, view)
        else:
            found.writeblocks(block, view)
    except (OSError, ValueError):
        print("0 blocks %s: ERROR" % done)
        raise
    print("%d blocks %s: OK" % (count, done))
