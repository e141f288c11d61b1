"""A strict virtio-crypto device, on top of fake_device.py. Its ciphers are toys, its checks are not."""

import hashlib
import hmac
import struct

from fake_device import FakeDevice, require

_CONFIG = "<IIIIIIIIIIIIQ"
CIPHER, HASH, MAC, AEAD, AKCIPHER = range(5)
BADMSG, NOTSUPP, INVSESS, KEY_REJECTED = 2, 3, 4, 6


class Status(Exception):
    """A request ends with this status."""


def stream(key, iv, data):
    """The toy: data xor a stream made of key and iv."""
    out = bytearray()
    for i in range(0, len(data), 32):
        block = hashlib.sha256(bytes(key) + bytes(iv) + struct.pack("<I", i)).digest()
        out += bytes(a ^ b for a, b in zip(data[i : i + 32], block))
    return bytes(out)


class FakeCrypto(FakeDevice):
    DEVICE_ID = 20
    FIELDS = {off: (4, None) for off in range(0, 56, 4)}

    def __init__(self, **options):
        config = {"status": 1, "queues": 1, "services": 0x1F, "cipher_l": 0xFFFFFFFF, "cipher_h": 0, "hash": 0xFFFF}
        config |= {"mac_l": 0xFFFFFFFF, "mac_h": 0xFFFFFFFF, "aead": 0xFF, "cipher_key": 64, "auth_key": 512}
        config |= {"akcipher": 0xFF, "max_size": 1 << 20}
        config |= {name: options.pop(name) for name in list(options) if name in config}
        queues = (64,) * min(config["queues"] + 1, 20)
        super().__init__(config=struct.pack(_CONFIG, *config.values()), queues=queues, **options)
        self.settings = config
        self.sessions = {}  # id -> (service, parameters, key)
        self.next_id = 1 << 40
        self.status_of = None  # callable(opcode) -> status, to lie
        self.opcodes = []
        self.fields_read = set()
        self.on_config_read = self.fields_read.add
        self.used = set()  # indices of queues that requests came on

    def _clear(self):
        super()._clear()
        self.sessions = {}

    def unready(self, on=True):
        self.change_config(struct.pack("<I", 0 if on else 1))

    def process(self, queue, chain):
        require(self.config[0] & 1, "CRYPTO-04", "a request while the hardware is not ready")
        require(all(q.ready for q in self.queues), "CRYPTO-16", "a queue is not set up")
        self.used.add(queue.index)
        control = queue.index == self.settings["queues"]
        try:
            done = self._control(chain) if control else self._data(chain)
            status = 0
        except Status as error:
            done, status = b"", error.args[0]
        opcode = self.opcodes[-1]
        if self.status_of is not None:
            status = self.status_of(opcode)
        if control and opcode & 0xFF in (2, 4):
            chain.write(struct.pack("<QII", done or 0, status, 0))
            return 16
        if control:
            chain.write(bytes([status]))
            return 1
        if status == 0:
            chain.write(done)
        if status != 0xFF:
            chain.write(bytes([status]), chain.room - 1)
        return chain.room

    # -- control --------------------------------------------------------------------------

    def _control(self, chain):
        data = chain.data()
        require(len(data) >= 72, "CRYPTO-24", "a control request of %d" % len(data))
        opcode, algo, flag, reserved = struct.unpack_from("<IIII", data)
        require(flag == 0 and reserved == 0, "CRYPTO-25", "flag %d, reserved %d" % (flag, reserved))
        service = opcode >> 8
        require(service <= 4, "CRYPTO-23", "opcode %#x" % opcode)
        require(self.settings["services"] >> service & 1, "CRYPTO-17", "service %d" % service)
        self.opcodes.append(opcode)
        if opcode & 0xFF == (4 if service == AKCIPHER else 2):
            require(chain.room == 16, "CRYPTO-24", "room for %d" % chain.room)
            return self._create(service, algo, data[16:72], data[72:])
        require(opcode & 0xFF == (5 if service == AKCIPHER else 3), "CRYPTO-26", "opcode %#x" % opcode)
        require(chain.room == 1 and len(data) == 72, "CRYPTO-26", "%d + %d bytes" % (len(data), chain.room))
        session = struct.unpack_from("<Q", data, 16)[0]
        require(session in self.sessions, "CRYPTO-27", "session %#x" % session)
        require(self.sessions[session][0] == service, "CRYPTO-26", "service %d" % service)
        del self.sessions[session]
        return b""

    def _create(self, service, algo, body, key):
        masks = {CIPHER: "cipher_l", HASH: "hash", MAC: "mac_l", AEAD: "aead", AKCIPHER: "akcipher"}
        if algo < 32:
            require(self.settings[masks[service]] >> algo & 1, "CRYPTO-18", "algorithm %d" % algo)
        words = struct.unpack("<14I", body)
        require(words[0] == algo, "CRYPTO-19", "algorithm %d in %d" % (words[0], algo))
        if service == CIPHER:
            _, size, direction, padding = words[:4]
            require(direction in (1, 2) and padding == 0, "CRYPTO-19", "direction %d" % direction)
            require(words[12:] == (1, 0) and not any(words[4:12]), "CRYPTO-19", "op_type %d" % words[12])
            most = "cipher_key"
        elif service == HASH:
            require(not any(words[2:]), "CRYPTO-19", "padding")
            size, most = 0, None
        elif service == MAC:
            size, most = words[2], "auth_key"
        elif service == AEAD:
            size, most = words[1], "cipher_key"
            require(words[4] in (1, 2), "CRYPTO-19", "direction %d" % words[4])
        else:
            require(words[1] in (1, 2) and words[3] in (0, 1), "CRYPTO-22", "key type %d" % words[1])
            require(not any(words[5:]), "CRYPTO-22", "padding")
            size, most = words[2], None
        require(len(key) == size, "CRYPTO-24", "a key of %d, %d bytes follow" % (size, len(key)))
        if most:
            clause = "CRYPTO-15" if service == MAC else "CRYPTO-13"
            require(0 < size <= self.settings[most], clause, "a key of %d" % size)
        self.next_id += 1
        self.sessions[self.next_id] = (service, words, bytes(key))
        return self.next_id

    # -- data -----------------------------------------------------------------------------------

    def _data(self, chain):
        data = chain.data()
        require(len(data) >= 72, "CRYPTO-SYM-01", "a request of %d" % len(data))
        opcode, algo, session, flag, padding = struct.unpack_from("<IIQII", data)
        service, code = opcode >> 8, opcode & 0xFF
        self.opcodes.append(opcode)
        clauses = ("CRYPTO-SYM-03", "CRYPTO-HASH-01", "CRYPTO-MAC-01", "CRYPTO-AEAD-01", "CRYPTO-AK-02")
        require(session in self.sessions, clauses[min(service, 4)], "session %#x" % session)
        require(flag == 0 and padding == 0, "CRYPTO-SYM-06", "flag %d" % flag)
        kind, words, key = self.sessions[session]
        wrong = ("CRYPTO-SYM-07", "CRYPTO-HASH-05", "CRYPTO-MAC-05", "CRYPTO-AEAD-05", "CRYPTO-AK-06")[kind]
        require(kind == service and code <= (1, 0, 0, 1, 3)[service], wrong, "opcode %#x" % opcode)
        require(len(data) + chain.room <= self.settings["max_size"] + 72 + 1, "CRYPTO-10", "%d" % len(data))
        body, rest = struct.unpack("<12I", data[24:72]), data[72:]
        room = chain.room - 1
        run = (self._cipher, self._hash, self._mac, self._aead, self._rsa)[service]
        return run(code, words, key, body, rest, room)

    def _cipher(self, code, words, key, body, rest, room):
        require(words[2] == code + 1, "CRYPTO-SYM-07", "direction %d, opcode %d" % (words[2], code))
        iv_len, src, dst, zero = body[:4]
        require(zero == 0 and body[10:] == (1, 0), "CRYPTO-SYM-01", "op_type %d" % body[10])
        require(iv_len + src == len(rest) and dst == room == src, "CRYPTO-SYM-08", "%d+%d+%d" % body[:3])
        return stream(key, rest[:iv_len], rest[iv_len:])

    def _hash(self, code, words, key, body, rest, room):
        require(body[0] == len(rest) and body[1] == room == words[1], "CRYPTO-HASH-05", str(body[:2]))
        return hashlib.sha512(rest).digest()[:room].ljust(room, b"\0")

    def _mac(self, code, words, key, body, rest, room):
        require(body[0] == len(rest) and body[1] == room == words[1], "CRYPTO-MAC-05", str(body[:2]))
        return hmac.new(key, rest, "sha512").digest()[:room]

    def _aead(self, code, words, key, body, rest, room):
        iv_len, aad_len, src, dst, tag_len = body[:5]
        require(iv_len + src + aad_len == len(rest) and dst == room, "CRYPTO-AEAD-05", str(body[:5]))
        require(tag_len == words[2] and aad_len == words[3], "CRYPTO-AEAD-05", str(body[:5]))
        iv, text, aad = rest[:iv_len], rest[iv_len : iv_len + src], rest[iv_len + src :]
        plain = text if code == 0 else stream(key, iv, text[: src - tag_len])
        tag = hmac.new(key, iv + plain + aad, "sha256").digest()[:tag_len]
        if code == 0:
            return stream(key, iv, text) + tag
        if tag != text[src - tag_len :]:
            raise Status(BADMSG)
        return plain

    def _rsa(self, code, words, key, body, rest, room):
        src, dst = body[:2]
        raw = words[3] == 0
        require(not (raw and code >= 2), "CRYPTO-21", "opcode %d with raw padding" % code)
        if raw:
            require(src == 16, "CRYPTO-20", "%d bytes" % src)
        if code == 3:
            require(src + dst == len(rest) and room == 0, "CRYPTO-AK-06", str(body[:2]))
            if rest[:src] != stream(b"rsa", b"", rest[src:]).ljust(16, b"s"):
                raise Status(KEY_REJECTED)
            return b""
        require(src == len(rest) and dst == room, "CRYPTO-AK-06", str(body[:2]))
        if words[1] == 1 and code in (1, 2):
            raise Status(NOTSUPP)
        return stream(b"rsa", b"", rest).ljust(room, b"s")[:room]
