"""Device backends in this process for QEMU's vhost-user devices, which need nothing of the host's kernel.

A backend derives from Backend and answers chains of buffers; split rings, no indirect tables. QEMU connects to its
socket (-chardev socket,path=...), sends the guest's memory as file descriptors and one eventfd for each direction of a
virtqueue. Message layout and numbers: vhost-user protocol, as QEMU documents it.
"""

import array
import mmap
import os
import selectors
import socket
import struct
import threading

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
GET_CONFIG, SET_CONFIG = 24, 25

VERSION_1 = 1 << 32
PROTOCOL_FEATURES = 1 << 30  # a feature bit that only the two programs see
MQ, REPLY_ACK, CONFIG = 1 << 0, 1 << 3, 1 << 9  # protocol features
_REPLY, _NEED_REPLY = 1 << 2, 1 << 3
_NO_FD = 1 << 8
_HEADER = struct.Struct("<III")


class Chain:
    """What the driver made available: .data of its readable buffers, .room in its writable ones."""

    def __init__(self, head, readable, writable):
        self.head = head
        self.data = b"".join(readable)
        self._writable = writable
        self.room = sum(map(len, writable))

    def write(self, data):
        """Fill the writable buffers from their start; how many bytes."""
        left = memoryview(data)
        for view in self._writable:
            n = min(len(view), len(left))
            view[:n] = left[:n]
            left = left[n:]
        if left:
            raise ValueError(f"{len(data)} bytes for {self.room}")
        return len(data)


class Memory:
    """The guest's memory, mapped."""

    def __init__(self, regions=(), fds=()):
        self._regions = []
        for (guest, size, user, offset), fd in zip(regions, fds, strict=True):
            self._regions.append((guest, user, size, memoryview(mmap.mmap(fd, size + offset))[offset:]))
            os.close(fd)

    def _at(self, which, address, size):
        for region in self._regions:
            start = region[which]
            if start <= address and address + size <= start + region[2]:
                return region[3][address - start : address - start + size]
        raise ValueError(f"no memory at {address:#x}")

    def guest(self, address, size):
        """A view by the guest's physical address."""
        return self._at(0, address, size)

    def user(self, address, size):
        """A view by QEMU's own address."""
        return self._at(1, address, size)


class Queue:
    """One split virtqueue, the device's side."""

    def __init__(self, index):
        self.index = index
        self.size = 0
        self.next = 0  # index up to which chains were taken
        self.addresses = None
        self.kick = self.call = None

    def map(self, memory):
        desc, used, avail = self.addresses
        self._memory = memory
        self._desc = memory.user(desc, 16 * self.size)
        self._avail = memory.user(avail, 4 + 2 * self.size)
        self._used = memory.user(used, 4 + 8 * self.size)

    def take(self):
        """The next Chain, or None."""
        if self.addresses is None or struct.unpack_from("<H", self._avail, 2)[0] == self.next:
            return None
        head = at = struct.unpack_from("<H", self._avail, 4 + 2 * (self.next % self.size))[0]
        self.next = (self.next + 1) & 0xFFFF
        readable, writable = [], []
        while True:
            address, size, flags, link = struct.unpack_from("<QIHH", self._desc, 16 * at)
            view = self._memory.guest(address, size)
            writable.append(view) if flags & 2 else readable.append(bytes(view))
            if not flags & 1:
                return Chain(head, readable, writable)
            at = link

    def give(self, chain, size=0):
        """Hand a chain back with `size` bytes written, and interrupt."""
        idx = struct.unpack_from("<H", self._used, 2)[0]
        struct.pack_into("<II", self._used, 4 + 8 * (idx % self.size), chain.head, size)
        struct.pack_into("<H", self._used, 2, (idx + 1) & 0xFFFF)
        if self.call is not None:
            os.write(self.call, (1).to_bytes(8, "little"))


