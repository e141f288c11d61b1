"""U-Boot's file commands: ls, load, size, fstype, fsinfo on 'virtio 0:1', 'scsi 0:1', '9p 0'; the same output."""

import errno
import time

import fs
from fs.base import S_IFDIR, S_IFLNK


def device(where):
    """The partition or disk that a text as in U-Boot means; an object goes through as it is.

    'virtio 0:2' is partition 2 (hexadecimal as in U-Boot) of disk 0, 'virtio 0:0' the whole disk,
    'virtio 0#name' the partition of that label, 'virtio 0' partition 1 or the first that holds a
    file system, and the whole disk when there is no table.  OSError: ENODEV.
    """
    if not isinstance(where, str):
        return where
    words = where.split()
    if not words or words[0] not in ("virtio", "scsi") or len(words) > 2:
        raise ValueError("'virtio 0:1' and the like, not %r" % where)
    from virtio.cmd import disk, scsi_disk

    place = words[1] if len(words) == 2 else "0"
    label = place.split("#", 1)[1] if "#" in place else None
    number, colon, part = place.split("#")[0].partition(":")
    found = (disk if words[0] == "virtio" else scsi_disk)(_number(number, where))
    table = fs.table(found)
    if label is not None:
        return table.find(label=label)
    if colon and part != "auto":
        index = _number(part, where)
        return table.find(number=index) if index else found
    if table.scheme == "none":
        return found
    return _default(table, part == "auto", where)


def _number(digits, where):
    try:
        return int(digits, 16)
    except ValueError:
        raise ValueError("bad device specification %r" % where)


def _default(table, auto, where):
    first = [part for part in table if (part.bootable if auto else part.number == 1)]
    for part in first + list(table):
        if fs.probe(part):
            return part
    raise OSError(errno.ENODEV, "%s: no partition holds a file system" % where)


def _volume(where):
    if isinstance(where, str) and where.startswith("9p"):
        from virtio.cmd import share

        return share(where[2:].strip() or "0")
    return fs.volume(device(where))


def _words(args):
    """('virtio', '0:1', ...) means the same as ('virtio 0:1', ...)."""
    if len(args) > 1 and args[0] in ("virtio", "scsi", "9p") and isinstance(args[1], str) and args[1][:1].isdigit():
        return (args[0] + " " + args[1],) + args[2:]
    return args


def ls(*args):
    """Print a directory: ls('virtio 0:1', '/boot')."""
    _ls(*_words(args))


def _ls(where, path="/"):
    volume = _volume(where)
    if volume.type == "fat":
        return _ls_fat(volume, path)
    entries = volume.ilistdir(path)
    if volume.type == "9p":
        entries = [(e[0], e[1], 0, volume.lstat(path + "/" + e[0])[6]) for e in entries]
    rows = [(name, S_IFDIR, 0, volume.stat(path + "/" + name)[6]) for name in (".", "..")]
    for name, kind, _, size in rows + list(entries):
        mark = "<DIR>" if kind == S_IFDIR else "<SYM>" if kind == S_IFLNK else "     "
        print("%s %10d %s" % (mark, size, name))


def _ls_fat(volume, path):
    dirs = files = 0
    dots = [(name, S_IFDIR, 0, 0) for name in (".", "..")] if path.strip("/") else []
    for name, kind, _, size in dots + list(volume.ilistdir(path)):
        if kind == S_IFDIR:
            dirs += 1
            print("            %s/" % name)
        else:
            files += 1
            print(" %8d   %s" % (size, name))
    print("\n%d file(s), %d dir(s)\n" % (files, dirs))


def load(*args):
    """Read a file to an address or into a buffer: load('virtio 0:1', 0x84000000, '/boot/linux').

    Two numbers may follow: how many bytes at most (0: all) and the offset of the first.
    Returns the number of bytes read.  ValueError: the address is not free RAM.
    """
    return _load(*_words(args))


def _load(where, addr, path, most=0, offset=0):
    from virtio.cmd import memory

    start = time.ticks_ms()
    volume = _volume(where)
    size = max(0, volume.size(path) - offset)
    size = min(size, most) if most else size
    if size:
        volume.read_into(path, memory(addr, size), offset)
    ms = time.ticks_diff(time.ticks_ms(), start)
    rate = " (%s/s)" % _human(size * 1000 // ms) if ms and size else ""
    print("%d bytes read in %d ms%s" % (size, ms, rate))
    return size


def _human(size):
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> shift:
            tenths = (size * 10 + (1 << shift - 1)) >> shift
            if tenths % 10:
                return "%d.%d %s" % (tenths // 10, tenths % 10, unit)
            return "%d %s" % (tenths // 10, unit)
    return "%d Bytes" % size


def size(*args):
    """The size of a file: size('virtio 0:1', '/boot/linux')."""
    where, path = _words(args)
    return _volume(where).size(path)


def fstype(*args):
    """What file system there is: fstype('virtio 0:1')."""
    where = _words(args)[0]
    if isinstance(where, str) and where.startswith("9p"):
        return _volume(where).type
    found = fs.probe(device(where))
    if found is None:
        raise OSError(errno.ENODEV, "%s: no file system that is known here" % (args[0],))
    return found


def fsinfo(*args):
    """Print type, label, UUID and space of a file system: fsinfo('virtio 0:1')."""
    volume = _volume(_words(args)[0])
    kind = "FAT%d" % volume.bits if volume.type == "fat" else volume.type
    found = volume.statvfs("/")
    print('Filesystem: %s "%s"' % (kind, volume.label))
    print("UUID:       " + volume.uuid)
    used = (found[2] - found[3]) * found[0]
    print("Size:       %s, %s used" % (_human(found[2] * found[0]), _human(used)))
    if volume.note:
        print("Note:       " + volume.note)
