"""virtio-gpu (5.7), 2D: displays, frames to draw on, the mouse cursor."""

import errno
import struct

from micropython import const

from .device import Device
from .dma import Area
from .edid import Edid

_F_EDID = const(1)

_EVENTS_READ = const(0)
_EVENTS_CLEAR = const(4)
_NUM_SCANOUTS = const(8)
_EVENT_DISPLAY = const(1)

_CONTROLQ = const(0)
_CURSORQ = const(1)

_GET_DISPLAY_INFO = const(0x100)
_RESOURCE_CREATE_2D = const(0x101)
_RESOURCE_UNREF = const(0x102)
_SET_SCANOUT = const(0x103)
_RESOURCE_FLUSH = const(0x104)
_TRANSFER_TO_HOST_2D = const(0x105)
_RESOURCE_ATTACH_BACKING = const(0x106)
_GET_EDID = const(0x10A)
_UPDATE_CURSOR = const(0x300)
_MOVE_CURSOR = const(0x301)

_OK_NODATA = const(0x1100)
_OK_DISPLAY_INFO = const(0x1101)
_OK_EDID = const(0x1104)
_ERRORS = (
    "ERR_UNSPEC",
    "ERR_OUT_OF_MEMORY",
    "ERR_INVALID_SCANOUT_ID",
    "ERR_INVALID_RESOURCE_ID",
    "ERR_INVALID_CONTEXT_ID",
    "ERR_INVALID_PARAMETER",
)

_HEADER = "<IIQIB3x"  # type, flags, fence_id, ctx_id, ring_idx
_HEADER_SIZE = const(24)
_FLAG_FENCE = const(1)
_SCANOUTS = const(16)  # entries of the answer to GET_DISPLAY_INFO, of 24 bytes each
_DISPLAY_INFO_SIZE = const(408)
_EDID_SIZE = const(1056)
_EDID_MAX = const(1024)

B8G8R8A8 = const(1)  # as a little-endian word: 0xAARRGGBB
B8G8R8X8 = const(2)
_LARGEST = const(16384)  # pixels of a side
_CURSOR = const(64)
_DEFAULT = (1024, 768)  # where no display tells its size (5.7.5)


class Display:
    """A scanout: .index, .enabled, .x .y .width .height as the host shows it, .edid or None."""

    def __init__(self, index, words, edid):
        self.index = index
        self.x, self.y, self.width, self.height = words[:4]
        self.enabled = words[4] != 0
        self.edid = edid

    @property
    def size(self):
        """(width, height) that suits it."""
        if self.enabled and self.width and self.height:
            return self.width, self.height
        return (self.edid and self.edid.preferred) or _DEFAULT

    def __repr__(self):
        if not self.enabled:
            return "<display %d off>" % self.index
        return "<display %d %dx%d at %d,%d>" % (self.index, self.width, self.height, self.x, self.y)