class Backend(threading.Thread):
    """The device: override available(). `config` is its configuration space, `features` its own bits."""

    QUEUES = 1
    FEATURES = 0

    def __init__(self, path, config=b""):
        super().__init__(daemon=True)
        self.config = bytearray(config)
        self.queues = [Queue(i) for i in range(self.QUEUES)]
        self.acked = 0
        self.lock = threading.RLock()
        self._memory = Memory()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._selector = selectors.DefaultSelector()
        self._stop_r, self._stop_w = os.pipe()

    def available(self, queue):
        """Buffers were made available, perhaps: take() and give() them."""

    # -- the loop -----------------------------------------------------------------------

    def run(self):
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._stop_r, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with self.lock:
                    key.data()

    def stop(self):
        os.write(self._stop_w, b"x")
        self.join()
        self._listener.close()

    def _accept(self):
        self._connection, _ = self._listener.accept()
        self._selector.register(self._connection, selectors.EVENT_READ, self._message)

    def _message(self):
        head, fds = self._receive(_HEADER.size)
        if not head:
            self._selector.unregister(self._connection)
            self._connection.close()
            return
        request, flags, size = _HEADER.unpack(head)
        body = self._connection.recv(size, socket.MSG_WAITALL) if size else b""
        reply = self._handle(request, body, fds)
        if reply is None and flags & _NEED_REPLY:
            reply = bytes(8)
        if reply is not None:
            self._connection.sendall(_HEADER.pack(request, 1 | _REPLY, len(reply)) + reply)

    def _receive(self, size):
        fds = array.array("i")
        data, ancillary, _, _ = self._connection.recvmsg(size, socket.CMSG_SPACE(8 * fds.itemsize))
        for _, kind, raw in ancillary:
            if kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[: len(raw) // fds.itemsize * fds.itemsize])
        return data, list(fds)

    # -- messages -----------------------------------------------------------------------

    def _handle(self, request, body, fds):
        """The reply's payload, None without one."""
        if request == GET_FEATURES:
            return struct.pack("<Q", VERSION_1 | PROTOCOL_FEATURES | self.FEATURES)
        if request == SET_FEATURES:
            self.acked = struct.unpack("<Q", body)[0]
        elif request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", MQ | CONFIG | REPLY_ACK)
        elif request == GET_QUEUE_NUM:
            return struct.pack("<Q", len(self.queues))
        elif request == SET_MEM_TABLE:
            count = struct.unpack_from("<I", body)[0]
            self._memory = Memory([struct.unpack_from("<4Q", body, 8 + 32 * i) for i in range(count)], fds)
        elif request == GET_CONFIG:
            offset, size, _ = struct.unpack_from("<III", body)
            return body[:12] + bytes(self.config[offset : offset + size]).ljust(size, b"\0")
        elif request == SET_CONFIG:
            offset, size, _ = struct.unpack_from("<III", body)
            self.config[offset : offset + size] = body[12 : 12 + size]
        elif SET_VRING_NUM <= request <= SET_VRING_ERR:
            return self._vring(request, body, fds)
        return None

    def _vring(self, request, body, fds):
        index, value = struct.unpack_from("<II", body)
        queue = self.queues[index & 0xFF]
        if request == SET_VRING_NUM:
            queue.size = value
        elif request == SET_VRING_BASE:
            queue.next = value
        elif request == SET_VRING_ADDR:
            queue.addresses = struct.unpack_from("<QQQ", body, 8)
            queue.map(self._memory)
        elif request == GET_VRING_BASE:
            self._set_kick(queue, None)
            queue.addresses = None
            return struct.pack("<II", index, queue.next)
        elif request == SET_VRING_KICK:
            self._set_kick(queue, None if index & _NO_FD else fds[0])
        elif request == SET_VRING_CALL:
            queue.call = None if index & _NO_FD else fds[0]
        return None

    def _set_kick(self, queue, fd):
        if queue.kick is not None:
            self._selector.unregister(queue.kick)
            os.close(queue.kick)
        queue.kick = fd
        if fd is not None:
            self._selector.register(fd, selectors.EVENT_READ, lambda: self._kicked(queue))
            self.available(queue)

    def _kicked(self, queue):
        os.read(queue.kick, 8)
        self.available(queue)
