"""Sessions of a crypto device: the layouts of 5.9.9 and the words for them."""

import struct

from micropython import const

SERVICES = ("cipher", "hash", "mac", "aead", "akcipher")
CIPHER = const(0)
HASH = const(1)
_MAC = const(2)
_AEAD = const(3)
AKCIPHER = const(4)

_ENCRYPT = const(1)  # direction of a session
_DECRYPT = const(2)
_SYM_CIPHER = const(1)  # op_type: a cipher alone
_PUBLIC = const(1)
_PRIVATE = const(2)
_RSA = const(1)
_KEY_REJECTED = const(6)

# Names: (number, bytes of a block, of an iv), (number, bytes of a digest).
_CIPHERS = {
    "arc4": (1, 1, 0),
    "aes-ecb": (2, 16, 0),
    "aes-cbc": (3, 16, 16),
    "aes-ctr": (4, 16, 16),
    "des-ecb": (5, 8, 0),
    "des-cbc": (6, 8, 8),
    "3des-ecb": (7, 8, 0),
    "3des-cbc": (8, 8, 8),
    "3des-ctr": (9, 8, 8),
    "kasumi-f8": (10, 1, 16),
    "snow3g-uea2": (11, 1, 16),
    "aes-f8": (12, 1, 16),
    "aes-xts": (13, 16, 16),
    "zuc-eea3": (14, 1, 16),
}
_HASHES = {
    "md5": (1, 16),
    "sha1": (2, 20),
    "sha224": (3, 28),
    "sha256": (4, 32),
    "sha384": (5, 48),
    "sha512": (6, 64),
    "sha3-224": (7, 28),
    "sha3-256": (8, 32),
    "sha3-384": (9, 48),
    "sha3-512": (10, 64),
}
_MACS = {
    "hmac-md5": (1, 16),
    "hmac-sha1": (2, 20),
    "hmac-sha224": (3, 28),
    "hmac-sha256": (4, 32),
    "hmac-sha384": (5, 48),
    "hmac-sha512": (6, 64),
    "cmac-aes": (26, 16),
    "xcbc-aes": (53, 16),
}
_AEADS = {"gcm": (1, 12), "ccm": (2, 12), "chacha20-poly1305": (3, 12)}
TABLES = {"cipher": _CIPHERS, "hash": _HASHES, "mac": _MACS, "aead": _AEADS, "akcipher": {"rsa": (1, 0)}}

_RSA_HASHES = {None: 0, "md5": 4, "sha1": 5, "sha256": 6, "sha384": 7, "sha512": 8, "sha224": 9}
_RSA_PADDING = {"raw": 0, "pkcs1": 1}


