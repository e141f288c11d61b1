#!/usr/bin/env python3
"""The host's end of a virtio-vsock for QEMU's vhost-user-vsock-device, on the socket that is named.

Port 7 of the host sends back what comes; connect() reaches a listener of the guest. Needs no AF_VSOCK of the host.
"""

import struct
import sys
import threading

from vhost_user import Backend

REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
HEADER = struct.Struct("<QQIIIHHIII")
HOST = 2
ECHO = 7
STREAM = 1
ROOM = 32768
MOST = 2048  # bytes of one packet


class Connection:
    """One stream; .received is what the guest has sent, .ended whether it has finished."""

    def __init__(self, backend, port, guest_port):
        self._backend = backend
        self.key = (port, guest_port)
        self.open = self.ended = False
        self.received = bytearray()
        self.todo = bytearray()
        self.taken = self.sent = self.alloc = self.acked = 0
        self.changed = threading.Condition(backend.lock)

    def wait(self, look, timeout_s=20):
        """Wait until look() is true."""
        with self.changed:
            assert self.changed.wait_for(look, timeout_s), f"{self.key}: {len(self.received)} bytes, open: {self.open}"

    def send(self, data):
        """Send as soon as the guest has room."""
        with self._backend.lock:
            self.todo += data
            self._backend.push(self)

    def close(self):
        """End both directions; the guest answers by RST."""
        self._backend.packet(self, SHUTDOWN, flags=3)


class VSock(Backend):
    """virtio 5.10: queue 0 receives, 1 transmits; QEMU keeps the event queue."""

    QUEUES = 2

    def __init__(self, path, cid=3, say=lambda text: None):
        super().__init__(path, struct.pack("<Q", cid))
        self.path = path
        self.cid = cid
        self.connections = {}
        self._outbox = []
        self._next = 1024
        self._say = say

    def connect(self, guest_port):
        """A Connection to a listener of the guest, perhaps not open yet."""
        with self.lock:
            self._next += 1
            connection = self.connections[self._next, guest_port] = Connection(self, self._next, guest_port)
            self.packet(connection, REQUEST)
            return connection

    def available(self, queue):
        while queue.index == 1 and (chain := queue.take()):
            self._from_guest(chain.data)
            queue.give(chain)
        self._deliver()

    def _deliver(self):
        while self._outbox and (chain := self.queues[0].take()):
            data = self._outbox.pop(0)
            self.queues[0].give(chain, chain.write(data))

    def packet(self, connection, op, payload=b"", flags=0):
        """Send a packet of a connection."""
        with self.lock:
            port, guest_port = connection.key
            taken = connection.taken & 0xFFFFFFFF
            header = HEADER.pack(HOST, self.cid, port, guest_port, len(payload), STREAM, op, flags, ROOM, taken)
            self._outbox.append(header + payload)
            self._deliver()

    def push(self, connection):
        """Send what waits, as far as the guest has room."""
        while connection.open and connection.todo:
            n = min(len(connection.todo), MOST, connection.alloc - (connection.sent - connection.acked & 0xFFFFFFFF))
            if n <= 0:
                return
            data = bytes(connection.todo[:n])
            del connection.todo[:n]
            connection.sent += n
            self.packet(connection, RW, data)

    def _from_guest(self, data):
        src, dst, src_port, dst_port, size, kind, op, flags, alloc, acked = HEADER.unpack_from(data)
        payload = data[HEADER.size :]
        assert (src, dst, kind, size) == (self.cid, HOST, STREAM, len(payload)), data[:44].hex()
        key = (dst_port, src_port)
        connection = self.connections.get(key)
        if op == REQUEST and dst_port == ECHO:
            connection = self.connections[key] = Connection(self, *key)
            connection.open = True
            self.packet(connection, RESPONSE)
        elif connection is None:
            if op != RST:
                self.packet(Connection(self, *key), RST)
            return
        connection.alloc, connection.acked = alloc, acked
        self._operation(connection, op, flags, payload)
        self.push(connection)
        connection.changed.notify_all()

    def _operation(self, connection, op, flags, payload):
        if op == RESPONSE:
            connection.open = True
        elif op == RW:
            connection.taken += len(payload)
            connection.received += payload
            if connection.key[0] == ECHO:
                connection.todo += payload
            elif connection.taken % ROOM < len(payload):
                self.packet(connection, CREDIT_UPDATE)
        elif op == CREDIT_REQUEST:
            self.packet(connection, CREDIT_UPDATE)
        elif op == SHUTDOWN and flags == 3 or op == RST:
            if op == SHUTDOWN:
                self.packet(connection, RST)
            connection.open, connection.ended = False, True
            del self.connections[connection.key]
            self._say(f"port {connection.key[0]}: {len(connection.received)} bytes")


if __name__ == "__main__":
    backend = VSock(sys.argv[1], say=lambda text: print(text, flush=True))
    backend.start()
    backend.join()
