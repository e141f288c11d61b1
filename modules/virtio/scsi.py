"""virtio-scsi (5.6): a host adapter; its units are disks and CD-ROMs (scsiunit.py)."""

import errno
import struct

from micropython import const

from .device import Device
from .scsicommand import Commands, address
from .transport import DeviceError

_HOTPLUG = const(1)
_CHANGE = const(2)

_CONTROLQ = const(0)
_EVENTQ = const(1)
_REQUESTQ = const(2)

_EVENTS = const(8)  # buffers posted on eventq
_EVENT_SIZE = const(16)
_MISSED = const(0x80000000)
_TRANSPORT_RESET = const(1)
_ASYNC_NOTIFY = const(2)
_PARAM_CHANGE = const(3)
_REASONS = ("reset", "added", "removed")

_AN_QUERY = const(1)
_AN_SUBSCRIBE = const(2)
_TMF = {
    "abort task": 0,
    "abort task set": 1,
    "clear aca": 2,
    "clear task set": 3,
    "nexus reset": 4,
    "unit reset": 5,
    "query task": 6,
    "query task set": 7,
}
_SUCCEEDED = const(10)
_CONTROL_MS = const(5000)
_ABORT_MS = const(1000)

_NEWS = const(256)
_LIST = const(4096)  # bytes for REPORT LUNS: 511 of them
_SCAN_DEPTH = const(16)


class _Target:
    """Stands for a target while its units are not known."""

    in_flight = 0

    def __init__(self, adapter, number):
        self.name = "%s:%d" % (adapter.name, number)

    def attention(self, code):
        """Whatever happened to it, it is new to us anyway."""
        return True


