"""virtio-9p (device type 9, which has no chapter): a folder of the host. fs.ninep speaks 9P over it."""

import errno
import time

from micropython import const

from .device import Device
from .transport import DeviceError

_MOUNT_TAG = const(0)
_TAG_MAX = const(256)
_DEPTH = const(16)
_PER_REQUEST = const(3)  # descriptors of most requests


class P9(Device):
    """A shared folder. vfs() gives the volume to mount: vfs.mount(d.vfs(), '/host')."""

    NAME = "9p"
    IDS = (9,)
    FEATURES = 1 << _MOUNT_TAG
    FEATURE_NAMES = {0: "MOUNT_TAG"}

    def probe(self):
        self._channel = _Channel(self, self.queue(0))
        self._client = self._share = None
        self.tag = self._read_tag()

    def _read_tag(self):
        """The name that QEMU's option mount_tag gave the folder."""
        if not self.has(_MOUNT_TAG):
            return ""
        n = self.config_u16(0)
        if n > _TAG_MAX:
            raise DeviceError("%s: a mount tag of %d bytes" % (self.name, n))
        raw = self.config_bytes(2, n).split(b"\0")[0]
        return "".join([chr(byte) for byte in raw])

    def about(self):
        return "'%s'" % self.tag

    def client(self):
        """The 9P session, begun when it is first needed, and anew after a broken one."""
        self.check()
        if self._client is None or self._client.error:
            from fs.ninep import Client

            self._client = Client(self._channel)
            self._share = None
        return self._client

    def vfs(self):
        """The folder as a volume, for vfs.mount(), or to use as it is: ilistdir, open, stat, ...

        The same one each time, until the device is closed or its session ends in an error.
        """
        from fs.share import Share

        client = self.client()
        if self._share is None:
            self._share = Share(client, self.tag)
        self._share.attach()
        return self._share


class _Channel:
    """What fs.ninep asks for: carries requests over the one virtqueue."""

    def __init__(self, device, vq):
        self.name = device.name
        self.depth = max(1, min(_DEPTH, vq.size // _PER_REQUEST - 1))
        self._vq = vq

    def _check(self):
        if not self._vq.live and self._vq.device.error is None:
            raise OSError(errno.ENODEV, "%s was closed: mount what vfs() gives again" % self.name)

    def send(self, readable, writable, timeout_ms):
        """Start a request; waits for room in the queue."""
        self._check()
        vq = self._vq
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while True:
            try:
                head = vq.add(readable, writable)
                break
            except OSError as e:
                if e.errno != errno.EAGAIN or time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                    raise
            vq.reap()
            vq.poll(time.ticks_add(time.ticks_ms(), 10))
        vq.notify()
        return head

    def receive(self, handle, timeout_ms):
        """Wait for the answer; its length."""
        self._check()
        return self._vq.wait(handle, timeout_ms)

    def drop(self, handle):
        """The queue keeps the buffers until the device is done with them."""
        self._vq.abandon(handle)
