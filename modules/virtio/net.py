"""virtio-net (5.1): raw Ethernet frames in and out, with checksum and segmentation offload."""

import os
import time

import micropython
from micropython import const

from . import netfeatures, netpacket
from .device import Device
from .netctrl import Control
from .netrx import Receiver
from .nettx import Sender

_F_GUEST_CSUM = const(1)
_F_MTU = const(3)
_F_MAC = const(5)
_F_MRG_RXBUF = const(15)
_F_STATUS = const(16)
_F_CTRL_VQ = const(17)
_F_GUEST_ANNOUNCE = const(21)
_F_MQ = const(22)
_F_CTRL_MAC_ADDR = const(23)
_F_HASH_REPORT = const(57)
_F_RSS = const(60)
_F_SPEED_DUPLEX = const(63)
_ANY_LAYOUT = const(27)

_MAC = const(0)
_STATUS = const(6)
_MAX_PAIRS = const(8)
_CONFIG_MTU = const(10)
_SPEED = const(12)
_DUPLEX = const(16)
_LINK_UP = const(1)
_ANNOUNCE = const(2)

_ETHERNET = const(14)  # addresses and type
_VLAN = const(4)
_DEFAULT_MTU = const(1500)
_LEAST_ROOM = const(1514)  # of a frame in a receive buffer: 1526 with the header (5.1.9.3.1)
_LARGEST = const(65589)  # and where the device may join segments: 65601
_GSO_MOST = const(65553)  # IP's own limit, an Ethernet header and a VLAN tag
_NEEDS_CSUM = const(1)


