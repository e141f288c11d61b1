"""modules/virtio/crypto and cryptosession on a strict device."""

import errno
import hashlib
import random

import pytest
from fake_crypto import FakeCrypto, stream
from virtio.crypto import Crypto
from virtio.transport import DeviceError
from virtio_host import TRANSPORTS, attach, fresh

# RSAPublicKey and the start of an RSAPrivateKey with a modulus of 16 bytes (and a zero in front).
MODULUS = b"\x02\x11\x00" + bytes(range(0x80, 0x90))
PUBLIC = b"\x30\x18" + MODULUS + b"\x02\x03\x01\x00\x01"
PRIVATE = b"\x30\x81\x1b\x02\x01\x00" + MODULUS + b"\x02\x03\x01\x00\x01"


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def rig(transport="mmio", open=True, **options):
    model = FakeCrypto(legacy=transport == "mmio-legacy", **options)
    driver, _ = attach(model, Crypto)
    return (driver.open() if open else driver), model


@pytest.mark.clauses("CRYPTO-01", "CRYPTO-05", "CRYPTO-06", "CRYPTO-07", "CRYPTO-08", "CRYPTO-09", "CRYPTO-12")
@pytest.mark.clauses("CRYPTO-14", "CRYPTO-16", "CRYPTO-17", "CRYPTO-18")
def test_services_and_algorithms_are_read_and_unknown_ones_skipped(transport):
    driver, model = rig(transport, queues=3, cipher_l=1 << 3 | 1 << 13 | 1 << 31, cipher_h=0xFFFF, hash=4, services=3)
    assert driver.algorithms == {"cipher": ["aes-cbc", "aes-xts"], "hash": ["sha1"]}
    assert {4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 52} <= model.fields_read
    assert sorted(driver.queues) == [0, 1, 2, 3]
    with pytest.raises(OSError) as error:
        driver.cipher("aes-ctr", bytes(16))
    assert error.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError):
        driver.mac("hmac-sha1", b"key")
    with pytest.raises(ValueError, match="one of"):
        driver.cipher("rot13", b"k")


@pytest.mark.clauses("CRYPTO-19", "CRYPTO-23", "CRYPTO-24", "CRYPTO-25", "CRYPTO-26", "CRYPTO-27")
@pytest.mark.clauses("CRYPTO-SYM-01", "CRYPTO-SYM-03", "CRYPTO-SYM-06", "CRYPTO-SYM-07", "CRYPTO-SYM-08")
def test_a_cipher_has_a_session_for_each_direction_and_ends_them(transport):
    driver, model = rig(transport)
    key, iv, data = bytes(range(32)), bytes(16), b"16 bytes of text" * 40
    with driver.cipher("aes-cbc", key) as s:
        assert model.sessions == {}
        secret = s.encrypt(iv, data)
        assert secret == stream(key, iv, data)
        assert s.decrypt(iv, secret) == data
        assert len(model.sessions) == 2 and repr(s) == "<crypto0 aes-cbc: 2 sessions>"
        s.encrypt(iv, data)
        assert len(model.sessions) == 2
        assert s.encrypt(iv, b"") == b""
    assert model.sessions == {} and "closed" in repr(s)
    with pytest.raises(ValueError, match="closed"):
        s.encrypt(iv, data)
    s.close()


def test_lengths_are_checked_before_the_device_sees_them():
    driver, model = rig()
    with driver.cipher("aes-cbc", bytes(16)) as s:
        for iv, data in ((bytes(15), bytes(16)), (bytes(16), bytes(17)), (b"", bytes(16))):
            with pytest.raises(ValueError):
                s.encrypt(iv, data)
        with pytest.raises(ValueError):
            s.crypt_into(True, bytes(16), bytes(32), bytearray(16))
    with driver.cipher("aes-ecb", bytes(16)) as s:
        assert s.decrypt(None, s.encrypt(None, bytes(32))) == bytes(32)
    with driver.cipher("aes-ctr", bytes(16)) as s:
        assert s.decrypt(bytes(16), s.encrypt(bytes(16), b"19 bytes of text..!")) == b"19 bytes of text..!"
        assert len(s.encrypt(bytes(16), b"x")) == 1
    assert model.opcodes[0] & 0xFF == 2


