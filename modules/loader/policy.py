"""What to start without being told: the start script or kernel given to QEMU, then what is on the disks."""

import errno

from micropython import const

from . import source

SCRIPT = "opt/org.micropython/boot.py"
AUTOBOOT = "opt/org.micropython/autoboot"

CONFIGS = ("/extlinux/extlinux.conf", "/boot/extlinux/extlinux.conf")
SCRIPTS = ("/boot.py", "/main.py")
_FILES = SCRIPTS[:1] + CONFIGS + SCRIPTS[1:]
_ESP = ("esp", "efi", "EFI System", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ef")
_ENOTDIR = const(20)
_SCRIPT_MAX = const(0x40000)
_SCRIPT_STEP = const(4096)

root = None  # the partition that was mounted as / to run its boot.py
in_script = False  # whether what goes wrong may be a start script's fault


def run_script(text, name):
    """Run a start script as the main module. Its exceptions come out of here."""
    import __main__

    global in_script
    in_script = True
    exec(compile(text, name, "exec"), __main__.__dict__)


def wanted():
    """Whether the machine may start something by itself: a reason why not, or None."""
    import fwcfg

    try:
        device = fwcfg.device()
    except OSError:
        return None
    if AUTOBOOT in fwcfg.files():
        if fwcfg.read(AUTOBOOT).strip(b" \0\r\n") in (b"0", b"no", b"off"):
            return "fw_cfg file %s says so" % AUTOBOOT
    elif device.read_item(fwcfg.BOOT_MENU, 2) == b"\1\0":
        return "QEMU's -boot menu=on says so"
    return None


def given_script():
    """(text, name) of the start script given to QEMU by -fw_cfg, or None."""
    import fwcfg

    if SCRIPT in fwcfg.files():
        return fwcfg.read(SCRIPT), "fw_cfg:" + SCRIPT
    return None


def given_kernel():
    """(kernel, initrd, append) given to QEMU by -kernel, -initrd and -append, as Sources; or None."""
    import fwcfg

    try:
        device = fwcfg.device()
        size = device.u32(fwcfg.KERNEL_SIZE)
    except OSError:
        size = 0
    if not size:
        return _kernel_in_memory()
    kernel = source.FwCfgItem(fwcfg.KERNEL_DATA, size, "-kernel")
    initrd = None
    if device.u32(fwcfg.INITRD_SIZE):
        initrd = source.FwCfgItem(fwcfg.INITRD_DATA, device.u32(fwcfg.INITRD_SIZE), "-initrd")
    append = device.read_item(fwcfg.CMDLINE_DATA, device.u32(fwcfg.CMDLINE_SIZE))
    return kernel, initrd, append.split(b"\0")[0].decode()


def _kernel_in_memory():
    # QEMU put them into RAM: the kernel where fw_dynamic_info says, the rest as /chosen says.
    import fdt
    import riscv
    from uctypes import bytearray_at
    from struct import unpack

    info = riscv.entry()[2]
    if not info or info & 7:
        return None
    magic, _, addr = unpack("<QQQ", bytearray_at(info, 24))
    if magic != 0x4942534F or not addr:
        return None
    for start, end in riscv.ram():
        if start <= addr < end:
            break
    else:
        return None
    kernel = source.InMemory(addr, end - addr, "-kernel")
    chosen = fdt.system().chosen
    initrd = None
    if chosen and "linux,initrd-start" in chosen:
        start = chosen.u64("linux,initrd-start")
        initrd = source.InMemory(start, chosen.u64("linux,initrd-end") - start, "-initrd")
    return kernel, initrd, chosen.string("bootargs") if chosen and "bootargs" in chosen else ""


def script_in(kernel):
    """The text of a start script that was given in a kernel's place (it begins with #), or None."""
    if kernel.head(1) != b"#":
        return None
    text = b""
    while len(text) < _SCRIPT_MAX:
        piece = bytearray(min(_SCRIPT_STEP, kernel.size - len(text)))
        kernel.read_into(piece, len(text))
        end = piece.find(b"\0")
        text += piece if end < 0 else piece[:end]
        if end >= 0 or not piece:
            break
    return text.decode()


def disk(which):
    """A disk by name ('blk0', 'scsi0:2:0') or number among virtio's, opened if it is not. OSError ENODEV."""
    import virtio
    from virtio import discover

    if isinstance(which, str) and which.startswith("scsi"):
        from virtio.cmd import scsi_disk

        return scsi_disk(which)
    name = "blk%d" % which if isinstance(which, int) else which
    try:
        return virtio.open(name)
    except OSError as e:
        if e.errno != errno.EALREADY:
            raise
        return discover.find(name)


def disks(looked):
    """Each disk as (name, device): virtio's, then those of SCSI adapters (a generator).

    In the order of QEMU's -device options. What is wrong with one that cannot be opened is appended
    to looked.
    """
    number = 0
    while True:
        name = "blk%d" % number
        try:
            yield name, disk(name)
        except OSError as e:
            if e.errno == errno.ENODEV:
                break
            looked.append("%s: %s" % (name, _why(e)))
        number += 1
    try:
        from virtio.cmd import scsi_units

        for unit in scsi_units():
            yield unit.name, unit
    except OSError as e:
        looked.append("scsi: %s" % _why(e))


def shares(looked):
    """Each shared folder (9p) as (name, volume), in the order of QEMU's -device options (a generator)."""
    import virtio
    from virtio import discover

    for name in [slot[1] for slot in discover.slots() if slot[1].startswith("9p")]:
        try:
            found = discover.find(name)
            yield name, (found if found.is_open else virtio.open(name)).vfs()
        except OSError as e:
            looked.append("%s: %s" % (name, _why(e)))


def partitions(device):
    """The partitions to look at, the likely ones first; the disk itself when it has none."""
    import fs

    table = fs.table(device)
    if table.damaged:
        print("%s: %s" % (device.name, table.damaged))
    if table.scheme == "none":
        return [device]
    parts = list(table)
    return sorted(parts, key=lambda part: 0 if part.bootable else 1 if part.type in _ESP else 2)


def exists(volume, path):
    """Whether a volume has a regular file of that name."""
    try:
        volume.size(path)
        return True
    except OSError as e:
        if e.errno in (errno.ENOENT, _ENOTDIR, errno.EISDIR, errno.EINVAL):
            return False
        raise


def find_boot():
    """The first start script or configuration on a disk or shared folder, and what was looked at before.

    Returns ((part, volume, path, where) or None, list of text).  Faulty disks are passed over.
    """
    import fs

    looked = []
    for where, part in _places(looked):
        try:
            volume = fs.volume(part)
            for path in _FILES:
                if exists(volume, path):
                    return (part, volume, path, where), looked
            looked.append("%s: no %s" % (where, " or ".join(_FILES)))
        except (OSError, ValueError) as e:
            looked.append("%s: %s" % (where, _why(e)))
    return None, looked or ["no virtio disk"]


def _places(looked):
    """(name, partition, disk or shared folder), one after the other."""
    for name, device in disks(looked):
        try:
            parts = partitions(device)
        except (OSError, ValueError) as e:
            looked.append("%s: %s" % (name, _why(e)))
            continue
        for part in parts:
            yield (name if part is device else "%s:%d" % (name, part.number)), part
    yield from shares(looked)


def _why(e):
    return e.args[-1] if e.args and isinstance(e.args[-1], str) else repr(e)
