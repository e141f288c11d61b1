"""virtio-net (5.1): raw Ethernet frames in and out."""

import errno
import time

from micropython import const

from .device import Device

_F_MTU = const(3)
_F_MAC = const(5)
_F_STATUS = const(16)

_MAC = const(0)
_LINK_STATUS = const(6)
_CONFIG_MTU = const(10)
_LINK_UP = const(1)

_RECEIVEQ = const(0)
_TRANSMITQ = const(1)

_HEADER = const(12)
_HEADER_LEGACY = const(10)  # without num_buffers
_ETHERNET = const(14)  # addresses and type
_VLAN = const(4)
_DEFAULT_MTU = const(1500)
_LEAST_ROOM = const(1526)  # what a receive buffer holds at least, header included (5.1.9.3.1)


class Net(Device):
    """A network card: recv(), recv_into(buf), send(frame), .mac, .mtu, .isconnected()."""

    NAME = "net"
    IDS = (1,)
    FEATURES = 1 << _F_MTU | 1 << _F_MAC | 1 << _F_STATUS
    FEATURE_NAMES = {3: "MTU", 5: "MAC", 16: "STATUS"}
    BUFFERS = 32  # of each direction

    def probe(self):
        self.mac = self._station_address()
        self.mtu = self.config_u16(_CONFIG_MTU) if self.has(_F_MTU) else _DEFAULT_MTU
        # Where the device states an MTU, a VLAN tag counts as payload (5.1.4.2).
        self._longest = self.mtu + _ETHERNET + (0 if self.has(_F_MTU) else _VLAN)
        self._header = _HEADER_LEGACY if self.transport.legacy else _HEADER
        room = max(_LEAST_ROOM, self._header + self.mtu + _ETHERNET + _VLAN)
        self._receiveq = self.queue(_RECEIVEQ)
        self._transmitq = self.queue(_TRANSMITQ)
        self._rx = self._buffers(self._receiveq, room)
        self._tx = self._buffers(self._transmitq, room)
        self._free = list(range(len(self._tx)))
        self._next = None  # (buffer, frame length) that recv_into() had no room for
        self.received = self.sent = 0
        for i in range(len(self._rx)):
            self._receiveq.add((), self._rx[i], i)

    def _station_address(self):
        if self.has(_F_MAC):
            return self.config_bytes(_MAC, 6)
        import os

        mac = bytearray(os.urandom(6))
        mac[0] = mac[0] & 0xFC | 2  # one station, locally administered
        return bytes(mac)

    def _buffers(self, queue, room):
        # (header, frame) memoryviews. Two descriptors each, for a legacy device may want the
        # header to have one to itself (5.1.9.2.1).
        count = min(self.BUFFERS, queue.size // 2)
        room = room + 15 & -16
        store = memoryview(bytearray(count * room))
        cut = self._header
        return [(store[at : at + cut], store[at + cut : at + room]) for at in range(0, count * room, room)]

    def ready(self):
        self._receiveq.notify()

    # Receiving

    def _take(self, timeout_ms):
        # (buffer, frame length) of the next frame, or None. A bad timeout only costs time.
        found = self._next
        if found is not None:
            self._next = None
            return found
        queue = self._receiveq
        found = queue.get()
        if found is None and timeout_ms:
            if not queue.poll(time.ticks_add(time.ticks_ms(), timeout_ms)):
                return None
            found = queue.get()
        if found is None:
            return None
        i, used = found
        if used < self._header:
            self.fail("a frame of %d bytes with its header" % used)
        return i, used - self._header

    def _give(self, i):
        self.received += 1
        self._receiveq.add((), self._rx[i], i)
        self._receiveq.notify()

    def recv_into(self, buf, timeout_ms=0):
        """Copy the next frame into buf; its length, or None when none came in timeout_ms.

        Polls, Ctrl-C safe. ValueError: buf is shorter than the frame, which stays the next one.
        DeviceError: an answer shorter than its header. virtio 5.1.9.4; needs DRIVER_OK.
        """
        found = self._take(timeout_ms)
        if found is None:
            return None
        i, size = found
        if size > len(buf):
            self._next = found
            raise ValueError("%s: a frame of %d bytes, a buffer of %d" % (self.name, size, len(buf)))
        buf[:size] = self._rx[i][1][:size]
        self._give(i)
        return size

    def recv(self, timeout_ms=0):
        """The next frame as bytes, or None when none came in timeout_ms; see recv_into()."""
        found = self._take(timeout_ms)
        if found is None:
            return None
        i, size = found
        frame = bytes(self._rx[i][1][:size])
        self._give(i)
        return frame

    # Sending

    def _reclaim(self):
        while True:
            found = self._transmitq.get()
            if found is None:
                return
            self._free.append(found[0])

    def send(self, frame, timeout_ms=1000):
        """Queue one frame, which is copied; blocks only while all buffers are in flight.

        frame: bytes-like, from the destination address on, without the checksum at the end;
        fully checksummed inside. Returns its length. ValueError: shorter than an Ethernet header
        or longer than the MTU allows. OSError: ETIMEDOUT. virtio 5.1.9.2; needs DRIVER_OK.
        """
        size = len(frame)
        if not _ETHERNET <= size <= self._longest:
            raise ValueError("%s: a frame of %d bytes, %d to %d fit" % (self.name, size, _ETHERNET, self._longest))
        self._reclaim()
        if not self._free:
            self._transmitq.poll(time.ticks_add(time.ticks_ms(), timeout_ms))
            self._reclaim()
            if not self._free:
                raise OSError(errno.ETIMEDOUT, "%s: send: no buffer in %d ms" % (self.name, timeout_ms))
        i = self._free.pop()
        header, room = self._tx[i]
        room[:size] = frame
        # The header stays all zero: no checksum offload, no segmentation (5.1.9.2.1).
        self._transmitq.add((header, room[:size]), (), i)
        self._transmitq.notify()
        self.sent += 1
        return size

    def flush(self, timeout_ms=1000):
        """Wait until the device has taken all frames. OSError: ETIMEDOUT."""
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        self._reclaim()
        while len(self._free) < len(self._tx):
            if not self._transmitq.poll(deadline):
                raise OSError(errno.ETIMEDOUT, "%s: flush: %d ms" % (self.name, timeout_ms))
            self._reclaim()

    # State

    def isconnected(self):
        """Whether the link is up; always, on a device that does not tell (5.1.4.2)."""
        return not self.has(_F_STATUS) or bool(self.config_u16(_LINK_STATUS) & _LINK_UP)

    def config(self, name):
        """config('mac') or config('mtu'), as network.LAN has it. ValueError: another name."""
        if name == "mac":
            return self.mac
        if name == "mtu":
            return self.mtu
        raise ValueError("%s: no parameter %s" % (self.name, name))

    def about(self):
        text = ":".join("%02x" % byte for byte in self.mac)
        return "%s mtu %d %s" % (text, self.mtu, "up" if self.isconnected() else "down")
