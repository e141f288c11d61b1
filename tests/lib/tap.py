"""A tap interface between QEMU and this process: frames with the offload headers that the kernel gives them.

QEMU makes the interface; open() then listens on it with a packet socket, whose frames carry struct virtio_net_hdr
(PACKET_VNET_HDR). Nothing is routed, and the host's own IPv6 stays off it. It takes the right to open /dev/net/tun
and to configure interfaces.
"""

import contextlib
import fcntl
import itertools
import os
import socket
import struct
import time
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 2, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETH_P_ALL = 3

_numbers = itertools.count()


def missing():
    """Why no tap interface can be used here, or None."""
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        return f"no tap interface: {error}"
    return None


class Tap:
    """The host's end of a guest's card."""

    def __init__(self):
        self.name = f"mp{os.getpid() % 100000}-{next(_numbers)}"
        self._socket = None

    def options(self, name, queues=1):
        words = f"tap,id={name},ifname={self.name},script=no,downscript=no"
        return ["-netdev", words + (f",queues={queues}" if queues > 1 else "")]

    def open(self):
        """Bring the interface up and listen; again after QEMU was started anew."""
        self.close()
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("1")
        self._socket = sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        flags = struct.unpack("16sH22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", self.name.encode())))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", self.name.encode(), flags | _IFF_UP))
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sock.bind((self.name, 0))

    def send(self, frame, flags=0, kind=0, hdr_len=0, mss=0, start=0, offset=0):
        self._socket.send(struct.pack("<BBHHHH", flags, kind, hdr_len, mss, start, offset) + frame)

    def recv(self, match=None, timeout=20):
        """(header fields, frame) of the next frame that the guest sent and match(frame) likes."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data, (_, _, kind, _, _) = self._socket.recvfrom(1 << 17)
            if kind != socket.PACKET_OUTGOING and (match is None or match(data[10:])):
                names = ("flags", "kind", "hdr_len", "mss", "start", "offset")
                return dict(zip(names, struct.unpack("<BBHHHH", data[:10]))), data[10:]

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None