@pytest.mark.clauses("CRYPTO-13", "CRYPTO-15")
def test_keys_that_are_too_long_or_empty_are_refused():
    driver, _ = rig(cipher_key=32, auth_key=64)
    for size in (0, 33):
        with pytest.raises(ValueError, match="a key of %d bytes" % size):
            driver.cipher("aes-xts", bytes(size))
    driver.cipher("aes-xts", bytes(32)).encrypt(bytes(16), bytes(16))
    with pytest.raises(ValueError, match="a key of 65 bytes"):
        driver.mac("hmac-sha256", bytes(65))
    assert len(driver.mac("hmac-sha256", bytes(64)).digest(b"x")) == 32
    with pytest.raises(ValueError):
        driver.aead("gcm", bytes(33))


@pytest.mark.clauses("CRYPTO-10", "CRYPTO-11")
def test_a_request_never_exceeds_what_the_device_takes():
    driver, model = rig(max_size=1024)
    with driver.cipher("aes-cbc", bytes(16)) as s:
        s.encrypt(bytes(16), bytes(496))
        with pytest.raises(ValueError, match="are the most"):
            s.encrypt(bytes(16), bytes(512))


@pytest.mark.clauses("CRYPTO-02", "CRYPTO-03", "CRYPTO-04")
def test_nothing_is_asked_of_hardware_that_is_not_ready():
    driver, model = rig()
    s = driver.cipher("aes-cbc", bytes(16))
    s.encrypt(bytes(16), bytes(16))
    model.unready()
    before = len(model.opcodes)
    for action in (lambda: s.encrypt(bytes(16), bytes(16)), s.close, lambda: driver.hash("sha1").digest(b"x")):
        with pytest.raises(OSError) as error:
            action()
        assert error.value.errno == errno.EAGAIN and "not ready" in str(error.value)
    assert "not ready" in repr(driver) and len(model.opcodes) == before
    driver.close()
    driver.open()
    with pytest.raises(OSError, match="not ready"):
        driver.hash("sha1").digest(b"x")
    model.unready(False)
    assert driver.hash("sha1").digest(b"x")


@pytest.mark.clauses("CRYPTO-HASH-01", "CRYPTO-HASH-05", "CRYPTO-MAC-01", "CRYPTO-MAC-05")
def test_hash_and_mac(transport):
    driver, model = rig(transport)
    with driver.hash("sha256") as h, driver.mac("hmac-sha1", b"key") as m:
        assert h.digest(b"abc") == hashlib.sha512(b"abc").digest()[:32]
        assert len(m.digest(b"abc")) == 20
        assert len(h.digest(b"")) == 32
    assert model.sessions == {}
    assert len(driver.mac("cmac-aes", bytes(16)).digest(b"abc")) == 16


@pytest.mark.clauses("CRYPTO-AEAD-01", "CRYPTO-AEAD-05")
def test_aead_and_a_forged_message():
    driver, model = rig()
    with driver.aead("gcm", bytes(16), tag_len=16, aad_len=4) as s:
        secret = s.encrypt(bytes(12), b"text", b"head")
        assert len(secret) == 20 and s.decrypt(bytes(12), secret, b"head") == b"text"
        with pytest.raises(OSError) as error:
            s.decrypt(bytes(12), secret, b"heal")
        assert error.value.errno == 74 and "BADMSG" in str(error.value)
        with pytest.raises(ValueError):
            s.encrypt(bytes(12), b"text", b"")
        with pytest.raises(ValueError):
            s.decrypt(bytes(12), b"short", b"head")