class Net(Device):
    """A network card: recv(), recv_packet(), send(frame), .mac, .mtu, .isconnected(), .ctrl."""

    NAME = "net"
    IDS = (1,)
    # CSUM to MTU, MAC, GUEST_TSO4 to CTRL_MAC_ADDR, GUEST_USO4 to HASH_REPORT, GUEST_HDRLEN, RSS, SPEED_DUPLEX
    FEATURES = 0xFFFFAF | 0x9BC00000 << 32
    FEATURE_NAMES = netfeatures.NAMES
    LIVE = ("_only", "_senders", "_receivers", "ctrl")
    BUFFERS = 64  # of each direction in each pair of queues
    PACKED_EVENTS = False  # whether to take EVENT_IDX with packed rings
    PAIRS = 4  # most pairs of queues that are set up

    def choose(self, features):
        """Drop what makes no sense without another feature (5.1.3.1), and what QEMU gets wrong."""
        return netfeatures.settle(features, self.PACKED_EVENTS)

    def probe(self):
        has = self.has
        self.mac = self._station_address()
        self.mtu = self.config_u16(_CONFIG_MTU) if has(_F_MTU) else _DEFAULT_MTU
        # Where the device states an MTU, a VLAN tag counts as payload (5.1.4.2).
        self._longest = self.mtu + _ETHERNET + (0 if has(_F_MTU) else _VLAN)
        self.merging = has(_F_MRG_RXBUF)
        self.hashing = has(_F_HASH_REPORT)
        self.flags_known = 3 if has(_F_GUEST_CSUM) else 0  # NEEDS_CSUM, DATA_VALID
        self.header_size = 20 if self.hashing else 10 if self.transport.legacy and not self.merging else 12
        # A legacy device may want the header in a descriptor of its own (5.1.9.7).
        self.split = self.transport.legacy and not has(_ANY_LAYOUT)
        self.received = self.sent = self.dropped = 0
        self.on_link = None  # called with this card when the link goes up or down
        self.on_announce = None  # called with this card when it should make itself known (GUEST_ANNOUNCE)
        self.on_receive = None  # called with this card by the interrupt, after interrupts(True)
        self._make_queues()
        self._link = self.isconnected()

    def _station_address(self):
        if self.has(_F_MAC):
            return self.config_bytes(_MAC, 6)
        mac = bytearray(os.urandom(6))
        mac[0] = mac[0] & 0xFC | 2  # one station, locally administered
        return bytes(mac)

    def _make_queues(self):
        pairs = self.config_u16(_MAX_PAIRS) if self.has(_F_MQ) or self.has(_F_RSS) else 1
        self.pairs_ready = max(1, min(pairs, self.PAIRS))
        self._all = [(self._receiver(i), self._sender(i)) for i in range(self.pairs_ready)]
        # The control queue comes after all pairs that the device has (5.1.2).
        self.ctrl = Control(self, self.queue(2 * pairs, 64) if self.has(_F_CTRL_VQ) else None)
        self.use_pairs(1)

    def _receiver(self, i):
        queue = self.queue(2 * i)
        count = max(1, min(self.BUFFERS, queue.size // (2 if self.split else 1)))
        room = max(_LEAST_ROOM, self.mtu + _ETHERNET + _VLAN)
        if self.features & (1 << 7 | 1 << 8 | 1 << 10 | 3 << 54):
            if not self.merging:
                room = _LARGEST
                count = max(1, min(count, self.BUFFERS // 4))
            elif room * count < 2 * _LARGEST:
                room = 2 * _LARGEST // count
        return Receiver(self, i, queue, self.header_size, room, count, self.split)

    def _sender(self, i):
        queue = self.queue(2 * i + 1)
        count = max(1, min(self.BUFFERS, queue.size // (3 if self.split else 2)))
        room = max(_LEAST_ROOM, self.mtu + _ETHERNET) + _VLAN
        return Sender(self, queue, self.header_size, room, count, self.split)

    def before_pairs(self, count):
        """VQ_PAIRS_SET comes now: no more frames beyond, and buffers where frames may come."""
        self._senders = [pair[1] for pair in self._all[: min(count, self.pairs_used)]]
        for receiver, _ in self._all[:count]:
            receiver.fill()
            if self.pairs_used < count:
                receiver.queue.notify()

    def use_pairs(self, count):
        """The device uses this many pairs now."""
        self.pairs_used = count
        self._senders = [pair[1] for pair in self._all[:count]]
        self._receivers = [pair[0] for pair in self._all]
        self._receivers = self._receivers[: max(count, len([r for r in self._receivers if r.filled]))]
        self._only = self._receivers[0] if len(self._receivers) == 1 else None

    def ready(self):
        self._only.fill()
        self._only.queue.notify()
        if not self.has(_F_MAC) and self.has(_F_CTRL_MAC_ADDR):
            self.ctrl.set_mac(self.mac)

    def save(self):
        return self.ctrl.settings

    def restore(self, state):
        self.ctrl.replay(state)

    # -- receiving -------------------------------------------------------------------------

    def _take(self, timeout_ms):
        # (receiver, ...) of the frame at hand, or None. A bad timeout only costs time.
        receiver = self._only
        if receiver is None:
            return self._take_any(timeout_ms)
        found = receiver.take()
        if found is None and timeout_ms and receiver.queue.poll(time.ticks_add(time.ticks_ms(), timeout_ms)):
            found = receiver.take()
        return found

    def _take_any(self, timeout_ms):
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            for receiver in self._receivers:
                found = receiver.take()
                if found is not None:
                    # Next time the others come first.
                    self._receivers = [r for r in self._receivers if r is not receiver] + [receiver]
                    return found
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                self.check_status()
                return None
            self._receivers[0].queue.poll(time.ticks_ms())

    @micropython.native
    def _read(self, timeout_ms, use, buf=None):
        # What use(found, buf) makes of the frame at hand, or None. Whatever ends it, what was taken goes back.
        receivers = self._receivers
        marks = [len(receiver.held) for receiver in receivers]
        result = None
        try:
            found = self._take(timeout_ms)
            if found is not None:
                result = use(found, buf)
                self.received += 1
        finally:
            for i in range(len(receivers)):
                receivers[i].done(marks[i])
        return result

    def _finish(self, found, data):
        raw = found[0].views[found[1]]
        netpacket.complete(data, raw[6] | raw[7] << 8, raw[8] | raw[9] << 8)

    @micropython.native
    def recv_into(self, buf, timeout_ms=0):
        """Copy the next frame into buf; its length, or None when none came in timeout_ms.

        Polls, Ctrl-C safe. ValueError: buf is shorter than the frame, which stays the next one.
        DeviceError: an answer shorter than its header. virtio 5.1.9.4; needs DRIVER_OK.
        """
        if self._only is not None:
            size = self._only.into(buf)
            if size >= 0:
                self.received += 1
                return size
        return self._read(timeout_ms, self._copy, buf)

    def _copy(self, found, buf):
        receiver = found[0]
        size = receiver.size(found)
        if size > len(buf):
            receiver.keep(found)
            raise ValueError("%s: a frame of %d bytes, a buffer of %d" % (self.name, size, len(buf)))
        receiver.copy(found, buf)
        if receiver.flags(found) & _NEEDS_CSUM:
            self._finish(found, memoryview(buf)[:size])
        return size

    @micropython.native
    def recv(self, timeout_ms=0):
        """The next frame as bytes, or None when none came in timeout_ms; see recv_into().

        With segmentation offload it may hold up to 64 KiB; its checksum is complete in any case.
        """
        if self._only is not None:
            frames = []
            if self._only.many(frames, 1):
                self.received += 1
                return frames[0]
        return self._read(timeout_ms, self._data)

    def _data(self, found, _):
        receiver = found[0]
        data = receiver.data(found)
        if receiver.flags(found) & _NEEDS_CSUM:
            data = bytearray(data)
            self._finish(found, data)
            data = bytes(data)
        return data

    @micropython.native
    def recv_many(self, most=64, timeout_ms=0):
        """A list of up to `most` frames that are there; waits up to timeout_ms for the first."""
        frames = []
        frame = self.recv(timeout_ms)
        while frame is not None:
            frames.append(frame)
            if self._only is not None:
                self.received += self._only.many(frames, most)
            frame = self.recv() if len(frames) < most else None
        return frames

    def recv_packet(self, timeout_ms=0):
        """The next frame as a netpacket.Packet, with what the device says about it, or None."""
        return self._read(timeout_ms, self._packet)

    def _packet(self, found, _):
        receiver = found[0]
        raw = receiver.views[found[1]]
        flags = receiver.flags(found)
        return netpacket.Packet(receiver.data(found), raw, flags, self.hashing, receiver.index)

    def recv_view(self, timeout_ms=0):
        """The next frame where the device wrote it, or None: a view, good until the next receive call.

        A missing checksum is completed in place. Memory given by lend() is the caller's to keep.
        """
        return self._read(timeout_ms, self._view)

    def _view(self, found, _):
        receiver = found[0]
        raw = bytes(receiver.views[found[1]][6:10]) if receiver.flags(found) & _NEEDS_CSUM else None
        view = receiver.view(found)
        if raw:
            netpacket.complete(view, raw[0] | raw[1] << 8, raw[2] | raw[3] << 8)
        return view

    def lend(self, buf):
        """Post memory of the caller's for one received frame, which recv_view() gives back in it.

        buf: writable, with room for the header (.header_size) and a whole frame. ValueError: less.
        OSError: EAGAIN, the queue is full. The card owns it until the frame came or it is closed.
        """
        self.check()
        need = self.header_size + max(_LEAST_ROOM, self.mtu + _ETHERNET)
        if len(buf) < need:
            raise ValueError("%s: a buffer of %d bytes, a frame needs %d" % (self.name, len(buf), need))
        self._receivers[0].lend(buf)

    # -- sending ---------------------------------------------------------------------------

    def _sender_of(self, queue):
        if not 0 <= queue < len(self._senders):
            raise ValueError("%s: pair %d of %d in use" % (self.name, queue, len(self._senders)))
        return self._senders[queue]

    @micropython.native
    def send(self, frame, csum=None, gso=None, queue=0, timeout_ms=1000):
        """Queue one frame, which is copied; blocks only while all buffers are in flight.

        frame: bytes-like, from the destination address on, without the checksum at the end.
        csum: None, the frame is fully checksummed; True, fill in that of TCP or UDP, by the card if
        it can; (start, offset), the card sums from start on and stores at start + offset, where the
        sum of the pseudo-header is already. gso: bytes of a segment; the card cuts the TCP frame
        into such segments (or ("uso", n), ("ufo", n) for UDP). queue: the pair to send through.
        Frames that fit no buffer are sent from where they are, and waited for.

        Returns the length. ValueError: shorter than an Ethernet header, longer than the MTU allows,
        no headers to checksum. OSError: ETIMEDOUT, EOPNOTSUPP. virtio 5.1.9.2; needs DRIVER_OK.
        """
        size = len(frame)
        sender = self._senders[0] if queue == 0 else self._sender_of(queue)
        if csum is not None or gso is not None:
            if gso is None and size > self._longest or not _ETHERNET <= size <= _GSO_MOST:
                self._bad_size(size)
            sender.offload(frame, csum, gso, timeout_ms)
        elif not _ETHERNET <= size <= self._longest:
            self._bad_size(size)
        else:
            sender.put(frame, size, timeout_ms)
            sender.queue.notify()
        self.sent += 1
        return size

    @micropython.native
    def send_many(self, frames, queue=0, timeout_ms=1000):
        """Queue many frames like send(), with one notification; how many."""
        sender = self._sender_of(queue)
        put = sender.put
        longest = self._longest
        n = 0
        try:
            for frame in frames:
                size = len(frame)
                if not _ETHERNET <= size <= longest:
                    self._bad_size(size)
                put(frame, size, timeout_ms)
                n += 1
        finally:
            sender.queue.notify()
            self.sent += n
        return n

    def _bad_size(self, size):
        raise ValueError("%s: a frame of %d bytes, %d to %d fit" % (self.name, size, _ETHERNET, self._longest))

    def flush(self, timeout_ms=1000):
        """Wait until the device has taken all frames. OSError: ETIMEDOUT."""
        self.check()
        for _, sender in self._all:
            sender.flush(timeout_ms)

    # -- state ---------------------------------------------------------------------------------

    def isconnected(self):
        """Whether the link is up; always, on a device that does not tell (5.1.4.2)."""
        return not self.has(_F_STATUS) or self.config_u16(_STATUS) & _LINK_UP != 0

    @property
    def speed(self):
        """Mbit/s, None when unknown."""
        speed = self.config_u32(_SPEED) if self.has(_F_SPEED_DUPLEX) else 0xFFFFFFFF
        return speed if speed <= 0x7FFFFFFF else None

    @property
    def duplex(self):
        """'full', 'half', None when unknown."""
        duplex = self.config_u8(_DUPLEX) if self.has(_F_SPEED_DUPLEX) else 0xFF
        return "full" if duplex == 1 else "half" if duplex == 0 else None

    def config_changed(self):
        """Link changes and requests to announce the station (5.1.9.6.4)."""
        if not self.has(_F_STATUS):
            return
        status = self.config_u16(_STATUS)
        link = bool(status & _LINK_UP)
        if link != self._link:
            self._link = link
            if self.on_link:
                self.on_link(self)
        if status & _ANNOUNCE and self.has(_F_GUEST_ANNOUNCE):
            if self.on_announce:
                self.on_announce(self)
            else:
                self.announce()
            self.ctrl.acknowledge_announce()

    def announce(self):
        """Send a frame that tells switches where this station is: RARP, for no IP address is known here."""
        who = self.mac + bytes(4)
        self.send(b"\xff" * 6 + self.mac + b"\x80\x35\0\1\x08\0\6\4\0\3" + who + who + bytes(18), timeout_ms=0)

    def interrupts(self, on):
        """As Device.interrupts(); what was sent does not interrupt."""
        super().interrupts(on)
        for _, sender in self._all:
            sender.queue.listen(False)

    def on_interrupt(self):
        if self.on_receive:
            self.on_receive(self)

    def config(self, name=None, **settings):
        """config('mac') or config('mtu'), as network.LAN has it; config(mac=...) sets the address."""
        if name in ("mac", "mtu") and not settings:
            return getattr(self, name)
        if name or list(settings) != ["mac"]:
            raise ValueError("%s: no parameter %s" % (self.name, name or " ".join(settings)))
        self.ctrl.set_mac(settings["mac"])

    def about(self):
        mac = ":".join(["%02x" % byte for byte in self.mac])
        return "%s mtu %d %s" % (mac, self.mtu, "up" if self.isconnected() else "down")
