"""Device.recover() with each driver: in trouble, then as it was."""

import importlib

import pytest
from fake_blk import CONFIG_WCE, FLUSH, FakeBlk
from fake_console import FakeConsole
from fake_gpu import FakeGPU
from fake_input import FakeInput
from fake_net import FakeNet
from fake_p9 import FakeP9
from fake_scsi import FakeSCSI
from virtio import blk
from virtio.transport import DeviceError
from virtio_host import LEGACY, TRANSPORTS, attach, fresh, mask


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


def use_blk(driver, model):
    buf = bytearray(1024)
    driver.read(3, buf)
    return buf == model.disk[3 * 512 : 5 * 512]


def use_net(driver, model):
    frame = bytes(range(60))
    model.deliver(frame)
    sent = len(model.frames)
    driver.send(frame)
    driver.flush()
    return driver.recv(100) == frame and len(model.frames) == sent + 1


def use_console(driver, model):
    model.say(b"hello")
    driver.write(b"there")
    driver.port.flush()
    return driver.read() == b"hello" and model.sent.endswith(b"there")


def use_input(driver, model):
    model.send((1, 30, 1))
    return driver.read() is not None


def use_gpu(driver, model):
    frame = driver.frame()
    frame.fb.pixel(3, 3, 0xABCDEF)
    frame.show()
    return model.pixel(3, 3) == 0xABCDEF


def use_p9(driver, model):
    model.file("/a", b"text")
    share = driver.vfs()
    return share.read("/a") == b"text"


def use_scsi(driver, model):
    buf = bytearray(512)
    driver.units[0].read(0, buf)
    return len(driver.units) == 1


CASES = {
    "blk.Blk": (FakeBlk, use_blk),
    "net.Net": (FakeNet, use_net),
    "console.Console": (FakeConsole, use_console),
    "input.Input": (FakeInput, use_input),
    "gpu.GPU": (FakeGPU, use_gpu),
    "p9.P9": (FakeP9, use_p9),
    "scsi.SCSI": (FakeSCSI, use_scsi),
}


@pytest.mark.clauses("GEN-STATUS-03", "GEN-STATUS-04")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("transport", [t for t in TRANSPORTS if t not in LEGACY])
def test_driver_works_again_after_recovery(name, transport):
    model, use = CASES[name]
    module, cls = name.split(".")
    model = model()
    driver, _ = attach(model, getattr(importlib.import_module("virtio." + module), cls), transport=transport)
    driver.open()
    assert use(driver, model)
    model.need_reset()
    with pytest.raises(DeviceError, match="needs a reset"):
        driver.check_status()
    driver.recover()
    assert use(driver, model) and use(driver, model)
    driver.recover()
    assert use(driver, model)
    driver.close()


def test_cache_mode_of_a_disk_is_set_again():
    model = FakeBlk(features=mask(FLUSH, CONFIG_WCE), writeback=1)
    driver, _ = attach(model, blk.Blk)
    driver.open()
    driver.writeback = False
    model.config[32] = 1  # as after a reset
    driver.recover()
    assert driver.writeback is False
