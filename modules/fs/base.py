"""What every read-only volume does alike: paths, open(), and MicroPython's VFS protocol."""

import time
from errno import EINVAL, EISDIR

from micropython import const

_ENOTDIR = const(20)
_EROFS = const(30)

_PATHS = const(16)

S_IFMT = const(0xF000)
S_IFDIR = const(0x4000)
S_IFREG = const(0x8000)
S_IFLNK = const(0xA000)

_UNIX_TO_2000 = const(946684800)


class Volume:
    """Base of Ext4 and Fat, which bring

    type, label, uuid, note; _lookup(path, follow) -> node with .mode and .size;
    _read_node(node, off, view); _entries(node) -> (name, type, inode, size); _stat(node); _statvfs().
    """

    type = "?"

    def __init__(self):
        self.uuid = ""
        self.note = ""
        self._cwd = "/"
        self._paths = {}  # absolute path -> node, of the last ones looked up

    def __repr__(self):
        note = ", " + self.note if self.note else ""
        try:
            label = " '%s'" % self.label if self.label else ""
        except OSError:  # what is shown must not raise
            label = " (label cannot be read)"
        return "<%s%s %s%s>" % (self.type, label, self.uuid, note)

    def error(self, number, what, why):
        """An OSError that names file system, place and reason."""
        return OSError(number, "%s: %s: %s" % (self.type, what, why))

    def _known(self, path):
        node = self._paths.get(path)
        if node is None:
            node = self._lookup(path)
            if path.startswith("/"):
                if len(self._paths) >= _PATHS:
                    self._paths.clear()
                self._paths[path] = node
        return node

    def _file(self, path):
        node = self._known(path)
        kind = node.mode & S_IFMT
        if kind == S_IFDIR:
            raise self.error(EISDIR, path, "is a directory")
        if kind != S_IFREG:
            raise self.error(EINVAL, path, "is not a regular file")
        return node

    def _dir(self, path):
        node = self._known(path)
        if node.mode & S_IFMT != S_IFDIR:
            raise self.error(_ENOTDIR, path, "is not a directory")
        return node

    def size(self, path):
        """Bytes in a file."""
        return self._file(path).size

    def read_into(self, path, buf, offset=0, length=None):
        """Read a file's bytes from offset straight into buf.

        length: at most so many bytes; without it as many as buf holds.  Returns the number read,
        less than asked for only at the end of the file.  Blocks; a contiguous file is a few large
        requests.  OSError: ENOENT, EISDIR, EIO with what is damaged.
        """
        node = self._file(path)
        view = memoryview(buf)
        if length is None:
            length = len(view)
        if offset < 0 or length < 0 or length > len(view):
            raise ValueError("offset %d, length %d, buffer of %d" % (offset, length, len(view)))
        length = max(0, min(length, node.size - offset))
        if length:
            self._read_node(node, offset, view[:length])
        return length

    def read(self, path):
        """A whole file as bytes."""
        node = self._file(path)
        buf = bytearray(node.size)
        if buf:
            self._read_node(node, 0, memoryview(buf))
        return bytes(buf)

    # The VFS protocol: what vfs.mount(), open() and os ask for.

    def mount(self, readonly, mkfs):
        """vfs.mount() calls this; there is nothing to do, and mkfs cannot be done."""
        if mkfs:
            raise self.error(_EROFS, "mkfs", "read-only file system")

    def umount(self):
        """vfs.umount() calls this."""
        self._cwd = "/"

    def open(self, path, mode="r", *rest):
        """Open a file for reading: 'r', 'rt' text, 'rb' binary."""
        if "w" in mode or "a" in mode or "+" in mode or "x" in mode:
            raise self.error(_EROFS, path, "read-only file system")
        from fs.file import File

        node = self._file(path)
        return File(self, node, node.size, path, "b" not in mode)

    def ilistdir(self, path=""):
        """Entries as (name, type, inode, size); bytes names for a bytes path."""
        as_bytes = not isinstance(path, str)
        if as_bytes:
            path = str(path, "utf-8")
        entries = self._entries(self._dir(path))
        return self._encoded(entries) if as_bytes else entries

    def _encoded(self, entries):
        for name, kind, inode, size in entries:
            yield name.encode(), kind, inode, size

    def listdir(self, path=""):
        """The names in a directory."""
        return [entry[0] for entry in self.ilistdir(path)]

    def stat(self, path):
        """os.stat()'s tuple: mode, inode, device, links, uid, gid, size, three times."""
        return self._stat(self._known(path))

    def lstat(self, path):
        """The same of a symbolic link itself."""
        return self._stat(self._lookup(path, False))

    def statvfs(self, path):
        """os.statvfs()'s tuple."""
        return self._statvfs()

    def chdir(self, path):
        """Make path the start of relative ones."""
        self._dir(path)
        self._cwd = self._full(path)

    def getcwd(self):
        """The current directory within the volume."""
        return self._cwd

    def _refuse(self, *args):
        raise self.error(_EROFS, args[0], "read-only file system")

    mkdir = rmdir = remove = rename = _refuse

    def _full(self, path):
        """An absolute path without . and .. in it."""
        out = []
        for name in (path if path.startswith("/") else self._cwd + "/" + path).split("/"):
            if name == "..":
                if out:
                    out.pop()
            elif name and name != ".":
                out.append(name)
        return "/" + "/".join(out)


def local_time(seconds):
    """Seconds since 1970 as this Python's time module counts them."""
    return seconds - _UNIX_TO_2000 if time.gmtime(0)[0] == 2000 else seconds


def text(raw):
    """A name's bytes as str; what is not UTF-8 becomes U+FFFD."""
    try:
        return str(raw, "utf-8")
    except UnicodeError:
        return "".join([chr(byte) if byte < 128 else "\ufffd" for byte in raw])
