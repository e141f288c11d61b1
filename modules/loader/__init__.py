"""Start a kernel or another program: the words that a boot script uses.

p = loader.plan("/boot/Image", "/boot/initrd.img", "console=ttyS0", volume=v)
p                   shows what goes where
p.boot()            reads it and leaves
loader.linux(...)   both at once
loader.sysboot(v)   as the volume's extlinux.conf says
loader.autoboot()   what happens at power-on
"""


def plan(kernel, initrd=None, append=None, fdt=None, volume=None, mode=None):
    """Find the files, read their headers, place them: a Plan; nothing is loaded yet.

    kernel, initrd, fdt: paths on volume (fs.volume()), or in the mounted file system without one;
    or bytes-like.  initrd may be a list.  append: the command line; None keeps what the devicetree
    says.  fdt: a devicetree blob to use instead of the machine's.  mode: 'S' through OpenSBI or 'M'
    directly; by default an ELF is entered in M-mode and a RISC-V Image in S-mode.
    OSError: ENOENT, EIO, ENOMEM (does not fit).  ValueError: not an image, or an overlap.
    """
    from . import load, source

    sources = [source.find(kernel, volume, "kernel"), source.find(initrd, volume, "initrd")]
    if sources[0] is None:
        raise ValueError("kernel: none given")
    return load.Plan(sources[0], sources[1], append, source.find(fdt, volume, "fdt"), mode)


def linux(kernel, initrd=None, append=None, fdt=None, volume=None, mode=None, dry_run=False):
    """plan() and boot(); with dry_run show the plan and return it."""
    made = plan(kernel, initrd, append, fdt, volume, mode)
    if dry_run:
        print(made)
        return made
    made.boot()


def sysboot(volume, path=None, label=None, dry_run=False):
    """Boot as an extlinux.conf on a volume says.

    path: of the file; by default /extlinux/extlinux.conf, then /boot/extlinux/extlinux.conf.  label:
    name or number; by default the menu, if the file asks for one.  Returns None when a key stopped
    it.  dry_run: show the plan and return it.  OSError ENOENT: no such file, label, kernel, ...
    """
    from . import boot_label

    return boot_label.sysboot(volume, path, label, dry_run)


def disk(which=0):
    """A disk by name ('blk0', 'scsi0:1:0') or number among the disks, opened if it is not yet."""
    from . import policy

    return policy.disk(which)


def volume(which=0, part=None):
    """The volume on a disk's partition; without a number that of the first likely one.

    which: as disk() takes it, a disk, or a shared folder by name ('9p0') or tag ('9p kernels').
    OSError: ENODEV and what fs.volume() raises.
    """
    import fs

    from . import policy

    if isinstance(which, str) and which.startswith("9p"):
        from virtio.cmd import share

        return share(which[2:].strip() or "0")
    device = policy.disk(which) if isinstance(which, (int, str)) else which
    return fs.volume(policy.partitions(device)[0] if part is None else fs.table(device)[part])


def autoboot():
    """What happens at power-on. Returns when nothing was started, or when a key stopped it."""
    from . import auto

    return auto.autoboot()


def help():
    """Print the words of this module."""
    print("loader.plan(kernel, initrd, append, fdt, volume)   a plan: p, p.load(), p.boot()")
    print("loader.linux(kernel, initrd, append, ...)          plan and boot; dry_run=True only shows")
    print("loader.sysboot(volume, label=)                     as its extlinux.conf says")
    print("loader.autoboot()                                  as at power-on")
    print("loader.volume(disk, part)                          a volume to take files from")
