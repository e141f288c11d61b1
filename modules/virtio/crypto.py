"""virtio-crypto (5.9): ciphers, hashes, MACs, AEAD and RSA done by the device."""

import errno
import struct

from micropython import const

from . import cryptosession as _s
from .device import Device
from .transport import DeviceError

_STATUS = const(0)
_MAX_DATAQUEUES = const(4)
_SERVICES = const(8)
_CIPHERS = const(12)  # two words
_HASHES = const(20)
_MACS = const(24)  # two words
_AEADS = const(32)
_MAX_CIPHER_KEY = const(36)
_MAX_AUTH_KEY = const(40)
_AKCIPHERS = const(44)
_MAX_SIZE = const(48)

_HW_READY = const(1)
_DESTROY = const(3)
_AK_CREATE = const(4)
_AK_DESTROY = const(5)
_CREATE = const(2)
_QUEUES_MAX = const(1024)
_TIMEOUT_MS = const(5000)

_EBADMSG = const(74)
_ENOSPC = const(28)
_EKEYREJECTED = const(129)
_FAILURES = {
    1: (errno.EIO, "ERR"),
    2: (_EBADMSG, "BADMSG"),
    3: (errno.EOPNOTSUPP, "NOTSUPP"),
    4: (errno.EINVAL, "INVSESS"),
    5: (_ENOSPC, "NOSPC"),
    6: (_EKEYREJECTED, "KEY_REJECTED"),
    0xFF: (errno.EIO, "no status written"),
}


