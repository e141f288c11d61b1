"""virtio-scsi in QEMU: disks, CD-ROMs, units that come and go, errors, booting."""

import os

import bus
import disk
import iso9660
import pytest
from session import RemoteError, build_folder

BOOT_S = 90  # on a loaded machine
DEMO = build_folder() / "disk" / "demo.img"
LINUX = (r"^sifive_plic_(read|write): Invalid (register|enable) (read|write) 0x2.[08]c$", "^CSR_STVEC: reserved mode")

START = """
import virtio
d = virtio.open('scsi0')
a, b, c = d.unit(0), d.unit(2, 3), d.unit(5)
buf = bytearray(1 << 20)
"""


def unit(kind, name, path, more="", **drive):
    options = "".join(f",{key}={value}" for key, value in drive.items())
    return ["-drive", f"file={path},if=none,id={name},format=raw{options}", "-device", f"{kind},drive={name}{more}"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scsi")
    for name, mib in (("a", 8), ("b", 4), ("c", 2)):
        (folder / name).write_bytes(os.urandom(mib << 20))
    return folder


@pytest.fixture(scope="module", params=bus.variants("virtio-scsi", full=False), ids=str)
def machine(request, images):
    found = request.param.machine(devices=["virtio-scsi"])
    found["extra"] += unit("scsi-hd", "a", images / "a", ",scsi-id=0,serial=ABC", discard="unmap")
    found["extra"] += unit(
        "scsi-hd", "b", images / "b", ",scsi-id=2,lun=3,logical_block_size=4096,physical_block_size=4096"
    )
    found["extra"] += unit("scsi-cd", "c", images / "c", ",scsi-id=5", readonly="on")
    return found


def test_units_and_what_they_say(guest):
    guest.exec(START)
    assert guest.eval("[(u.name, u.kind, u.capacity_sectors, u.block_size, u.readonly) for u in d.units]") == [
        ("scsi0:0:0", "disk", 16384, 512, False),
        ("scsi0:2:3", "disk", 8192, 4096, False),
        ("scsi0:5:0", "cdrom", 4096, 2048, True),
    ]
    assert guest.eval("(a.vendor, a.product, a.serial())") == ("QEMU", "QEMU HARDDISK", "ABC")
    assert guest.eval("a.limits()['can_unmap']") is True
    assert guest.eval("[u.ready() for u in d.units]") == [True] * 3


def test_data_is_the_right_data(guest, images):
    guest.exec(START + "a.read(16384 - 2048, buf)")
    assert guest.eval("bytes(buf[-100:])") == (images / "a").read_bytes()[-100:]
    guest.exec("c.readblocks(7, buf)")
    assert guest.eval("bytes(buf[:64])") == (images / "c").read_bytes()[7 * 2048 : 7 * 2048 + 64]
    guest.exec("buf[:] = bytes([i * 7 & 255 for i in range(256)]) * 4096\nb.write(1024, buf)\nb.flush()")
    assert (images / "b").read_bytes()[1024 * 512 :][: 1 << 20] == bytes(i * 7 & 255 for i in range(1 << 20))
    code = "pieces = [(i * 8, bytearray(4096)) for i in range(400)]\na.read_many(pieces)\n"
    guest.exec(code + "import hashlib\nh = hashlib.sha256()\nfor p in pieces: h.update(p[1])\nh = h.digest()")
    import hashlib

    assert guest.eval("h") == hashlib.sha256((images / "a").read_bytes()[: 400 * 4096]).digest()
    guest.exec("a.write_zeroes(64, 64)\na.discard(4096, 2048)\na.read(64, buf)")
    assert guest.eval("bytes(buf[:32768]) == bytes(32768)") is True
    assert guest.eval("([u.in_flight for u in d.units], d.commands.queue.in_flight)") == ([0, 0, 0], 0)


def test_errors_have_names(guest):
    guest.exec(START)
    for code, text in (
        ("c.write(0, bytes(2048))", "OSError: [Errno 30] EROFS: scsi0:5:0: write block 0: read-only"),
        ("a.command(bytes((0xC0, 0, 0, 0, 0, 0)), None, None, 'odd')", "odd: ILLEGAL REQUEST 20/00 no such command"),
        ("a.command(bytes((0x28, 0, 9, 0, 0, 0, 0, 0, 1, 0)), None, buf)", "ILLEGAL REQUEST 21/00 block out of range"),
        ("a.read(16384, buf)", "ValueError"),
        ("d.unit(9)", "OSError: [Errno 19] ENODEV: scsi0: no unit 9:0"),
    ):
        with pytest.raises(RemoteError) as info:
            guest.exec(code)
        assert text in str(info.value)


def test_task_management(guest):
    guest.exec(START)
    assert guest.eval("[d.tmf(n, 0) for n in ('unit reset', 'query task', 'abort task', 'nexus reset')]") == [0] * 4
    assert guest.eval("(d.tmf('unit reset', 9), d.tmf('unit reset', 0, 7))") == (3, 12)
    guest.exec("a.read(0, buf)")


def test_tray(guest):
    guest.exec(START + "c.eject()")
    assert guest.eval("c.ready()") is False
    with pytest.raises(RemoteError, match="NOT READY 3A/0. no medium"):
        guest.exec("c.read(0, buf)")
    guest.exec("c.load()\nc.read(0, buf)")


def test_a_disk_that_is_plugged_in_and_pulled_out(new_guest, tmp_path):
    image = disk.empty(tmp_path / "x", 1 << 20)
    guest = new_guest(extra=["-device", "virtio-scsi-device,id=s"])
    guest.wait_prompt()
    guest.exec("import virtio, time\nd = virtio.open('scsi0')\nprint(d.units)")
    guest.qmp("blockdev-add", driver="raw", node_name="n", file={"driver": "file", "filename": str(image)})
    guest.qmp("device_add", driver="scsi-hd", id="hot", bus="s.0", scsi_id=4, drive="n")
    assert guest.eval("[u.name for u in d.units]") == ["scsi0:4:0"]
    guest.exec("u = d.unit(4)\nu.write(1, b'x' * 512)\nu.flush()")
    assert image.read_bytes()[512:514] == b"xx"
    guest.qmp("block_resize", node_name="n", size=2 << 20)
    assert guest.eval("(u.ioctl(4, 0), d.poll())") == (4096, [("added", 4, 0), ("changed", 4, 0)])
    guest.qmp("device_del", id="hot")
    wait = "for i in range(100):\n    if not d.units: break\n    time.sleep_ms(20)\nprint(d.units, u.gone)"
    assert guest.exec(wait).strip() == "[] True"
    with pytest.raises(RemoteError, match="ENODEV: scsi0:4:0: read block 0: the unit is gone"):
        guest.exec("u.read(0, bytearray(512))")


def test_another_disc_in_the_tray(new_guest, tmp_path):
    for name, mib in (("one", 1), ("two", 2)):
        (tmp_path / name).write_bytes(name.encode() * 100 + bytes((mib << 20) - 300))
    extra = ["-device", "virtio-scsi-device", *unit("scsi-cd,id=cd", "c", tmp_path / "one", readonly="on")]
    guest = new_guest(extra=extra)
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open('scsi0')\nc = d.unit(0)\nbuf = bytearray(2048)\nc.read(0, buf)")
    assert guest.eval("(c.capacity_sectors, bytes(buf[:3]))") == (2048, b"one")
    guest.qmp("blockdev-change-medium", id="cd", filename=str(tmp_path / "two"), format="raw")
    with pytest.raises(RemoteError, match="medium may have changed"):
        guest.exec("for i in range(3): c.read(0, buf)")
    guest.exec("c.read(0, buf)")
    assert guest.eval("(c.capacity_sectors, bytes(buf[:3]), c.changes)") == (4096, b"two", 1)


def test_a_bad_block_is_named(new_guest, tmp_path):
    image = disk.empty(tmp_path / "x", 1 << 20)
    bad = disk.blkdebug(image, 8, tmp_path)
    extra = ["-device", "virtio-scsi-device", "-drive", f"file={bad},if=none,id=x,format=raw"]
    guest = new_guest(extra=[*extra, "-device", "scsi-hd,drive=x,rerror=report"])
    guest.wait_prompt()
    guest.exec("import virtio\nu = virtio.open('scsi0').unit(0)\nu.read(0, bytearray(512))")
    with pytest.raises(RemoteError, match=r"OSError: \[Errno 5\] EIO: scsi0:0:0: read block 8: "):
        guest.exec("u.read(8, bytearray(512))")
    guest.exec("u.read(9, bytearray(512))")


def test_ctrl_c_ends_a_slow_read(new_guest, tmp_path):
    image = disk.empty(tmp_path / "x", 16 << 20)
    extra = [
        "-device",
        "virtio-scsi-device",
        "-drive",
        f"file={image},if=none,id=x,format=raw,throttling.bps-read=500000",
    ]
    guest = new_guest(extra=[*extra, "-device", "scsi-hd,drive=x"])
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open('scsi0')\nu = d.unit(0)")
    guest.begin("u.refresh()\nprint('go')\nu.read(0, bytearray(8 << 20), 60000)")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert guest.end(60)[1].strip().endswith("KeyboardInterrupt:")
    assert guest.eval("(d.close(), d.is_open)", timeout=60) == (None, False)


@pytest.mark.parametrize("kind", ["scsi-hd", "scsi-cd"])
def test_linux_starts_from_a_scsi_disk_and_from_a_cd(new_guest, tmp_path, kind):
    image = DEMO
    if kind == "scsi-cd":
        kernel = build_folder() / "supply" / "kernel" / "linux"
        conf = b"label it\n kernel /boot/linux\n append console=ttyS0 demo.poweroff\n"
        tree = {"extlinux": {"extlinux.conf": conf}, "boot": {"linux": kernel.read_bytes()}}
        image = iso9660.make(tmp_path / "cd.iso", tree)
    extra = ["-device", "virtio-scsi-device", *unit(kind, "x", image, ",scsi-id=1", readonly="on")]
    guest = new_guest(autoboot=True, allow=LINUX, extra=extra)
    guest.expect(r"scsi0:1:0\S* \w+ \S*/extlinux/extlinux.conf", 30)
    guest.expect("Kernel command line: console=ttyS0", BOOT_S)


def test_words_of_u_boot_for_a_scsi_disk(new_guest, tmp_path):
    extra = ["-device", "virtio-scsi-device", *unit("scsi-hd", "x", DEMO, snapshot="on")]
    guest = new_guest(extra=extra)
    guest.wait_prompt()
    assert "extlinux" in guest.exec("import fs.cmd as c\nc.ls('scsi', '0:1', '/')")
    assert guest.exec("import loader\nprint(loader.disk('scsi0:0:0'))").startswith("<scsi0:0:0 disk QEMU")
