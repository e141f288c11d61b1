"""A folder that a 9P server shows, as a volume: paths, symbolic links, and MicroPython's VFS protocol.

Nothing is cached, since others change the folder too.
"""

from errno import EEXIST, EINVAL, EIO, EISDIR, ENODEV, ENOENT

from micropython import const

from fs import ninepio
from fs.base import S_IFDIR, S_IFLNK, S_IFREG, Volume, local_time, text
from fs.ninepwords import QTDIR, QTSYMLINK

_ELOOP = const(40)
_ENOTDIR = const(20)
_EROFS = const(30)
_LINKS = const(16)  # symbolic links followed on the way of one path
_NAME_MAX = const(255)

_O_WRONLY = const(1)
_O_RDWR = const(2)
_O_EXCL = const(0x80)
_O_TRUNC = const(0x200)
_O_APPEND = const(0x400)
_O_DIRECTORY = const(0x10000)
_AT_REMOVEDIR = const(0x200)

_FILE_MODE = const(0o644)
_DIR_MODE = const(0o755)


class Share(Volume):
    """A shared folder; vfs.mount(share, '/host') makes it part of the file system.

    client: an fs.ninep.Client.  label: the name that the folder is shown under.
    """

    type = "9p"

    def __init__(self, client, label=""):
        Volume.__init__(self)
        self.label = label
        self._client = client
        self._readonly = False
        self._root = None
        self._opened = {}  # fids of open files
        self.attach()

    def attach(self):
        """Have the server show the folder again, after an umount()."""
        if self._root is None:
            self._root = self._client.attach()

    def mount(self, readonly, mkfs):
        """vfs.mount() calls this."""
        if mkfs:
            raise self.error(EINVAL, "mkfs", "a shared folder needs none")
        self._readonly = readonly
        self.attach()

    def umount(self):
        """vfs.umount() calls this: open files are closed."""
        self._cwd = "/"
        fids = list(self._opened)
        self._opened = {}
        if self._root is not None:
            fids.append(self._root)
            self._root = None
        try:
            for fid in fids:
                self._client.clunk(fid)
        except OSError as er:
            if er.errno != ENODEV:  # the device was closed, and the session went with it
                raise

    # -- paths --------------------------------------------------------------------------

    def _names(self, path):
        """The components of a path from the root of the share. OSError: EINVAL, ENOENT."""
        names = [name for name in self._full(path).split("/") if name]
        for name in names:
            if "\0" in name:
                raise self.error(EINVAL, repr(path), "a zero byte in a name")
        if self._root is None:
            raise self.error(ENOENT, path, "was unmounted")
        return names

    def _walk(self, path, follow=True):
        """A fid for a path. Symbolic links are followed here: a server looks at names only."""
        names = self._names(path)
        for _ in range(_LINKS):
            try:
                fid, kinds = self._client.walk(self._root, names, path)
            except OSError as e:
                link = self._find_link(names) if e.errno in (ENOENT, _ENOTDIR, _ELOOP) else None
                if link is None:
                    raise
                fid = None
            else:
                link = self._first_link(kinds, len(names) if follow else len(names) - 1)
                if link is None:
                    if fid is None:
                        raise self.error(ENOENT, path, "no such file or directory")
                    return fid
            if fid is not None:
                self._client.clunk(fid)
            names = self._spliced(names, link, path)
        raise self.error(_ELOOP, path, "more than %d symbolic links" % _LINKS)

    def _first_link(self, kinds, n):
        for i in range(min(n, len(kinds))):
            if kinds[i] & QTSYMLINK:
                return i
        return None

    def _find_link(self, names):
        # The server refused the whole path without telling how far it came.
        for i in range(1, len(names)):
            try:
                fid, kinds = self._client.walk(self._root, names[:i], "")
            except OSError:
                return None
            if fid is not None:
                self._client.clunk(fid)
            link = self._first_link(kinds, i)
            if link is not None:
                return link
        return None

    def _spliced(self, names, link, path):
        """The names with a link among them replaced by its target; the root is that of the share."""
        fid, _ = self._client.walk(self._root, names[: link + 1], path)
        if fid is None:
            raise self.error(ENOENT, path, "no such file or directory")
        try:
            target = text(self._client.readlink(fid, path))
        finally:
            self._client.clunk(fid)
        out = [] if target.startswith("/") else names[:link]
        for name in target.split("/"):
            if name == "..":
                if out:
                    out.pop()
            elif name and name != ".":
                out.append(name)
        return out + names[link + 1 :]

    def _parent(self, path):
        """(fid of the directory, name in it). The caller clunks."""
        if self._readonly:
            raise self.error(_EROFS, path, "mounted read-only")
        names = self._names(path)
        if not names:
            raise self.error(EINVAL, path, "is the root of the share")
        return self._walk("/" + "/".join(names[:-1])), names[-1]

    def _at_parent(self, path, action, *args):
        fid, name = self._parent(path)
        try:
            return action(fid, name, *args, path)
        finally:
            self._client.clunk(fid)

    def _with(self, path, action, follow=True):
        """What action(fid) says of a path."""
        fid = self._walk(path, follow)
        try:
            return action(fid)
        finally:
            self._client.clunk(fid)

    # -- what Volume asks for --------------------------------------------------------------

    def _lookup(self, path, follow=True):
        attr = self._with(path, lambda fid: self._client.getattr(fid, path), follow)
        attr.path = path
        return attr

    _known = _lookup

    def _read_node(self, attr, off, view):
        path = attr.path
        fid = self._walk(path)
        try:
            self._client.lopen(fid, 0, path)
            if ninepio.read_into(self._client, fid, off, view, path) != len(view):
                raise self.error(EIO, path, "became shorter while it was read")
        finally:
            self._client.clunk(fid)

    def _stat(self, attr):
        times = [local_time(t) for t in (attr.atime, attr.mtime, attr.ctime)]
        return (attr.mode, attr.ino, 0, attr.links, attr.uid, attr.gid, attr.size) + tuple(times)

    def _statvfs(self):
        _, bsize, blocks, bfree, bavail, files, ffree, _, namelen = self._client.statfs(self._root)
        return bsize, bsize, blocks, bfree, bavail, files, ffree, ffree, int(self._readonly), namelen

    def ilistdir(self, path=""):
        """Entries as (name, type, inode), which is what the server tells; bytes names for a bytes path."""
        as_bytes = not isinstance(path, str)
        if as_bytes:
            path = str(path, "utf-8")
        found = self._with(path, lambda fid: self._list(fid, path))
        out = []
        for name, kind, inode in found:
            mode = S_IFDIR if kind & QTDIR else S_IFLNK if kind & QTSYMLINK else S_IFREG
            out.append((name if as_bytes else text(name), mode, inode))
        return iter(out)

    def _list(self, fid, path):
        if not self._client.getattr(fid, path).kind & QTDIR:
            raise self.error(_ENOTDIR, path, "is not a directory")
        self._client.lopen(fid, _O_DIRECTORY, path)
        return ninepio.entries(self._client, fid, path)

    # -- changes ------------------------------------------------------------------------------

    def mkdir(self, path):
        """Make a directory."""
        self._at_parent(path, lambda fid, name, what: self._client.mkdir(fid, name, _DIR_MODE, what))

    def rmdir(self, path):
        """Remove an empty directory."""
        self._at_parent(path, self._unlink, _AT_REMOVEDIR)

    def remove(self, path):
        """Remove a file or symbolic link."""
        self._at_parent(path, self._unlink, 0)

    def _unlink(self, fid, name, flags, path):
        self._client.unlinkat(fid, name, flags, path)

    def rename(self, old, new):
        """Move a file or directory, in place of what has the new name."""
        self._at_parent(old, self._rename, new)

    def _rename(self, fid, name, new, old):
        new_fid, new_name = self._parent(new)
        try:
            self._client.renameat(fid, name, new_fid, new_name, "%s to %s" % (old, new))
        finally:
            self._client.clunk(new_fid)

    def symlink(self, target, path):
        """Make a symbolic link with any target."""
        self._at_parent(path, lambda fid, name, what: self._client.symlink(fid, name, target, what))

    def readlink(self, path):
        """The target of a symbolic link."""
        return text(self._with(path, lambda fid: self._client.readlink(fid, path), False))

    def link(self, old, new):
        """Give a file another name."""

        def action(fid, name, what):
            self._with(old, lambda target: self._client.link(fid, target, name, what), False)

        self._at_parent(new, action)

    def _change(self, path, **what):
        if self._readonly:
            raise self.error(_EROFS, path, "mounted read-only")
        self._with(path, lambda fid: self._client.setattr(fid, path, **what))

    def chmod(self, path, mode):
        """Change the permissions."""
        self._change(path, mode=mode)

    def truncate(self, path, size):
        """Make a file that long."""
        self._change(path, size=size)

    def utime(self, path, atime, mtime):
        """Set the times, in seconds as time.time() counts them."""
        epoch = local_time(0)
        self._change(path, atime=atime - epoch, mtime=mtime - epoch)

    def chdir(self, path):
        """Make path the start of relative ones."""
        self._dir(path)
        self._cwd = self._full(path)

    # -- files -----------------------------------------------------------------------------

    def open(self, path, mode="r", *rest):
        """Open a file: r, w, a or x, with + for both ways, b for bytes."""
        flags, kind = _flags(mode)
        if self._readonly and flags:
            raise self.error(_EROFS, path, "mounted read-only")
        fid = self._open(path, flags, kind)
        try:
            size = self._client.getattr(fid, path).size
            from fs.sharefile import SharedFile

            self._opened[fid] = path
            return SharedFile(self, fid, size, path, mode)
        except BaseException:
            self.release(fid)
            raise

    def _open(self, path, flags, kind):
        """A fid, opened, of a file that is made if the mode says so."""
        if kind == "x":
            return self._create(path, flags)
        try:
            fid = self._walk(path)
        except OSError as e:
            if kind == "r" or e.errno != ENOENT:
                raise
            try:
                return self._create(path, flags)
            except OSError as e:
                if e.errno != EEXIST:
                    raise
            fid = self._walk(path)  # somebody else was faster
        try:
            if self._client.getattr(fid, path).kind & QTDIR:
                raise self.error(EISDIR, path, "is a directory")
            self._client.lopen(fid, flags, path)
            return fid
        except BaseException:
            self._client.clunk(fid)
            raise

    def _create(self, path, flags):
        fid, name = self._parent(path)
        try:
            self._client.lcreate(fid, name, flags & ~_O_TRUNC | _O_EXCL, _FILE_MODE, path)
            return fid
        except BaseException:
            self._client.clunk(fid)
            raise

    def release(self, fid):
        """A file is closed."""
        if self._opened.pop(fid, None) is not None:
            self._client.clunk(fid)

    def sync(self, path):
        """Have a file's data made durable on the host."""

        def action(fid):
            self._client.lopen(fid, 0, path)
            self._client.fsync(fid, path)

        self._with(path, action)


def _flags(mode):
    """(Linux' flags, 'r', 'w', 'a' or 'x') of a mode."""
    kinds = [letter for letter in mode if letter in "rwax"]
    if len(kinds) != 1 or any([letter not in "rwaxbt+" for letter in mode]):
        raise ValueError("mode %r" % (mode,))
    kind = kinds[0]
    flags = _O_RDWR if "+" in mode else 0 if kind == "r" else _O_WRONLY
    return flags | {"r": 0, "w": _O_TRUNC, "a": _O_APPEND, "x": 0}[kind], kind