class GPU(Device):
    """A graphics card: frame() gives a picture to draw on, console() a text console.

    .displays is a list of its scanouts, read anew when the host changes them; on_display = f then
    calls f(gpu).
    """

    NAME = "gpu"
    IDS = (16,)
    FEATURES = 1 << _F_EDID
    FEATURE_NAMES = {
        0: "VIRGL",
        1: "EDID",
        2: "RESOURCE_UUID",
        3: "RESOURCE_BLOB",
        4: "CONTEXT_INIT",
        5: "BLOB_ALIGNMENT",
    }
    LIVE = ("displays",)
    TIMEOUT_MS = 5000

    def probe(self):
        self._control = self.queue(_CONTROLQ)
        self._cursorq = self.queue(_CURSORQ)
        self.displays = []
        self.on_display = None
        self._memory = {}  # resource id -> the Area that the device may read
        self._next_id = self._fence = 0
        self.shown = {}  # scanout -> Frame

    def ready(self):
        self.update()
        try:
            self.interrupts(True)
        except OSError:
            pass  # no interrupt controller that we know: poll_config() sees changes
        self._control.listen(False)  # answers are waited for
        self._cursorq.listen(False)

    def about(self):
        sizes = ["%dx%d" % d.size for d in self.displays if d.enabled]
        return " ".join(sizes) or "no display"

    # -- requests (5.7.6) ---------------------------------------------------------------------

    def _post(self, kind, payload, room=_HEADER_SIZE, fenced=False):
        """Put a request into the control queue; what _finish() wants to know of it."""
        self.check()
        fence = 0
        if fenced:
            self._fence = fence = self._fence + 1
        answer = bytearray(b"\xff" * room)
        request = struct.pack(_HEADER, kind, _FLAG_FENCE if fenced else 0, fence, 0, 0) + payload
        return self._control.add((request,), (answer,)), answer, fence

    def _finish(self, posted, what, wanted=_OK_NODATA):
        """Wait for the answer. OSError: EIO, it is an error; ETIMEDOUT."""
        head, answer, fence = posted
        used = self._control.wait(head, self.TIMEOUT_MS)
        if used < _HEADER_SIZE and not self.transport.legacy:
            self.fail("%s: an answer of %d bytes" % (what, used))
        kind, flags, fenced = struct.unpack_from("<IIQ", answer)
        if kind != wanted:
            name = _ERRORS[kind - 0x1200] if 0x1200 <= kind < 0x1206 else "answer %#x" % kind
            raise OSError(errno.EIO, "%s: %s: %s" % (self.name, what, name))
        if fence and not (flags & _FLAG_FENCE and fenced == fence):
            self.fail("%s: the answer has fence %d, not %d" % (what, fenced, fence))
        return answer

    def command(self, what, kind, form, *values):
        """One request whose answer has no data: form and values are struct's; what is for errors."""
        self._finish(self._post(kind, struct.pack("<" + form, *values)), what)

    # -- displays -----------------------------------------------------------------------------

    def update(self):
        """Ask what displays there are, and what they tell about themselves; .displays."""
        count = self.config_u32(_NUM_SCANOUTS)
        if not 0 < count <= _SCANOUTS:
            self.fail("%d scanouts, 1 to %d can be" % (count, _SCANOUTS))
        posted = self._post(_GET_DISPLAY_INFO, b"", _DISPLAY_INFO_SIZE)
        answer = self._finish(posted, "display info", _OK_DISPLAY_INFO)
        displays = []
        for n in range(count):
            words = struct.unpack_from("<6I", answer, _HEADER_SIZE + 24 * n)
            displays.append(Display(n, words, self.edid(n)))
        self.displays = displays
        return displays

    def edid(self, scanout=0):
        """The Edid of a display; None where the device does not tell, or tells nonsense."""
        if not self.has(_F_EDID):
            return None
        try:
            posted = self._post(_GET_EDID, struct.pack("<II", scanout, 0), _EDID_SIZE)
            answer = self._finish(posted, "EDID of display %d" % scanout, _OK_EDID)
            size = struct.unpack_from("<I", answer, _HEADER_SIZE)[0]
            return Edid(answer[_HEADER_SIZE + 8 : _HEADER_SIZE + 8 + min(size, _EDID_MAX)])
        except ValueError:
            return None
        except OSError:
            if self.error is not None:
                raise
            return None

    def config_changed(self):
        """The displays changed: acknowledge it, ask anew (5.7.4.2), tell who wants to know."""
        events = self.config_u32(_EVENTS_READ)
        if events:
            self.transport.set_config(_EVENTS_CLEAR, 4, events)
        if events & _EVENT_DISPLAY:
            self.update()
            if self.on_display is not None:
                self.on_display(self)

    # -- resources ----------------------------------------------------------------------------

    def create(self, width, height, form=B8G8R8X8):
        """A resource with memory behind it: (id, Area), 4 bytes a pixel. ValueError: the size."""
        if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
            raise ValueError("%s: %dx%d pixels, 1 to %d a side can be" % (self.name, width, height, _LARGEST))
        area = Area(4 * width * height, 4096)
        self._next_id = number = self._next_id + 1
        self.command("create %dx%d" % (width, height), _RESOURCE_CREATE_2D, "4I", number, form, width, height)
        self._memory[number] = area
        try:
            entry = (number, 1, area.addr, area.size, 0)
            self.command("attach %d bytes" % area.size, _RESOURCE_ATTACH_BACKING, "IIQII", *entry)
        except OSError:
            self.destroy(number)
            raise
        return number, area

    def destroy(self, number):
        """Give a resource back. Its memory is ours again only when the device has said so."""
        self.command("unref %d" % number, _RESOURCE_UNREF, "II", number, 0)
        self._memory.pop(number, None)

    def owns(self, number, area):
        """Whether the resource is still one of this device, with that memory."""
        return self.is_open and self._memory.get(number) is area

    def transfer(self, number, stride, x, y, width, height, flush=True):
        """Let the host take a rectangle from memory, and show it; the memory may change afterwards."""
        rect = struct.pack("<4I", x, y, width, height)
        payload = rect + struct.pack("<QII", y * stride + 4 * x, number, 0)
        posts = [(self._post(_TRANSFER_TO_HOST_2D, payload, fenced=True), "transfer")]
        if flush:
            posts.append((self._post(_RESOURCE_FLUSH, rect + struct.pack("<II", number, 0)), "flush"))
        error = None
        for posted, what in posts:
            try:
                self._finish(posted, "%s %d,%d %dx%d" % (what, x, y, width, height))
            except OSError as e:
                error = error or e
        if error is not None:
            raise error

    def set_scanout(self, scanout, number, x=0, y=0, width=0, height=0):
        """Show a rectangle of a resource on a display; number 0 switches it off."""
        if not 0 <= scanout < len(self.displays):
            raise ValueError("%s: display %d of %d" % (self.name, scanout, len(self.displays)))
        self.command("set scanout %d" % scanout, _SET_SCANOUT, "6I", x, y, width, height, scanout, number)

    def frame(self, width=None, height=None, scanout=0):
        """A black Frame on that display, of its size if none is given. See gpu_frame.py."""
        from .gpu_frame import Frame

        self.check()
        if not 0 <= scanout < len(self.displays):
            raise ValueError("%s: display %d of %d" % (self.name, scanout, len(self.displays)))
        if width is None:
            width, height = self.displays[scanout].size
        frame = Frame(self, width, height)
        try:
            frame.on(scanout)
            frame.show()
        except OSError:
            frame.close()
            raise
        return frame

    def console(self, scanout=0, **options):
        """A text console on that display; see gpu_console.py."""
        from .gpu_console import Console

        return Console(self.frame(scanout=scanout), **options)

    # -- the mouse cursor (5.7.6.6) -----------------------------------------------------------

    def cursor(self):
        """A Cursor of 64x64 pixels 0xAARRGGBB, transparent to begin with."""
        from .gpu_frame import Cursor

        return Cursor(self, *self.create(_CURSOR, _CURSOR, B8G8R8A8))

    def point(self, what, scanout, x, y, number=0, hot_x=0, hot_y=0):
        """Update ('update') the shape and place of the cursor, or move ('move') it."""
        self.check()
        kind = _UPDATE_CURSOR if what == "update" else _MOVE_CURSOR
        if not 0 <= scanout < len(self.displays):
            raise ValueError("%s: display %d of %d" % (self.name, scanout, len(self.displays)))
        request = struct.pack(_HEADER + "8I", kind, 0, 0, 0, 0, scanout, x, y, 0, number, hot_x, hot_y, 0)
        self._cursorq.wait(self._cursorq.add((request,), ()), self.TIMEOUT_MS)