class SCSI(Device):
    """The adapter. .units lists what is attached; unit(2) is LUN 0 of target 2."""

    NAME = "scsi"
    IDS = (8,)
    FEATURES = 1 << _HOTPLUG | 1 << _CHANGE
    FEATURE_NAMES = {0: "INOUT", 1: "HOTPLUG", 2: "CHANGE", 3: "T10_PI"}

    def about(self):
        return "%d units" % len(self._units) if self._units is not None else ""

    # -- start ---------------------------------------------------------------------------

    def probe(self):
        self._units = None
        self._news = []  # events that poll() has not reported yet
        self._todo = []  # those that .units does not take into account yet
        self._read_config()
        self.controlq = self.queue(_CONTROLQ)
        self.eventq = self.queue(_EVENTQ)
        requestq = self.queue(_REQUESTQ)
        requestq.distrust_lengths()  # QEMU counts what it has read, too
        self.commands = Commands(self, requestq)
        self._deaf = False  # an abort was not answered: do not wait for each of many
        self.callback = None  # called with (what, target, lun) for each event; must not block

    def _read_config(self):
        read = self.config_u32
        self.num_queues = read(0)
        self.seg_max = read(4)
        self.max_sectors = read(8)
        self.cmd_per_lun = read(12)
        self.event_info_size = read(16)
        self.sense_size = read(20)
        self.cdb_size = read(24)
        self.max_channel, self.max_target = self.config_u16(28), self.config_u16(30)
        self.max_lun = read(32)
        self._event_size = max(_EVENT_SIZE, self.event_info_size)
        if self._event_size > 4096 or not 16 <= self.cdb_size <= 256 or not 18 <= self.sense_size <= 4096:
            sizes = self.event_info_size, self.cdb_size, self.sense_size
            raise DeviceError("%s: events of %d bytes, commands of %d, sense of %d" % ((self.name,) + sizes))

    def ready(self):
        if self.has(_HOTPLUG) or self.has(_CHANGE):
            for _ in range(min(_EVENTS, self.eventq.size)):
                self._post(bytearray(self._event_size))

    def save(self):
        return self._units, self.callback

    def restore(self, state):
        """The units are the same objects as before, those that are still there."""
        self._units, self.callback = state
        for unit in self._units or ():
            unit.adopt()
        if self._units is not None:
            self.scan()

    def _post(self, buf):
        self.eventq.add((), (buf,), buf)
        self.eventq.notify()

    # -- units -----------------------------------------------------------------------------

    @property
    def units(self):
        """The Units, in the order of target and LUN; looks for them first, and after events again."""
        self.check()
        self.follow()
        if self._units is None:
            self.scan()
        return list(self._units)

    def follow(self):
        """Do what the events that came ask for."""
        self._collect()
        while self._todo:
            what, target, lun = self._todo.pop(0)
            if self._units is None:
                continue
            if what == "missed":
                self.scan()
            elif what == "added" or what == "removed":
                self.scan(target)  # also where the LUN is not 0: REPORT LUNS tells all of them at once
            else:
                for unit in self._units:
                    if unit.target == target and unit.lun == lun:
                        unit.stale = True

    def unit(self, target, lun=0):
        """The Unit with that address. OSError(ENODEV)."""
        for found in self.units:
            if found.target == target and found.lun == lun:
                return found
        raise OSError(errno.ENODEV, "%s: no unit %d:%d" % (self.name, target, lun))

    def scan(self, target=None):
        """Ask all targets, or one, for their units; what was known already stays the same object."""
        from .scsiunit import Unit

        targets = range(self.max_target + 1) if target is None else (target,)
        known = {(unit.target, unit.lun): unit for unit in self._units or ()}
        found = [unit for unit in self._units or () if unit.target not in targets]
        for at, lun in self._report(targets):
            unit = known.get((at, lun)) or Unit(self, at, lun)
            if unit.inquire():
                found.append(unit)
        for unit in known.values():
            unit.gone = unit not in found
        found.sort(key=lambda unit: (unit.target, unit.lun))
        self._units = found
        return list(found)

    def _report(self, targets):
        """[(target, LUN)] of everything that REPORT LUNS names; many targets are asked at a time."""
        cdb = struct.pack(">BBHHIBB", 0xA0, 0, 0, 0, _LIST, 0, 0)
        todo = [(_Target(self, number), number) for number in targets]
        flying, found = [], []
        most = max(1, min(_SCAN_DEPTH, self.commands.queue.size // 4))
        try:
            while todo or flying:
                while todo and len(flying) < most:
                    place, number = todo.pop(0)
                    buf = bytearray(_LIST)
                    lun = address(number, 0)
                    flying.append((number, self.commands.start(place, lun, cdb, None, buf, "report luns")))
                number, command = flying.pop(0)
                found.extend([(number, lun) for lun in self._luns(command)])
        finally:
            for _, command in flying:
                self.commands.drop(command)
        return found

    def _luns(self, command):
        # The LUNs of a target: none if nothing answers there.
        commands = self.commands
        commands.finish(command, _CONTROL_MS)
        if not command.good:
            if command.response:
                return []
            try:
                command = commands.run(
                    command.place, command.lun, command.cdb, None, command.into, command.what, command=command
                )
            except OSError:
                return [0]  # it is there, but does not know the command
        raw = command.into
        n = min(int.from_bytes(raw[:4], "big"), command.moved - 8, _LIST - 8)
        luns = []
        for at in range(8, 8 + n - 7, 8):
            if raw[at] >> 6 <= 1:  # simple or flat: what 5.6.6.1 can say
                luns.append((raw[at] & 0x3F) << 8 | raw[at + 1])
        return luns

    def look_again(self, target):
        """Ask a target for its units when somebody next wants to know."""
        self._todo.append(("added", target, 0))

    # -- task management and asynchronous notifications -----------------------------------------

    def _control(self, request, size, what, timeout_ms=_CONTROL_MS):
        """Send a control request; its answer of `size` bytes, the last one the response."""
        answer = bytearray(size)
        answer[size - 1] = 0xFF
        head = self.controlq.add((request,), (answer,))
        self.controlq.notify()
        self.controlq.wait(head, timeout_ms)
        self._deaf = False
        if answer[size - 1] == 0xFF:
            self.fail("%s: no response was written" % what)
        return answer

    def tmf(self, what, target, lun=0, number=0):
        """A task management function: 'unit reset', 'abort task', ...; the response code (5.6.6.2).

        0 complete, 10 succeeded (query: the task is there), 11 rejected, 3 bad target, 12 bad LUN.
        """
        request = struct.pack("<II8sQ", 0, _TMF[what], address(target, lun), number)
        return self._control(request, 1, what)[0]

    def abort(self, command):
        """Have a command ended whose answer nobody waits for; whether its buffers are free again."""
        if self._deaf:
            return False
        try:
            request = struct.pack("<II8sQ", 0, _TMF["abort task"], command.lun, command.number)
            self._control(request, 1, "abort task", _ABORT_MS)
            return self._came_back(command)
        except (OSError, ValueError):
            self._deaf = True
            return False

    def _came_back(self, command):
        # wait() was left with an exception, so the queue frees the chain by itself.
        self.commands.queue.reap()
        return command.resp[11] != 0xFF

    def query_an(self, target, lun, mask):
        """Ask which asynchronous events have come (bits of 5.6.6.2); OSError(EIO)."""
        return self._asynchronous(_AN_QUERY, target, lun, mask)

    def subscribe_an(self, target, lun, mask):
        """Ask to be told of asynchronous events; those that the unit can tell."""
        return self._asynchronous(_AN_SUBSCRIBE, target, lun, mask)

    def _asynchronous(self, kind, target, lun, mask):
        answer = self._control(struct.pack("<I8sI", kind, address(target, lun), mask), 5, "asynchronous events")
        actual, response = struct.unpack("<IB", answer)
        if response:
            from .sense import error

            raise error("%s:%d:%d" % (self.name, target, lun), "asynchronous events", response, 0, None)
        return actual

    # -- events --------------------------------------------------------------------------------

    def poll(self):
        """Look for events; [(what, target, LUN)] since the last call, .units is up to date then.

        what: 'added', 'removed', 'reset', 'changed', 'notice', 'missed' (some were lost, so all
        targets are asked again).
        """
        self.check()
        self.follow()
        news, self._news = self._news, []
        return news

    def on_interrupt(self):
        self._collect()

    def _collect(self):
        """Take events off the queue; their buffers go back to the device."""
        while True:
            got = self.eventq.get()
            if got is None:
                return
            buf, size = got
            if size < _EVENT_SIZE and not self.transport.legacy:
                self.fail("an event of %d bytes" % size)
            event, lun, reason = struct.unpack_from("<I8sI", buf)
            self._post(buf)
            if event & _MISSED:
                self.note("missed", -1, -1)
            self._event(event & ~_MISSED, lun, reason)

    def _event(self, event, lun, reason):
        target, number = lun[1], (lun[2] & 0x3F) << 8 | lun[3]
        if event == _TRANSPORT_RESET:
            self.note(_REASONS[reason] if reason < len(_REASONS) else "reset", target, number)
        elif event == _PARAM_CHANGE:
            self.note("changed", target, number)
        elif event == _ASYNC_NOTIFY:
            self.note("notice", target, number)

    def note(self, what, target, lun):
        """Keep an event for poll() and .units."""
        self._todo.append((what, target, lun))
        if len(self._todo) > _NEWS:  # nobody has looked for long
            self._todo = [("missed", -1, -1)]
        self._news.append((what, target, lun))
        if len(self._news) > _NEWS:
            self._news.pop(0)
        if self.callback is not None:
            self.callback(what, target, lun)
