"""virtio-crypto with QEMU's builtin backend: published vectors, and signatures computed here."""

import hashlib

import bus
import pytest
from session import RemoteError, qemu_version

PRIMES = (
    int(
        "e38c5d30943b2667dae8f1ad3426cb9230290644d34da06cbede9921ca70b236"
        "fcbf0173600059ca190ce8cc7997136622f6cc3ca519574e3e84f97b8a3ecdb9",
        16,
    ),
    int(
        "c08e333dc3d4e8b8e1396ccd9c0545d5a8214d1aca3340b3f4aa7eb504b1a8ed"
        "9d0a8901e0dfef205b7b151ca7d8829d1457b77a9bad623d311600e29d5f6611",
        16,
    ),
)
N, E = PRIMES[0] * PRIMES[1], 65537
D = pow(E, -1, (PRIMES[0] - 1) * (PRIMES[1] - 1))
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def der(*numbers):
    """A sequence of integers."""
    body = b""
    for number in numbers:
        raw = number.to_bytes(number.bit_length() // 8 + 1, "big")
        body += b"\x02" + _length(len(raw)) + raw
    return b"\x30" + _length(len(body)) + body


def _length(n):
    if n < 128:
        return bytes([n])
    raw = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(raw)]) + raw


PUBLIC = der(N, E)
P, Q = PRIMES
PRIVATE = der(0, N, E, D, P, Q, D % (P - 1), D % (Q - 1), pow(Q, -1, P))


@pytest.fixture(scope="module", params=bus.variants("virtio-crypto", full=False), ids=str)
def machine(request):
    extra = ["-object", "cryptodev-backend-builtin,id=back"]
    return request.param.machine(devices=[request.param.device("virtio-crypto", cryptodev="back")], extra=extra)


AES128 = "2b7e151628aed2a6abf7158809cf4f3c"
AES256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
TEXT = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
IV = "000102030405060708090a0b0c0d0e0f"
COUNTER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
DES3 = "0123456789abcdef23456789abcdef01456789abcdef0123"

# NIST SP 800-38A, F.1, F.2, F.5; IEEE 1619, vector 1; NIST SP 800-67, appendix B.
VECTORS = [
    ("aes-ecb", AES128, "", TEXT, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
    ("aes-cbc", AES128, IV, TEXT, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
    ("aes-cbc", AES256, IV, TEXT, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"),
    ("aes-ctr", AES128, COUNTER, TEXT[:58], "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9"),
    ("aes-xts", "00" * 32, "00" * 16, "00" * 32, "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"),
    ("3des-ecb", DES3, "", "54686520717566636b2062726f776e20", "a826fd8ce53b855fcce21c8112256fe6"),
]


def test_published_vectors(guest):
    guest.exec("import virtio\nc = virtio.open('crypto0')\nc.only_offered = False\nh = bytes.fromhex")
    for name, key, iv, text, secret in VECTORS:
        code = f"key, iv, text, secret = h({key!r}), h({iv!r}), h({text!r}), h({secret!r})\n"
        code += (
            f"with c.cipher({name!r}, key) as s: print(s.encrypt(iv, text) == secret, s.decrypt(iv, secret) == text)"
        )
        assert guest.exec(code).split() == ["True", "True"], name
    assert guest.eval("[q.in_flight for q in c.queues.values()]") == [0, 0]


def test_long_data_and_many_sessions(guest):
    code = """
import virtio
c = virtio.open('crypto0')
with c.cipher('aes-cbc', bytes(range(16))) as a, c.cipher('aes-cbc', bytes(range(32))) as b:
    data = bytes(range(256)) * 1024
    x, y = a.encrypt(bytes(16), data), b.encrypt(bytes(16), data)
    print(x != y, a.decrypt(bytes(16), x) == data, b.decrypt(bytes(16), y) == data)
for i in range(300):
    with c.cipher('aes-cbc', bytes(16)) as s:
        s.encrypt(bytes(16), bytes(16))
"""
    assert guest.exec(code, timeout=30).split() == ["True"] * 3


@pytest.mark.skipif(qemu_version() >= (8, 0), reason="Debian builds newer QEMUs without RSA")
def test_rsa_signatures_are_what_they_are_elsewhere(guest):
    digest = hashlib.sha256(b"message").digest()
    size = (N.bit_length() + 7) // 8
    padded = SHA256_INFO + digest
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(padded)) + b"\x00" + padded
    signature = pow(int.from_bytes(padded, "big"), D, N).to_bytes(size, "big")
    guest.exec(f"import virtio\nc = virtio.open('crypto0')\npub, pri, d = {PUBLIC!r}, {PRIVATE!r}, {digest!r}")
    guest.exec("p = c.rsa(pub)\ns = c.rsa(pri, private=True)")
    assert guest.eval("s.sign(d)") == signature
    assert guest.eval(f"(p.verify({signature!r}, d), p.size)") == (True, size)
    secret = guest.eval("p.encrypt(b'hello')")
    plain = pow(int.from_bytes(secret, "big"), D, N).to_bytes(size, "big")
    assert plain[:2] == b"\x00\x02" and plain.endswith(b"\x00hello")
    guest.exec("for x in (p, s): x.close()")


def test_what_is_offered_and_what_is_not(guest):
    guest.exec("import virtio\nc = virtio.open('crypto0')")
    assert guest.eval("(c.algorithms['cipher'], c.ready_now)") == (["aes-cbc"], True)
    for code, text in (
        ("c.cipher('aes-xts', bytes(32))", "EOPNOTSUPP: crypto0: cipher aes-xts is not offered"),
        ("c.cipher('aes-cbc', bytes(65))", "a key of 65 bytes, crypto0 takes up to 64"),
        ("c.cipher('aes-cbc', bytes(16)).encrypt(bytes(16), b'short')", "no multiple of 16"),
        ("c.cipher('rot13', b'')", "ValueError"),
    ):
        with pytest.raises(RemoteError) as info:
            guest.exec(code)
        assert text in str(info.value)


def test_a_key_that_the_backend_refuses(new_guest):
    extra = ["-object", "cryptodev-backend-builtin,id=back", "-device", "virtio-crypto-device,cryptodev=back"]
    guest = new_guest(extra=extra, allow=["Unsupported key length"])
    guest.wait_prompt()
    guest.exec("import virtio\nc = virtio.open('crypto0')\nc.only_offered = False")
    with pytest.raises(RemoteError, match="EIO: crypto0: aes-xts: new session: ERR"):
        guest.exec("c.cipher('aes-xts', bytes(17)).encrypt(bytes(16), bytes(16))")
    guest.exec("c.cipher('aes-cbc', bytes(16)).encrypt(bytes(16), bytes(16))")
