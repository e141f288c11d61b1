"""Moving data with 9P: reads and writes in pieces, several under way, and directories."""

from errno import EIO
from struct import pack, unpack_from

from micropython import const

_READDIR = const(40)
_READ = const(116)
_WRITE = const(118)
_DATA_HEAD = const(11)
_LIST = const(16384)


def read_into(client, fid, off, view, what=""):
    """Fill view with the file's bytes from off, straight into it; fewer only at the end. How many."""
    return _transfer(client, _READ, fid, off, view, what)


def write_from(client, fid, off, view, what=""):
    """Write all of view to the file from off, straight out of it."""
    done = _transfer(client, _WRITE, fid, off, view, what)
    if done < len(view):
        raise OSError(EIO, "%s: write %s: the server took %d of %d bytes" % (client.name, what, done, len(view)))


def _transfer(client, kind, fid, off, view, what):
    """Pieces in order, channel.depth of them under way; the bytes done before the first that ended early."""
    end = len(view)
    step = client.piece
    depth = client.channel.depth
    flying = []
    at = 0
    try:
        while flying or at < end:
            while at < end and len(flying) < depth:
                size = min(step, end - at)
                flying.append((_start(client, kind, fid, off + at, view[at : at + size], what), at, size))
                at += size
            request, start, size = flying.pop(0)
            done = _count(client, request, size)
            while done and done < size:  # a short answer: ask for the rest
                rest = view[start + done : start + size]
                more = _count(client, _start(client, kind, fid, off + start + done, rest, what), len(rest))
                if not more:
                    break
                done += more
            if done < size:
                end = min(end, start + done)
    except BaseException:
        for request, _, _ in flying:
            client.abandon(request)
            client.channel.drop(request.handle)
        raise
    return end


def _start(client, kind, fid, off, view, what):
    body = pack("<IQI", fid, off, len(view))
    if kind == _READ:
        return client.start(kind, body, what, _DATA_HEAD, None, view)
    return client.start(kind, body, what, _DATA_HEAD, view)


def _count(client, request, size):
    """The bytes that a read or write did."""
    body = client.finish(request)
    count = unpack_from("<I", body)[0] if len(body) == 4 else -1
    said = unpack_from("<I", request.answer)[0]
    if not 0 <= count <= size or (request.kind == _READ and said != _DATA_HEAD + count):
        client.broken(request, "%d bytes in a message of %d, %d were asked for" % (count, said, size))
    return count


def entries(client, fid, what=""):
    """All entries of an opened directory: [(name as bytes, type of the qid, inode)], without . and .."""
    found = []
    count = min(_LIST, client.piece)
    off = 0
    while True:
        request = client.start(_READDIR, pack("<IQI", fid, off, count), what, _DATA_HEAD + count)
        body = client.finish(request)
        n = unpack_from("<I", body)[0] if len(body) >= 4 else -1
        if n != len(body) - 4:
            client.broken(request, "%d bytes of entries in %d" % (n, len(body)))
        if not n:
            return found
        before = off
        at = 4
        while at < len(body):
            size = unpack_from("<H", body, at + 22)[0] if at + 24 <= len(body) else 0
            if not size or at + 24 + size > len(body):
                client.broken(request, "an entry that runs past the end")
            off = unpack_from("<Q", body, at + 13)[0]
            name = bytes(body[at + 24 : at + 24 + size])
            if name != b"." and name != b"..":
                found.append((name, body[at], unpack_from("<Q", body, at + 5)[0]))
            at += 24 + size
        if off == before:
            client.broken(request, "entries that lead nowhere")
