"""A strict virtio-gpu (5.7), 2D: resources, scanouts, what they show, the cursor."""

import struct

from fake_device import FakeDevice, mask, require
from shim.memory import memory

OK, OK_DISPLAY, OK_EDID = 0x1100, 0x1101, 0x1104
UNSPEC, NO_MEMORY, BAD_SCANOUT, BAD_RESOURCE, BAD_CONTEXT, BAD_PARAMETER = range(0x1200, 0x1206)
FORMATS = {1, 2, 3, 4, 67, 68, 121, 134}


def edid(name="Fake", width=640, height=480):
    """A block with a preferred mode, a name, a serial number and one standard mode."""
    data = bytearray(128)
    data[:8] = b"\x00\xff\xff\xff\xff\xff\xff\x00"
    data[8:12] = b"\x49\x14\x34\x12"  # RHT, product 0x1234
    data[21], data[22] = 26, 15
    data[38:54] = b"\x01\x01" * 8
    data[38:40] = bytes([1280 // 8 - 31, 0x40])  # 4:3
    data[54:72] = bytes([1, 1, width & 255, 0, width >> 8 << 4, height & 255, 0, height >> 8 << 4]) + bytes(10)
    data[72:90] = b"\0\0\0\xfc\0" + (name + "\n").encode().ljust(13)[:13]
    data[90:108] = b"\0\0\0\xff\0" + b"s7\n".ljust(13)
    data[127] = -sum(data) & 0xFF
    return bytes(data)


class Resource:
    def __init__(self, form, width, height):
        self.form, self.width, self.height = form, width, height
        self.backing = None  # [(addr, bytes)]
        self.pixels = bytearray(4 * width * height)  # the host's copy
        self.fenced = False  # a transfer with a fence was made


class FakeGPU(FakeDevice):
    """A card with scanouts of these sizes (None: off)."""

    DEVICE_ID = 16
    FIELDS = {0: (4, None), 4: (4, None), 8: (4, None), 12: (4, None)}

    def __init__(self, sizes=((64, 48), None), features=mask(0, 1, 2, 3, 4, 5), queues=(64, 16), **options):
        self.sizes = list(sizes)
        self.edids = [edid() for _ in sizes]
        super().__init__(features=features, config=struct.pack("<4I", 0, 0, len(sizes), 0), queues=queues, **options)
        self.errors = {}  # request type -> answer type
        self.answer_length = None  # used length of answers, to lie
        self.fence_shift = 0  # to lie about fences
        self.requests = []  # types, in order

    def _clear(self):
        super()._clear()
        self.resources = {}
        self.scanouts = {}  # scanout -> (resource id, rectangle)
        self.screens = {}  # scanout -> (width, height, pixels) as flushed
        self.cursor = None  # (scanout, x, y, resource id, hot x, hot y)

    # -- configuration ------------------------------------------------------------------------

    def write_config(self, off, width, value):
        require(off != 0, "GPU-01", "events_read is written")
        require(off == 4, "GPU-02", "write to offset %d" % off)
        require(width == 4, "MMIO-08", "%d bytes of events_clear" % width)
        self.config[0] &= ~value

    @property
    def events(self):
        return self.config[0]

    def resize(self, scanout, size):
        """The display changes."""
        self.sizes[scanout] = size
        self.change_config(b"\1", 0)

    # -- controlq -----------------------------------------------------------------------------

    def process(self, queue, chain):
        request = chain.data()
        require(len(request) >= 24, "GPU-HEADER", "a request of %d bytes" % len(request))
        kind, flags, fence, context, ring = struct.unpack_from("<IIQIB", request)
        self.requests.append(kind)
        require(flags & ~1 == 0, "GPU-11", "flags %#x without CONTEXT_INIT" % flags)
        if queue.index == 1:
            return self._cursor(kind, request)
        require(chain.room >= 24, "GPU-HEADER", "an answer of %d bytes" % chain.room)
        handler = self._HANDLERS.get(kind)
        require(handler is not None, "GPU-12", "request %#x" % kind)
        answer, data = self.errors.get(kind), b""
        if answer is None:
            answer, data = handler(self, request[24:], bool(flags & 1))
        data = struct.pack("<IIQIB3x", answer, flags, fence + self.fence_shift, context, ring) + data
        require(len(data) <= chain.room, "GPU-HEADER", "%d bytes for an answer of %d" % (chain.room, len(data)))
        chain.write(data)
        return len(data) if self.answer_length is None else self.answer_length

    def _display_info(self, request, fenced):
        data = b"".join(
            struct.pack("<6I", 10 * n, 0, *(size or (0, 0)), 1 if size else 0, 0) for n, size in enumerate(self.sizes)
        )
        return OK_DISPLAY, data.ljust(16 * 24, b"\0")

    def _edid(self, request, fenced):
        require(self.has(1), "GPU-06", "GET_EDID without the feature")
        scanout, _ = struct.unpack("<II", request)
        if scanout >= len(self.sizes):
            return BAD_SCANOUT, b""
        data = self.edids[scanout]
        return OK_EDID, struct.pack("<II", len(data), 0) + data.ljust(1024, b"\0")

    def _create(self, request, fenced):
        number, form, width, height = struct.unpack("<4I", request)
        if number == 0 or number in self.resources or form not in FORMATS or not width or not height:
            return BAD_PARAMETER, b""
        self.resources[number] = Resource(form, width, height)
        return OK, b""

    def _unref(self, request, fenced):
        number, _ = struct.unpack("<II", request)
        if number not in self.resources:
            return BAD_RESOURCE, b""
        del self.resources[number]
        self.scanouts = {n: shown for n, shown in self.scanouts.items() if shown[0] != number}
        return OK, b""

    def _attach(self, request, fenced):
        number, count = struct.unpack_from("<II", request)
        require(len(request) == 8 + 16 * count, "GPU-HEADER", "%d bytes for %d entries" % (len(request), count))
        resource = self.resources.get(number)
        if resource is None or resource.backing is not None:
            return BAD_RESOURCE, b""
        entries = [struct.unpack_from("<QII", request, 8 + 16 * n) for n in range(count)]
        for addr, size, _ in entries:
            memory.view(addr, size)  # MemoryFault: not memory that the driver pinned
        if sum(size for _, size, _ in entries) < 4 * resource.width * resource.height:
            return BAD_PARAMETER, b""
        resource.backing = [entry[:2] for entry in entries]
        return OK, b""

    def _rectangle(self, request):
        x, y, w, h = struct.unpack_from("<4I", request)
        return x, y, w, h

    def _set_scanout(self, request, fenced):
        rect = self._rectangle(request)
        scanout, number = struct.unpack_from("<II", request, 16)
        if scanout >= len(self.sizes):
            return BAD_SCANOUT, b""
        if number == 0:
            self.scanouts.pop(scanout, None)
            return OK, b""
        if not self._inside(number, rect):
            return BAD_PARAMETER, b""
        self.scanouts[scanout] = (number, rect)
        return OK, b""

    def _inside(self, number, rect):
        resource = self.resources.get(number)
        x, y, w, h = rect
        return resource and w and h and x + w <= resource.width and y + h <= resource.height

    def _transfer(self, request, fenced):
        rect = x, y, w, h = self._rectangle(request)
        offset, number, _ = struct.unpack_from("<QII", request, 16)
        if number not in self.resources:
            return BAD_RESOURCE, b""
        if not self._inside(number, rect):
            return BAD_PARAMETER, b""
        resource = self.resources[number]
        require(resource.backing, "GPU-09", "a transfer without backing")
        data = b"".join(bytes(memory.view(addr, size)) for addr, size in resource.backing)
        stride = 4 * resource.width
        for row in range(h):
            at, end = offset + row * stride, (y + row) * stride + 4 * x
            resource.pixels[end : end + 4 * w] = data[at : at + 4 * w]
        resource.fenced = resource.fenced or fenced
        return OK, b""

    def _flush(self, request, fenced):
        rect = self._rectangle(request)
        number, _ = struct.unpack_from("<II", request, 16)
        if not self._inside(number, rect):
            return BAD_PARAMETER, b""
        resource = self.resources[number]
        for scanout, (shown, (x, y, w, h)) in self.scanouts.items():
            if shown == number:
                rows = [resource.pixels[4 * ((y + n) * resource.width + x) :][: 4 * w] for n in range(h)]
                self.screens[scanout] = (w, h, b"".join(rows))
        return OK, b""

    _HANDLERS = {
        0x100: _display_info,
        0x101: _create,
        0x102: _unref,
        0x103: _set_scanout,
        0x104: _flush,
        0x105: _transfer,
        0x106: _attach,
        0x10A: _edid,
    }

    # -- cursorq ------------------------------------------------------------------------------

    def _cursor(self, kind, request):
        require(kind in (0x300, 0x301) and len(request) == 56, "GPU-09", "cursor request %#x" % kind)
        scanout, x, y, _, number, hot_x, hot_y, _ = struct.unpack_from("<8I", request, 24)
        if kind == 0x300 and number:
            resource = self.resources.get(number)
            require(resource is not None, "GPU-09", "no resource %d" % number)
            require(resource.backing and resource.fenced, "GPU-09", "not transferred with a fence")
            require((resource.width, resource.height) == (64, 64), "GPU-10", "the size of the cursor")
        if kind == 0x300:
            self.cursor = (scanout, x, y, number, hot_x, hot_y)
        else:
            self.cursor = (scanout, x, y, *self.cursor[3:])
        return 0

    # -- for tests ----------------------------------------------------------------------------

    def pixel(self, x, y, scanout=0):
        """What the display shows there, as 0xRRGGBB."""
        w, _, pixels = self.screens[scanout]
        at = 4 * (y * w + x)
        return int.from_bytes(pixels[at : at + 3], "little")
