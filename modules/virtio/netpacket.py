"""Frames and their offload headers (5.1.9): where the checksum is, what a segment is made of."""

import struct

import micropython
import riscv
from micropython import const

_NEEDS_CSUM = const(1)
_DATA_VALID = const(2)
_UDP_TUNNEL_CSUM = const(8)
_ECN = const(0x80)
_TUNNEL = const(0x60)

_TCP = const(6)
_UDP = const(17)
_CWR = const(0x80)  # in the flags of a TCP header

# gso_type (5.1.9) by the names that send() and Packet.gso use, and the feature that allows sending it
TYPES = {"tcp4": 1, "ufo": 3, "tcp6": 4, "uso": 5}
FEATURES = {"tcp4": 11, "ufo": 14, "tcp6": 12, "uso": 56}
_NAMES = {1: "tcp4", 3: "ufo", 4: "tcp6", 5: "uso"}


@micropython.viper
def _words(addr: int, n: int) -> int:
    """The ones' complement sum of n bytes as big-endian 16-bit words, not inverted. addr is even."""
    p = ptr16(addr)
    b = ptr8(addr)
    total = 0
    i = 0
    half = n >> 1
    while i < half:
        total += p[i]
        i += 1
    if n & 1:
        total += b[n - 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFF) << 8 | total >> 8


def checksum(buf, start=0):
    """The ones' complement sum of buf from start on, not inverted: what an Internet checksum is made of."""
    n = len(buf) - start
    if n <= 0:
        return 0
    addr = riscv.addr(buf) + start
    if addr & 1:
        buf = bytes(memoryview(buf)[start:])  # a copy lies even
        addr = riscv.addr(buf)
    return _words(addr, n)


def complete(buf, start, offset):
    """Store at start + offset the checksum over buf from start on (NEEDS_CSUM done in software)."""
    struct.pack_into(">H", buf, start + offset, checksum(buf, start) ^ 0xFFFF or 0xFFFF)


class Layers:
    """Where the headers of a TCP or UDP frame are.

    family 4 or 6, protocol 6 or 17, l3 and l4: offsets of the IP and the transport header,
    offset: of the checksum in the latter, payload: where the data begin.
    """

    def __init__(self, frame):
        """ValueError: neither TCP nor UDP over IPv4 or IPv6, a fragment, or cut short."""
        try:
            self._parse(frame)
        except IndexError:
            raise ValueError("a frame of %d bytes ends in its headers" % len(frame))
        if self.payload > len(frame):
            raise ValueError("a frame of %d bytes ends in its headers" % len(frame))

    def _parse(self, frame):
        at = 12
        kind = frame[12] << 8 | frame[13]
        while kind == 0x8100 or kind == 0x88A8:
            at += 4
            kind = frame[at] << 8 | frame[at + 1]
        self.l3 = at = at + 2
        if kind == 0x0800 and frame[at] >> 4 == 4:
            self._ipv4(frame, at)
        elif kind == 0x86DD and frame[at] >> 4 == 6:
            self._ipv6(frame, at)
        else:
            raise ValueError("no checksum to offload: EtherType %#06x" % kind)
        if self.protocol == _TCP:
            self.offset = 16
            self.payload = self.l4 + (frame[self.l4 + 12] >> 4) * 4
        elif self.protocol == _UDP:
            self.offset = 6
            self.payload = self.l4 + 8
        else:
            raise ValueError("no checksum to offload: IP protocol %d" % self.protocol)

    def _ipv4(self, frame, at):
        self.family = 4
        self.protocol = frame[at + 9]
        if (frame[at + 6] << 8 | frame[at + 7]) & 0x3FFF:
            raise ValueError("no checksum to offload: a fragment")
        self.l4 = at + (frame[at] & 15) * 4
        self.size = (frame[at + 2] << 8 | frame[at + 3]) - self.l4 + at

    def _ipv6(self, frame, at):
        self.family = 6
        end = at + 40 + (frame[at + 4] << 8 | frame[at + 5])
        self.protocol = frame[at + 6]
        at += 40
        while self.protocol in (0, 43, 60):  # hop-by-hop, routing, destination options
            self.protocol = frame[at]
            at += (frame[at + 1] + 1) * 8
        self.l4 = at
        self.size = end - at

    def pseudo(self, frame):
        """The sum of the pseudo-header, not inverted."""
        first, last = (12, 20) if self.family == 4 else (8, 40)
        total = checksum(bytes(memoryview(frame)[self.l3 + first : self.l3 + last]))
        total += self.protocol + (self.size & 0xFFFF) + (self.size >> 16)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    def kind(self):
        """The name of this frame's segmentation offload."""
        if self.protocol == _UDP:
            return "uso"
        return "tcp4" if self.family == 4 else "tcp6"

    def congested(self, frame):
        """Whether a TCP frame carries CWR, which only its first segment may have (GSO_ECN)."""
        return self.protocol == _TCP and frame[self.l4 + 13] & _CWR != 0


def header(flags, kind, header_len=0, mss=0, start=0, offset=0):
    """The ten bytes that every version of struct virtio_net_hdr begins with."""
    return struct.pack("<BBHHHH", flags, kind, header_len, mss, start, offset)


def acceptable(view, header_len, size):
    """Whether a frame with offload bits may be taken (5.1.9.4.1): no tunnels, and its checksum inside it."""
    flags = view[0]
    if view[1] & _TUNNEL or flags & (_NEEDS_CSUM | _UDP_TUNNEL_CSUM) == _NEEDS_CSUM | _UDP_TUNNEL_CSUM:
        return False
    if flags & _NEEDS_CSUM:
        start, offset = struct.unpack_from("<HH", view, 6)
        return start + offset + 2 <= size
    return True


def checksummed(frame, layers):
    """A copy of a frame with its TCP or UDP checksum in place."""
    data = bytearray(frame)
    at = layers.l4 + layers.offset
    struct.pack_into(">H", data, at, layers.pseudo(frame))
    complete(data, layers.l4, layers.offset)
    return data


class Packet:
    """A received frame and what the device says about it.

    .data bytes; .needs_csum (start, offset) when the checksum there still has to be completed, else None;
    .data_valid whether the device checked it; .gso (kind, size of a segment) or None; .ecn; .queue the
    pair it came through; .hash (value, type number) or None.
    """

    def __init__(self, data, raw, flags, has_hash, queue):
        """raw: the header's bytes; flags: those of its flags that may be believed."""
        _, kind, _, mss, start, offset = struct.unpack_from("<BBHHHH", raw, 0)
        self.data = data
        self.needs_csum = (start, offset) if flags & _NEEDS_CSUM else None
        self.data_valid = flags & _DATA_VALID != 0
        name = _NAMES.get(kind & ~_ECN)
        self.gso = (name, mss) if name else None
        self.ecn = name is not None and kind & _ECN != 0
        self.queue = queue
        self.hash = None
        if has_hash:
            value, kind = struct.unpack_from("<IH", raw, 12)
            self.hash = (value, kind) if kind else None

    def __repr__(self):
        words = "%d bytes" % len(self.data)
        if self.needs_csum:
            words += ", checksum missing"
        elif self.data_valid:
            words += ", checked"
        if self.gso:
            words += ", %s of %d%s" % (self.gso[0], self.gso[1], " ecn" if self.ecn else "")
        return "<packet of queue %d: %s>" % (self.queue, words)

    def finished(self):
        """The frame with its checksum completed."""
        if self.needs_csum is None:
            return self.data
        data = bytearray(self.data)
        complete(data, *self.needs_csum)
        return bytes(data)