class Crypto(Device):
    """with c.cipher('aes-cbc', key) as s: s.encrypt(iv, data). c.algorithms lists what there is."""

    only_offered = True  # False: try what the device does not announce (QEMU's builtin backend does more)

    NAME = "crypto"
    IDS = (20,)
    FEATURE_NAMES = {
        0: "REVISION_1",
        1: "CIPHER_STATELESS_MODE",
        2: "HASH_STATELESS_MODE",
        3: "MAC_STATELESS_MODE",
        4: "AEAD_STATELESS_MODE",
        5: "AKCIPHER_STATELESS_MODE",
    }

    LIVE = ("algorithms",)

    def probe(self):
        read = self.config_u32
        count = read(_MAX_DATAQUEUES)
        if not 0 < count <= _QUEUES_MAX:
            raise DeviceError("%s: %d data queues" % (self.name, count))
        self.dataqs = [self.queue(index) for index in range(count)]
        self.controlq = self.queue(count)
        self.services = read(_SERVICES)
        masks = {"cipher": self.config_u64(_CIPHERS), "hash": read(_HASHES), "mac": self.config_u64(_MACS)}
        masks["aead"] = read(_AEADS)
        # A device of before AKCIPHER has max_size here.
        masks["akcipher"] = read(_AKCIPHERS) if self.services >> 4 & 1 else 0
        self.max_cipher_key_len = read(_MAX_CIPHER_KEY)
        self.max_auth_key_len = read(_MAX_AUTH_KEY)
        self.max_size = self.config_u64(_MAX_SIZE)
        self.algorithms = {}
        for service, name in enumerate(_s.SERVICES):
            if self.services >> service & 1:
                known = _s.TABLES[name]
                self.algorithms[name] = [text for text in known if masks[name] >> known[text][0] & 1]
        self._next = 0

    def about(self):
        return "" if self.ready_now else "not ready"

    @property
    def ready_now(self):
        """Whether the hardware behind the device is ready (5.9.5.2)."""
        return self.config_u32(_STATUS) & _HW_READY != 0

    def config_changed(self):
        """Readiness is looked at before each request."""

    # -- sessions ------------------------------------------------------------------------

    def cipher(self, algorithm, key):
        """A Cipher: .encrypt(iv, data), .decrypt(iv, data). OSError(EOPNOTSUPP): not offered."""
        return _s.Cipher(self, algorithm, key)

    def hash(self, algorithm):
        """A Hash: .digest(data)."""
        return _s.Hash(self, algorithm)

    def mac(self, algorithm, key):
        """A MAC: .digest(data)."""
        return _s.MAC(self, algorithm, key)

    def aead(self, algorithm, key, tag_len=16, aad_len=0):
        """An AEAD: .encrypt(iv, data, aad) gives data and tag, .decrypt(iv, data, aad) checks it."""
        return _s.AEAD(self, algorithm, key, tag_len, aad_len)

    def rsa(self, key, private=False, padding="pkcs1", hash="sha256"):
        """An RSA key in DER (PKCS#1): .encrypt, .decrypt, .sign, .verify."""
        return _s.RSA(self, key, private, padding, hash)

    def check_algorithm(self, service, algorithm):
        """The number of an algorithm. ValueError: unknown; OSError(EOPNOTSUPP): not offered."""
        known = _s.TABLES[service]
        if algorithm not in known:
            raise ValueError("%r: one of %s" % (algorithm, ", ".join(sorted(known))))
        if self.only_offered and algorithm not in self.algorithms.get(service, ()):
            raise OSError(errno.EOPNOTSUPP, "%s: %s %s is not offered" % (self.name, service, algorithm))
        return known[algorithm][0]

    def check_key(self, key, cipher):
        """ValueError for a key that is longer than the device takes."""
        most = self.max_cipher_key_len if cipher else self.max_auth_key_len
        if not 0 < len(key) <= most:
            raise ValueError("a key of %d bytes, %s takes up to %d" % (len(key), self.name, most))

    # -- requests -----------------------------------------------------------------------------

    def _check_ready(self, what):
        self.check()
        if not self.ready_now:
            raise OSError(errno.EAGAIN, "%s: %s: the hardware is not ready" % (self.name, what))

    def create(self, service, algorithm, body, extra, what, timeout_ms=_TIMEOUT_MS):
        """Make a session on the device; its id. body: 56 bytes of parameters, extra: what follows (keys)."""
        self._check_ready(what)
        opcode = service << 8 | (_AK_CREATE if service == _s.AKCIPHER else _CREATE)
        request = struct.pack("<IIII", opcode, algorithm, 0, 0) + body
        answer = bytearray(16)
        answer[8] = 0xFF
        self._run(self.controlq, [request] + [part for part in extra if len(part)], [answer], timeout_ms)
        session, status = struct.unpack_from("<QI", answer)
        self.judge(status, what)
        return session

    def destroy(self, service, session, what, timeout_ms=_TIMEOUT_MS):
        """End a session."""
        self._check_ready(what)
        opcode = service << 8 | (_AK_DESTROY if service == _s.AKCIPHER else _DESTROY)
        request = struct.pack("<IIIIQ", opcode, 0, 0, 0, session) + bytes(48)
        status = bytearray(b"\xff")
        self._run(self.controlq, [request], [status], timeout_ms)
        self.judge(status[0], what)

    def operate(self, opcode, session, body, readable, writable, what, timeout_ms=_TIMEOUT_MS):
        """Do something in a session; the status. body: 48 bytes of parameters."""
        self._check_ready(what)
        size = sum([len(part) for part in readable]) + sum([len(part) for part in writable])
        if size > self.max_size:
            raise ValueError("%s: %s: %d bytes, %d are the most" % (self.name, what, size, self.max_size))
        request = struct.pack("<IIQII", opcode, 0, session, 0, 0) + body
        status = bytearray(b"\xff")
        queue = self.dataqs[self._next % len(self.dataqs)]
        self._next += 1
        readable = [request] + [part for part in readable if len(part)]
        self._run(queue, readable, [part for part in writable if len(part)] + [status], timeout_ms)
        return status[0]

    def _run(self, queue, readable, writable, timeout_ms):
        head = queue.add(readable, writable)
        queue.notify()
        queue.wait(head, timeout_ms)

    def judge(self, status, what):
        """OSError for a status that is not OK."""
        if status:
            number, why = _FAILURES.get(status) or (errno.EIO, "status %d" % status)
            raise OSError(number, "%s: %s: %s" % (self.name, what, why))