class Session:
    """Base: sessions of the device by direction, made when they are first needed."""

    SERVICE = CIPHER

    def __init__(self, device, algorithm):
        self.device = device
        self.name = algorithm
        self.number = device.check_algorithm(SERVICES[self.SERVICE], algorithm)
        self._ids = {}  # direction -> session id
        self._queue = device.controlq  # another one after a reset
        self._closed = False

    def __repr__(self):
        state = "closed" if self._closed else "%d sessions" % len(self._ids)
        return "<%s %s: %s>" % (self.device.name, self.name, state)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _session(self, direction=0):
        if self._closed:
            raise ValueError("%s: the session is closed" % self.name)
        if self._queue is not self.device.controlq:  # a reset has ended them all
            self._ids = {}
            self._queue = self.device.controlq
        if direction not in self._ids:
            body, extra = self._parameters(direction)
            body += bytes(56 - len(body))
            what = self.name + ": new session"
            self._ids[direction] = self.device.create(self.SERVICE, self.number, body, extra, what)
        return self._ids[direction]

    def _operate(self, code, direction, body, readable, writable, what):
        session = self._session(direction)
        opcode = self.SERVICE << 8 | code
        body += bytes(48 - len(body))
        what = "%s: %s" % (self.name, what)
        status = self.device.operate(opcode, session, body, readable, writable, what)
        return status, what

    def close(self):
        """End the sessions on the device; a second close does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.device.is_open and self._queue is self.device.controlq:
            for session in self._ids.values():
                self.device.destroy(self.SERVICE, session, self.name + ": end of session")
        self._ids = {}


class Cipher(Session):
    """A symmetric cipher with its key."""

    def __init__(self, device, algorithm, key):
        Session.__init__(self, device, algorithm)
        device.check_key(key, True)
        self._key = bytes(key)
        _, self.block, self.iv_len = _CIPHERS[algorithm]

    def _parameters(self, direction):
        para = struct.pack("<IIII", self.number, len(self._key), direction, 0)
        return para + bytes(32) + struct.pack("<II", _SYM_CIPHER, 0), (self._key,)

    def encrypt(self, iv, data):
        """The encrypted data. iv: None or b'' for ECB."""
        out = bytearray(len(data))
        self.crypt_into(True, iv, data, out)
        return bytes(out)

    def decrypt(self, iv, data):
        """The decrypted data."""
        out = bytearray(len(data))
        self.crypt_into(False, iv, data, out)
        return bytes(out)

    def crypt_into(self, encrypt, iv, data, out):
        """Encrypt or decrypt data into out, of the same length; the device writes there itself.

        ValueError: a length that is no multiple of the block, or an iv of the wrong length.
        """
        iv = iv or b""
        size = len(data)
        if len(iv) != self.iv_len or len(out) != size:
            raise ValueError(
                "%s: an iv of %d bytes (%d), %d for %d" % (self.name, len(iv), self.iv_len, len(out), size)
            )
        if not size:
            return
        rest = size % self.block
        if rest and not self.name.endswith("-ctr"):
            raise ValueError("%s: %d bytes are no multiple of %d" % (self.name, size, self.block))
        dest = out
        if rest:  # a stream of whole blocks, the end of which nobody needs
            data = bytes(data) + bytes(self.block - rest)
            dest = bytearray(len(data))
        # Its header (5.9.9.6): lengths, padding to 40 bytes, and what kind of operation it is.
        body = struct.pack("<IIII", len(iv), len(data), len(dest), 0) + bytes(24) + struct.pack("<II", _SYM_CIPHER, 0)
        direction = _ENCRYPT if encrypt else _DECRYPT
        what = "encrypt" if encrypt else "decrypt"
        status, what = self._operate(0 if encrypt else 1, direction, body, (iv, data), (dest,), what)
        self.device.judge(status, what)
        if rest:
            out[:] = memoryview(dest)[:size]


class Hash(Session):
    """A hash."""

    SERVICE = HASH

    def __init__(self, device, algorithm):
        Session.__init__(self, device, algorithm)
        self.digest_size = TABLES[SERVICES[self.SERVICE]][algorithm][1]

    def _parameters(self, direction):
        return struct.pack("<II", self.number, self.digest_size), ()

    def digest(self, data):
        """The digest of data."""
        out = bytearray(self.digest_size)
        body = struct.pack("<II", len(data), self.digest_size)
        status, what = self._operate(0, 0, body, (data,), (out,), "digest")
        self.device.judge(status, what)
        return bytes(out)


class MAC(Hash):
    """A keyed hash."""

    SERVICE = _MAC

    def __init__(self, device, algorithm, key):
        Hash.__init__(self, device, algorithm)
        device.check_key(key, False)
        self._key = bytes(key)

    def _parameters(self, direction):
        return struct.pack("<IIII", self.number, self.digest_size, len(self._key), 0), (self._key,)


class AEAD(Session):
    """Authenticated encryption."""

    SERVICE = _AEAD

    def __init__(self, device, algorithm, key, tag_len, aad_len):
        Session.__init__(self, device, algorithm)
        device.check_key(key, True)
        self._key = bytes(key)
        self.tag_len = tag_len
        self.aad_len = aad_len

    def _parameters(self, direction):
        para = (self.number, len(self._key), self.tag_len, self.aad_len, direction, 0)
        return struct.pack("<IIIIII", *para), (self._key,)

    def encrypt(self, iv, data, aad=b""):
        """The encrypted data, and the tag behind it."""
        return self._crypt(0, _ENCRYPT, iv, data, len(data), aad, "encrypt")

    def decrypt(self, iv, data, aad=b""):
        """The decrypted data, without the tag that is behind them. OSError(74): the tag is wrong."""
        return self._crypt(1, _DECRYPT, iv, data, len(data) - self.tag_len, aad, "decrypt")

    def _crypt(self, code, direction, iv, data, size, aad, what):
        if size < 0 or len(aad) != self.aad_len:
            raise ValueError("%s: %d bytes, %d of aad (%d)" % (self.name, len(data), len(aad), self.aad_len))
        out = bytearray(size + (self.tag_len if direction == _ENCRYPT else 0))
        para = (len(iv), len(aad), len(data), len(out), self.tag_len, 0)
        status, what = self._operate(code, direction, struct.pack("<IIIIII", *para), (iv, data, aad), (out,), what)
        self.device.judge(status, what)
        return bytes(out)


class RSA(Session):
    """An RSA key. With padding 'raw' there is no sign and no verify (5.9.9.2.1.5)."""

    SERVICE = AKCIPHER

    def __init__(self, device, key, private, padding, hash):
        Session.__init__(self, device, "rsa")
        self._key = bytes(key)
        self._kind = _PRIVATE if private else _PUBLIC
        self._padding = _RSA_PADDING[padding]
        self._hash = _RSA_HASHES[None if padding == "raw" else hash]
        self.size = _modulus_bytes(self._key, private)

    def _parameters(self, direction):
        para = (_RSA, self._kind, len(self._key), self._padding, self._hash)
        return struct.pack("<IIIII", *para), (self._key,)

    def _whole(self, data):
        # Raw padding: zeroes in front, up to the length of the modulus.
        if self._padding == 0 and len(data) < self.size:
            return bytes(self.size - len(data)) + bytes(data)
        return data

    def encrypt(self, data):
        """The encrypted data."""
        return self._crypt(0, self._whole(data), "encrypt")

    def decrypt(self, data):
        """The decrypted data; needs a private key."""
        return self._crypt(1, self._whole(data), "decrypt")

    def sign(self, digest):
        """The signature of a digest; needs a private key."""
        self._no_raw()
        return self._crypt(2, digest, "sign")

    def verify(self, signature, digest):
        """Whether the signature is that of the digest."""
        self._no_raw()
        body = struct.pack("<II", len(signature), len(digest))
        status, what = self._operate(3, 0, body, (signature, digest), (), "verify")
        if status == _KEY_REJECTED:
            return False
        self.device.judge(status, what)
        return True

    def _no_raw(self):
        if self._padding == 0:
            raise ValueError("rsa: raw padding neither signs nor verifies")

    def _crypt(self, code, data, what):
        out = bytearray(self.size)
        body = struct.pack("<II", len(data), len(out))
        status, what = self._operate(code, 0, body, (data,), (out,), what)
        self.device.judge(status, what)
        return bytes(out)


def _modulus_bytes(key, private):
    """The length of the modulus in a DER key: a sequence of integers, the first a version if private."""
    try:
        at, _ = _element(key, 0, 0x30)
        if private:
            at = sum(_element(key, at, 0x02))
        at, n = _element(key, at, 0x02)
        while n and key[at] == 0:
            at += 1
            n -= 1
    except IndexError:
        n = 0
    if not n:
        raise ValueError("rsa: the key is not in DER (PKCS#1)")
    return n


def _element(der, at, kind):
    """(start, length) of what an element at a place holds; ValueError: it is another one."""
    if der[at] != kind:
        raise ValueError("rsa: the key is not in DER (PKCS#1)")
    n = der[at + 1]
    at += 2
    if n & 0x80:
        count = n & 0x7F
        n = int.from_bytes(der[at : at + count], "big")
        at += count
    return at, n
