"""A gzip-compressed image as a source: unpacked by the deflate module straight into its final place."""

from errno import EIO
from struct import unpack_from

from micropython import const

from .image import ImageError
from .source import Source

_STEP = const(0x100000)
_HEAD = const(0x10000)
_TRAILER = const(8)
_LEAST = const(18)  # a header and a trailer
_MOST = const(1100)  # times smaller than this, deflate cannot pack


class Gzip(Source):
    """What a gzip source unpacks to. CRC and length are checked when all of it is unpacked."""

    def __init__(self, packed):
        if packed.size < _LEAST:
            raise ImageError("%s: truncated: %d bytes of gzip" % (packed.name, packed.size))
        self.packed = packed
        tail = bytearray(4)
        packed.read_into(tail, packed.size - 4)
        size = unpack_from("<I", tail)[0]
        if size > packed.size * _MOST:
            raise ImageError("%s: corrupt gzip: %d bytes in %d" % (packed.name, size, packed.size))
        Source.__init__(self, packed.name + " (gzip)", size)

    def _stream(self, size):
        # The first size bytes of the packed data, as a stream that C code can read byte by byte.
        import deflate
        import io

        data = io.BytesIO(size)
        step = bytearray(min(size, _STEP))
        view = memoryview(step)
        done = 0
        while done < size:
            part = view[: min(len(step), size - done)]
            self.packed.read_into(part, done)
            data.write(part)
            done += len(part)
        data.seek(0)
        return deflate.DeflateIO(data, deflate.GZIP)

    def _corrupt(self, at, why):
        return ImageError("%s: corrupt gzip: %s after %d of %d bytes" % (self.packed.name, why, at, self.size))

    def head(self, size):
        """The first unpacked bytes, at most size."""
        stream = self._stream(min(self.packed.size, _HEAD))
        head = bytearray(min(size, self.size))
        try:
            got = stream.readinto(head)
        except (OSError, EOFError) as e:
            raise self._corrupt(0, "header or data bad (%r)" % e)
        return head[:got]

    def read_at(self, addr, offset=0, size=None):
        """Unpack all of it to a physical address."""
        from uctypes import bytearray_at

        if offset or size not in (None, self.size):
            raise ValueError("%s: can only be read as a whole" % self.name)
        stream = self._stream(self.packed.size)
        done = 0
        try:
            while done < self.size:
                got = stream.readinto(bytearray_at(addr + done, min(_STEP, self.size - done)))
                if not got:
                    raise self._corrupt(done, "ends early")
                done += got
            if stream.readinto(bytearray(1)):
                raise self._corrupt(done, "goes on")
        except EOFError:
            raise self._corrupt(done, "cut short")
        except OSError as e:
            if e.errno == EIO:
                raise
            raise self._corrupt(done, "bad data or CRC")
