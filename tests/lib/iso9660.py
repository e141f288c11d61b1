"""ISO 9660 images made from scratch: plain, with Rock Ridge, with Joliet."""

import struct
from pathlib import Path

SECTOR = 2048


def both(value):
    """A 32-bit number in both byte orders."""
    return struct.pack("<I", value) + struct.pack(">I", value)


def both16(value):
    return struct.pack("<H", value) + struct.pack(">H", value)


def _record(name, block, size, directory, use=b"", flags=0):
    pad = b"" if len(name) % 2 else b"\0"
    n = 33 + len(name) + len(pad) + len(use)
    n += n % 2
    when = bytes((126, 3, 4, 5, 6, 7, 8))  # 2026-03-04 05:06:07 +02:00
    raw = bytes([n, 0]) + both(block) + both(size) + when + bytes([(2 if directory else 0) | flags, 0, 0]) + both16(1)
    return (raw + bytes([len(name)]) + name + pad + use).ljust(n, b"\0")


def _nm(name):
    raw = name.encode()
    return b"NM" + bytes([5 + len(raw), 1, 0]) + raw


def _px(mode, links=1):
    return b"PX" + bytes([36, 1]) + both(mode) + both(links) + both(0) + both(0)


def _sl(target):
    parts = b""
    for i, part in enumerate(target.split("/")):
        if not part and i == 0:
            parts += b"\x08\0"
        elif part in (".", ".."):
            parts += bytes([2 if part == "." else 4, 0])
        else:
            parts += bytes([0, len(part)]) + part.encode()
    return b"SL" + bytes([5 + len(parts), 1, 0]) + parts


class _Image:
    def __init__(self, kind):
        self.kind = kind
        self.blocks = [bytes(SECTOR)] * 20  # descriptors come last

    def put(self, data):
        """Where the data went: (block, bytes)."""
        at = len(self.blocks)
        padded = data.ljust((len(data) + SECTOR - 1) // SECTOR * SECTOR, b"\0")
        self.blocks += [padded[i : i + SECTOR] for i in range(0, len(padded), SECTOR)]
        return at, len(data)

    def name(self, name, directory):
        if self.kind == "joliet":
            return name.encode("utf-16-be") if directory else (name + ";1").encode("utf-16-be")
        plain = name.upper().replace("-", "_")
        return (plain if directory else plain + ";1").encode("ascii", "replace")

    def folder(self, tree, parent=None):
        """Write a folder and all below; (block, bytes). Its size is known before its block is."""
        records = []
        entries = {}
        for name, what in tree.items():
            entries[name] = what if isinstance(what, (dict, str)) else self.put(what)
        here = len(self.blocks)
        size = self._size(tree)
        self.blocks += [bytes(SECTOR)] * (size // SECTOR)
        use = b"SP\x07\x01\xbe\xef\0" + _px(0o040755) if self.kind == "rock" and parent is None else b""
        records.append(_record(b"\0", here, size, True, use))
        records.append(_record(b"\1", *(parent or (here, size)), True))
        for name, what in entries.items():
            records.append(self._entry(name, what, (here, size)))
        self._fill(here, size, records)
        return here, size

    def _entry(self, name, what, here):
        directory = isinstance(what, dict)
        use = b""
        if isinstance(what, str):
            use = _px(0o120777) + _nm(name) + _sl(what)
            what = (0, 0)
        elif self.kind == "rock":
            use = _px(0o040755 if directory else 0o100640) + _nm(name)
        block, size = self.folder(what, here) if directory else what
        return _record(self.name(name, directory), block, size, directory, use)

    def _size(self, tree):
        return max(1, (len(tree) + 2 + 5) // 6) * SECTOR  # records have at most 255 bytes

    def _fill(self, here, size, records):
        sectors = [b""]
        for record in records:
            if len(sectors[-1]) + len(record) > SECTOR:
                sectors.append(b"")
            sectors[-1] += record
        assert len(sectors) <= size // SECTOR
        for i, data in enumerate(sectors):
            self.blocks[here + i] = data.ljust(SECTOR, b"\0")


def _descriptor(kind, root, total, label, joliet):
    raw = bytearray(SECTOR)
    raw[0:7] = bytes([kind]) + b"CD001\x01"
    raw[40:72] = (label.encode("utf-16-be") if joliet else label.encode()).ljust(32, b"\0" if joliet else b" ")
    raw[80:88] = both(total)
    if joliet:
        raw[88:91] = b"%/E"
    raw[120:124] = raw[124:128] = both16(1)
    raw[128:132] = both16(SECTOR)
    raw[156:190] = _record(b"\0", *root, True)
    raw[813:829] = b"2026030405060700"
    return bytes(raw)


def make(path, tree, kind="rock", label="DISC"):
    """An image; kind: 'plain', 'rock' or 'joliet'. tree: name -> bytes, a tree, or a link's target (rock)."""
    image = _Image("plain" if kind == "joliet" else kind)
    root = image.folder(tree)
    descriptors = [(1, root, False)]
    if kind == "joliet":
        image.kind = "joliet"
        descriptors.append((2, image.folder(tree), True))
    total = len(image.blocks)
    for i, (number, where, joliet) in enumerate(descriptors):
        image.blocks[16 + i] = _descriptor(number, where, total, label, joliet)
    image.blocks[16 + len(descriptors)] = (b"\xffCD001\x01").ljust(SECTOR, b"\0")
    Path(path).write_bytes(b"".join(image.blocks))
    return Path(path)