@pytest.mark.clauses("CRYPTO-20", "CRYPTO-21", "CRYPTO-22", "CRYPTO-AK-02", "CRYPTO-AK-06")
def test_rsa():
    driver, model = rig()
    with driver.rsa(PUBLIC) as public, driver.rsa(PRIVATE, private=True) as private:
        assert (public.size, private.size) == (16, 16)
        signature = private.sign(b"digest")
        assert public.verify(signature, b"digest") is True
        assert public.verify(signature, b"forged") is False
        assert len(private.decrypt(public.encrypt(b"hi"))) == 16
        with pytest.raises(OSError) as error:
            public.sign(b"digest")
        assert error.value.errno == errno.EOPNOTSUPP
    with driver.rsa(PUBLIC, padding="raw") as raw:
        assert len(raw.encrypt(b"7")) == 16
        with pytest.raises(ValueError, match="raw"):
            raw.sign(b"x")
        with pytest.raises(ValueError, match="raw"):
            raw.verify(b"x", b"y")
    for key in (b"", b"\x30", b"junk", b"\x30\x03\x02\x01\x00", PUBLIC[2:]):
        with pytest.raises(ValueError, match="DER"):
            driver.rsa(key)


@pytest.mark.parametrize("status, number, text", [(1, errno.EIO, "ERR"), (3, errno.EOPNOTSUPP, "NOTSUPP")])
@pytest.mark.parametrize("create", [True, False])
def test_what_the_device_refuses(create, status, number, text):
    driver, model = rig()
    s = driver.cipher("aes-cbc", bytes(16))
    model.status_of = lambda opcode: status if (opcode & 0xFF == 2) == create else 0
    with pytest.raises(OSError) as error:
        s.encrypt(bytes(16), bytes(16))
    assert error.value.errno == number and text in str(error.value)
    assert ("new session" if create else "encrypt") in str(error.value)


def test_a_status_that_was_not_written_and_one_that_nobody_knows():
    driver, model = rig()
    s = driver.hash("sha1")
    s.digest(b"x")
    for status, text in ((0xFF, "no status written"), (77, "status 77")):
        model.status_of = lambda opcode, status=status: status
        with pytest.raises(OSError, match=text):
            s.digest(b"x")


@pytest.mark.clauses("CRYPTO-16")
def test_data_queues_take_turns():
    driver, model = rig(queues=2)
    with driver.hash("sha1") as s:
        s.digest(b"1")
        s.digest(b"2")
    assert model.used == {0, 1, 2}


def test_sessions_are_made_again_after_a_reset():
    driver, model = rig()
    s = driver.hash("sha1")
    before = s.digest(b"x")
    driver.close()
    model.sessions.clear()
    with pytest.raises(ValueError, match="closed"):
        s.digest(b"x")
    driver.open()
    assert s.digest(b"x") == before and len(model.sessions) == 1
    driver.recover()
    model.sessions.clear()
    s.close()
    assert model.sessions == {}


@pytest.mark.parametrize("queues", [0, 5000])
def test_a_number_of_queues_that_will_not_do(queues):
    driver, _ = rig(open=False, queues=queues)
    with pytest.raises(DeviceError, match="data queues"):
        driver.open()


def test_a_device_that_does_not_answer():
    driver, model = rig()
    s = driver.hash("sha1")
    s.digest(b"x")
    model.dead = True
    from virtio import crypto

    with pytest.raises(OSError) as error:
        driver.operate(0x100, 1, bytes(48), (b"x",), (bytearray(20),), "digest", 20)
    assert error.value.errno == errno.ETIMEDOUT and crypto


def test_a_device_that_answers_at_random_gets_nothing_but_oserrors():
    source = random.Random(4)
    for _ in range(60):
        fresh()
        driver, model = rig()
        model.status_of = lambda opcode: 0 if source.random() < 0.9 else source.randrange(256)
        model.lie = lambda head, used: (head, used if source.random() < 0.95 else source.randrange(5000))
        try:
            with driver.cipher("aes-cbc", bytes(16)) as c, driver.hash("sha1") as h, driver.rsa(PUBLIC) as k:
                for _ in range(5):
                    c.decrypt(bytes(16), c.encrypt(bytes(16), bytes(64)))
                    h.digest(b"x")
                    k.verify(b"s" * 16, b"d")
        except OSError:
            pass
        driver.close()
