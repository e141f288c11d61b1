"""modules/fwcfg against a model of the device's DMA interface."""

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shim import install, memory  # noqa: E402

install()

import fwcfg  # noqa: E402

BASE = 0x10100000


class Model:
    """Items by selector; transfers by the DMA register only."""

    def __init__(self, items):
        self.items = items
        self.high = 0
        self.data = b""
        self.fail = 0
        self.transfers = 0

    def read(self, off, width):
        raise AssertionError("nothing is read from registers")

    def write(self, off, width, value):
        assert width == 4
        value = int.from_bytes(value.to_bytes(4, "little"), "big")
        if off == 16:
            self.high = value
            return
        assert off == 20
        self.transfers += 1
        block = memory.view(self.high << 32 | value, 16)
        control, size, addr = struct.unpack(">IIQ", block)
        if control & 8:
            self.data = self.items.get(control >> 16, b"")
        if control & 2:
            memory.view(addr, size)[:] = self.data[:size].ljust(size, b"\0")
        if control & 6:
            self.data = self.data[size:]
        struct.pack_into(">I", block, 0, self.fail)


def directory(files):
    rows = [
        struct.pack(">IHH56s", len(data), 0x20 + i, 0, name.encode()) for i, (name, data) in enumerate(files.items())
    ]
    return struct.pack(">I", len(rows)) + b"".join(rows)


@pytest.fixture
def model(monkeypatch):
    memory.reset()
    files = {"etc/boot-fail-wait": b"\0\0\0\0", "opt/org.micropython/boot.py": b"print('hello')"}
    found = Model({0: b"QEMU", 0x0E: b"\1\0", 0x19: directory(files), 0x08: struct.pack("<I", 77)})
    for i, data in enumerate(files.values()):
        found.items[0x20 + i] = data
    memory.map(BASE, 24, found)
    monkeypatch.setattr(fwcfg, "_device", fwcfg.FwCfg(BASE))
    monkeypatch.setattr(fwcfg, "_files", None)
    yield found
    memory.reset()


def test_files_are_listed_and_read(model):
    assert fwcfg.files()["opt/org.micropython/boot.py"] == (0x21, 14)
    assert fwcfg.read("opt/org.micropython/boot.py") == b"print('hello')"
    assert fwcfg.size("etc/boot-fail-wait") == 4


def test_part_of_a_file_is_read_into_a_buffer(model):
    buf = bytearray(5)
    fwcfg.read_into("opt/org.micropython/boot.py", buf, 7)
    assert bytes(buf) == b"hello"


def test_read_beyond_the_end_is_refused_before_the_device_is_touched(model):
    fwcfg.files()
    before = model.transfers
    with pytest.raises(ValueError, match="has 14 bytes, not 10\\+5"):
        fwcfg.read_into("opt/org.micropython/boot.py", bytearray(5), 10)
    assert model.transfers == before


def test_missing_file_raises_enoent(model):
    with pytest.raises(OSError, match="no file opt/x"):
        fwcfg.read("opt/x")


def test_numbered_items(model):
    assert fwcfg.device().u32(fwcfg.KERNEL_SIZE) == 77
    assert fwcfg.device().u32(fwcfg.INITRD_SIZE) == 0
    assert fwcfg.device().read_item(fwcfg.BOOT_MENU, 2) == b"\1\0"


def test_failed_transfer_raises_eio(model):
    model.fail = 1
    with pytest.raises(OSError, match="control 0x1"):
        fwcfg.device().read_item(0, 4)


def test_wrong_signature_is_refused(model):
    model.items[0] = b"XEMU"
    with pytest.raises(OSError, match="no signature"):
        fwcfg.FwCfg(BASE)


def test_absurd_directory_is_refused(model):
    model.items[0x19] = struct.pack(">I", 1 << 30)
    with pytest.raises(OSError, match="directory of"):
        fwcfg.device().files()
