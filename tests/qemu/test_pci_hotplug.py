"""Hot plug and unplug through QMP, on PCIe root ports."""

import pytest
from session import RemoteError


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    image = tmp_path_factory.mktemp("hotplug") / "disk.img"
    image.write_bytes(bytes(range(256)) * 4096)
    extra = ["-blockdev", f"driver=file,filename={image},node-name=file"]
    extra += ["-blockdev", "driver=raw,file=file,node-name=disk"]
    return {"ports": ["p1", "p2"], "extra": extra}


@pytest.fixture
def guest(guest):
    """At the end nothing is left in the slots."""
    guest.exec("import virtio, time\nvirtio.devices()\nseen = []")
    yield guest
    guest.ctrl_c()
    guest.soft_reset()
    for name in ("one", "two"):
        if any(d["qdev_id"] == name for bus in guest.qmp("query-pci") for d in devices(bus)):
            unplug(guest, name)
            guest.exec("import virtio\nvirtio.devices()\nvirtio.rescan()")
            deleted(guest, name)


def devices(bus):
    for device in bus["devices"]:
        yield device
        if "pci_bridge" in device:
            yield from devices({"devices": device["pci_bridge"].get("devices", [])})


def unplug(guest, name):
    guest.qmp_events.clear()
    guest.qmp("device_del", id=name)


def deleted(guest, name):
    """Wait for QEMU's word that the device is gone."""
    for _ in range(1000):
        if any(e["event"] == "DEVICE_DELETED" and e["data"].get("device") == name for e in guest.qmp_events):
            return
        guest.qmp("query-status")
    raise AssertionError(f"{name} was not deleted: {guest.qmp_events}")


def until(guest, condition):
    """Let the guest run until the condition holds there."""
    guest.exec(
        "t = time.ticks_ms()\n"
        f"while not ({condition}):\n"
        "    assert time.ticks_diff(time.ticks_ms(), t) < 10000\n"
        "    time.sleep_ms(5)",
        timeout=20,
    )


def names(guest):
    return guest.eval("[repr(d) for d in virtio.devices()]")


def test_a_device_that_is_plugged_in_is_found_by_rescan(guest):
    assert names(guest) == []
    guest.qmp("device_add", driver="virtio-blk-pci", id="one", bus="p1", drive="disk")
    guest.exec("virtio.rescan()")
    assert names(guest) == ["<blk0 pci@01:00.0 closed>"]
    guest.exec("d = virtio.open('blk0')\nb = bytearray(512)\nd.read(3, b)\nd.close()")
    assert guest.eval("bytes(b) == bytes(range(256)) * 2")


def test_watch_tells_by_interrupt_what_came_and_went(guest):
    guest.exec("w = virtio.watch(lambda new, lost: seen.append((list(map(repr, new)), list(map(repr, lost)))))")
    guest.qmp("device_add", driver="virtio-rng-pci", id="one", bus="p1")
    until(guest, "seen")
    guest.qmp("device_add", driver="virtio-rng-pci", id="two", bus="p2")
    until(guest, "len(seen) > 1")
    assert guest.eval("seen") == [(["<rng0 pci@01:00.0 closed>"], []), (["<rng1 pci@03:00.0 closed>"], [])]
    assert guest.eval("len(virtio.open('rng1').read(8))") == 8
    unplug(guest, "one")
    until(guest, "len(seen) > 2")
    deleted(guest, "one")
    assert guest.eval("seen[2]") == ([], ["<rng0 pci@01:00.0 gone>"])
    assert names(guest) == ["<rng1 pci@03:00.0 DRIVER_OK>"]
    guest.qmp("device_add", driver="virtio-rng-pci", id="one", bus="p1")
    until(guest, "len(seen) > 3")
    assert names(guest) == ["<rng0 pci@01:00.0 closed>", "<rng1 pci@03:00.0 DRIVER_OK>"]
    guest.exec("w.close()")


def test_a_device_that_is_open_is_given_back_when_it_is_closed(guest):
    guest.qmp("device_add", driver="virtio-blk-pci", id="one", bus="p1", drive="disk")
    guest.exec("virtio.rescan()\nd = virtio.open('blk0')\nb = bytearray(512)")
    unplug(guest, "one")
    guest.exec("virtio.rescan()\nd.read(0, b)")
    assert names(guest) == ["<blk0 pci@01:00.0 2048 sectors DRIVER_OK>"]
    guest.exec("d.close()")
    deleted(guest, "one")
    assert guest.eval("repr(d)") == "<blk0 pci@01:00.0 gone>"
    guest.exec("virtio.rescan()")
    assert names(guest) == []
    with pytest.raises(RemoteError, match="ENODEV: pci@01:00.0: the device is gone"):
        guest.exec("d.open()")


def test_requests_in_flight_end_with_an_error_when_the_power_goes(guest):
    """A source that gives a byte each 1000 seconds."""
    guest.qmp("device_add", driver="virtio-rng-pci", id="one", bus="p1", max_bytes=1, period=1000000)
    guest.exec("virtio.rescan()\nd = virtio.open('rng0')\nd.read(1)\nq = d.queues[0]\nbuf = bytearray(8)")
    guest.exec("head = q.add((), (buf,))\nq.notify()")
    unplug(guest, "one")
    guest.exec("from pci import hotplug\nhotplug.power(d.transport.function.bridge, False)")
    for code in ("q.wait(head, 5000)", "d.read(8)"):
        with pytest.raises(RemoteError, match="EIO: rng0: the device is gone"):
            guest.exec(code, timeout=20)
    assert guest.eval("repr(d)") == "<rng0 pci@01:00.0 gone>"
    guest.exec("virtio.rescan()\nd.close()")
    deleted(guest, "one")
    assert names(guest) == []


def test_a_soft_reset_does_not_wait_for_what_is_gone(guest):
    guest.qmp("device_add", driver="virtio-rng-pci", id="one", bus="p1")
    guest.exec("virtio.rescan()\nd = virtio.open('rng0')\nfrom pci import hotplug")
    unplug(guest, "one")
    guest.exec("hotplug.power(d.transport.function.bridge, False)")
    before = len(guest.console_text())
    guest.soft_reset()
    deleted(guest, "one")
    assert "did not stop" not in guest.console_text()[before:]
    assert guest.eval("__import__('virtio').devices()") == []


def test_the_same_slot_serves_one_device_after_the_other(guest):
    guest.exec("w = virtio.watch(lambda new, lost: seen.append(len(new)))")
    for i in range(4):
        driver = ("virtio-rng-pci", "virtio-net-pci")[i % 2]
        guest.qmp("device_add", driver=driver, id="one", bus="p1", romfile="")
        until(guest, f"len(seen) == {2 * i + 1}")
        assert guest.eval("len(virtio.devices())") == 1
        assert guest.eval("virtio.open(0).transport.status()") == 15
        guest.exec("virtio.devices()[0].close()")
        unplug(guest, "one")
        until(guest, f"len(seen) == {2 * i + 2}")
        deleted(guest, "one")
    assert guest.eval("seen") == [1, 0] * 4
    guest.exec("w.close()")
