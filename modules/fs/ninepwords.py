"""9P2000.L in words: names of messages and errors, strings, the answer of getattr. Pure."""

from struct import pack, unpack_from

from micropython import const

_ENAMETOOLONG = const(36)

VERBS = {
    8: "statfs",
    12: "open",
    14: "create",
    16: "symlink",
    22: "readlink",
    24: "stat",
    26: "change",
    40: "list",
    50: "fsync",
    70: "link",
    72: "mkdir",
    74: "rename",
    76: "remove",
    100: "version",
    104: "attach",
    108: "flush",
    110: "look up",
    116: "read",
    118: "write",
    120: "clunk",
}

WHY = {  # of the server's errors, Linux' numbers, those that errno has no name for among them
    1: "not permitted",
    2: "no such file or directory",
    13: "permission denied",
    16: "in use",
    17: "exists",
    18: "another file system",
    20: "not a directory",
    21: "is a directory",
    27: "file too large",
    28: "no space left",
    30: "read-only file system",
    31: "too many links",
    36: "name too long",
    39: "directory not empty",
    40: "too many symbolic links",
    95: "the server cannot do that",
    122: "quota exceeded",
}

QTDIR = const(0x80)
QTSYMLINK = const(0x02)


def text(name):
    """A string as 9P has it. OSError(36): longer than its length can say."""
    raw = name.encode() if isinstance(name, str) else name
    if len(raw) > 0xFFFF:
        raise OSError(_ENAMETOOLONG, "a name of %d bytes" % len(raw))
    return pack("<H", len(raw)) + raw


class Attr:
    """The answer of getattr: what stat() tells."""

    def __init__(self, body):
        self.kind = body[8]
        self.ino = unpack_from("<Q", body, 13)[0]
        self.mode, self.uid, self.gid, self.links = unpack_from("<IIIQ", body, 21)
        self.size = unpack_from("<Q", body, 49)[0]
        self.atime = unpack_from("<Q", body, 73)[0]
        self.mtime = unpack_from("<Q", body, 89)[0]
        self.ctime = unpack_from("<Q", body, 105)[0]
