"""Bad disks, kernels and devices: each gives a clear error and then a working prompt, never a hang."""

import contextlib
import gzip
import random
import re
import socket
import tempfile

import disk
import pytest
from session import RemoteError

NOISE = random.Random(1).randbytes(1 << 16)
KERNEL = disk.riscv_image(4096) + NOISE
CONF = "default one\nlabel one\n    kernel /boot/linux\n    initrd /boot/initramfs\n    append console=ttyS0\n"


def boot_disk(folder, kernel=KERNEL, initrd=b"initrd", conf=CONF, kind="ext4", **more):
    """A disk that would boot, unless one of the arguments is bad; None leaves a file out."""
    files = disk.tree(kernel, initrd, conf, **more)
    return disk.whole(folder / "disk.img", files, kind)


def damaged(folder, what, name="/boot/linux", files=None):
    """A GPT disk whose ext4 file system is damaged in one place."""
    # Checksums would be what is wrong first with most kinds of damage.
    files = files or disk.tree(KERNEL, b"initrd", CONF)
    image = disk.filesystem(folder / "part", files, options=("-O", "^metadata_csum"))
    disk.damage_ext(image, what, name)
    return disk.gpt(folder / "disk.img", [disk.Part(image, bootable=True)])


@pytest.fixture
def try_boot(new_guest):
    """Start a machine that boots by itself, wait until it has given up, prove the prompt, return what it said."""

    def run(*disks, timeout=60, **options):
        guest = new_guest(autoboot=True, disks=disks, **options)
        text = guest.wait_prompt(timeout)
        assert "Traceback" not in text, text
        assert guest.eval("6 * 7") == 42
        return text

    return run


# Disks


def test_no_disk(try_boot):
    assert "no virtio disk" in try_boot()


def test_empty_disk(try_boot, tmp_path):
    text = try_boot(disk.empty(tmp_path / "disk.img"))
    assert "blk0" in text and "empty" in text


def test_disk_of_one_sector(try_boot, tmp_path):
    assert "blk0" in try_boot(disk.empty(tmp_path / "disk.img", 512))


def test_disk_of_random_bytes(try_boot, tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(NOISE * 16)
    assert "no file system" in try_boot(path)


def test_damaged_primary_gpt_boots_from_the_backup_and_says_so(try_boot, tmp_path):
    path = boot_disk(tmp_path, **{"boot.py": b"print('script on the disk runs')\n"})
    text = try_boot(disk.damage_gpt(path))
    assert "script on the disk runs" in text
    assert "primary GPT" in text and "backup" in text


def test_damaged_gpt_entries_boot_from_the_backup_and_say_so(try_boot, tmp_path):
    path = boot_disk(tmp_path, **{"boot.py": b"print('script on the disk runs')\n"})
    text = try_boot(disk.damage_gpt(path, entries=True))
    assert "script on the disk runs" in text
    assert "primary GPT" in text and "backup" in text


def test_damaged_primary_and_backup_gpt(try_boot, tmp_path):
    text = try_boot(disk.damage_gpt(boot_disk(tmp_path), backup=True))
    assert "gpt: primary" in text and "backup" in text and "blk0" in text


@pytest.mark.parametrize(
    "what, expected",
    (
        ("superblock", "superblock"),
        ("descriptor", "group"),
        ("extents", "extent"),
    ),
)
def test_damaged_ext4(try_boot, tmp_path, what, expected):
    text = try_boot(damaged(tmp_path, what))
    assert "ext4" in text and expected in text


def test_directory_loop_in_ext4(new_guest, tmp_path):
    files = disk.tree(KERNEL, b"initrd", CONF, **{"a/b/file": b"x"})
    guest = new_guest(disks=[damaged(tmp_path, "directory", "/a", files=files)])
    guest.wait_prompt()
    guest.exec("import fs, virtio\nv = fs.volume(fs.find(virtio.open('blk0'), number=1))")
    with pytest.raises(RemoteError, match="OSError"):
        guest.exec("v.size('/a" + "/b" * 5000 + "/nothing')", timeout=60)
    guest.exec("import vfs, os\nvfs.mount(v, '/d')\nprint(os.listdir('/d/a'))")
    assert guest.eval("6 * 7") == 42


def test_symlink_loop_in_ext4(try_boot, tmp_path):
    files = disk.tree(None, b"initrd", CONF)
    files["/boot/linux"] = disk.Link("linux")
    assert "/boot/linux" in try_boot(disk.whole(tmp_path / "disk.img", files))


# Kernels and what goes with them


@pytest.mark.parametrize("kind", ("ext4", "fat32"))
@pytest.mark.parametrize(
    "kernel, expected",
    (
        pytest.param(None, "/boot/linux", id="missing"),
        pytest.param(b"", "truncated|empty", id="empty"),
        pytest.param(KERNEL[:40], "truncated", id="header-cut"),
        pytest.param(KERNEL[:56] + b"XXXX" + KERNEL[60:], "not an? |no kernel|unknown|magic", id="wrong-magic"),
        pytest.param(disk.riscv_image(65536, image_size=1 << 40), "image_size 0x10000000000", id="too-large"),
        pytest.param(b"\x7fELF" + bytes(100), "ELF|truncated", id="elf-cut"),
        pytest.param(gzip.compress(KERNEL)[:20000], "gzip", id="gzip-cut"),
        pytest.param(b"\x1f\x8b\x08\0" + b"\xa5" * 4000, "gzip", id="gzip-corrupt"),
        pytest.param(gzip.compress(NOISE), "gzip|not an?|no kernel", id="gzip-of-no-kernel"),
    ),
)
def test_bad_kernel(try_boot, tmp_path, kernel, expected, kind):
    text = try_boot(boot_disk(tmp_path, kernel=kernel, kind=kind))
    assert "linux" in text and re.search(expected, text), text


def test_kernel_shorter_than_its_header_says(try_boot, tmp_path):
    elf = bytearray(b"\x7fELF\x02\x01\x01".ljust(64, b"\0"))
    elf[16:20] = bytes((2, 0, 243, 0))
    elf[32], elf[52], elf[54], elf[56] = 64, 64, 56, 1
    segment = bytearray(56)
    segment[0], segment[4] = 1, 5
    segment[8:16] = (0x1000).to_bytes(8, "little")
    segment[16:24] = segment[24:32] = (0x81000000).to_bytes(8, "little")
    segment[32:40] = segment[40:48] = (0x100000).to_bytes(8, "little")
    text = try_boot(boot_disk(tmp_path, kernel=bytes(elf + segment).ljust(8192, b"\0")))
    assert "truncated" in text or "beyond" in text, text


def test_missing_initrd(try_boot, tmp_path):
    text = try_boot(boot_disk(tmp_path, initrd=None))
    assert "/boot/initramfs" in text


@pytest.mark.parametrize("mem", ("64M", "128M"))
def test_kernel_larger_than_memory(try_boot, tmp_path, mem):
    text = try_boot(boot_disk(tmp_path, kernel=disk.riscv_image(65536, image_size=512 << 20)), mem=mem)
    assert "linux" in text


@pytest.mark.parametrize(
    "conf",
    (
        pytest.param("default nothing\n", id="no-label"),
        pytest.param("", id="empty"),
        pytest.param("default x\nlabel y\n    kernel /nowhere/linux\n", id="names-nothing-that-exists"),
        pytest.param("label y\n    append console=ttyS0\n", id="label-without-kernel"),
        pytest.param("\0\1\2\xff\xfe garbage \x80" * 100, id="binary"),
        pytest.param("include /extlinux/extlinux.conf\n", id="includes-itself"),
        pytest.param("label " + "x" * 100000 + "\n", id="endless-line"),
    ),
)
def test_bad_extlinux_conf(try_boot, tmp_path, conf):
    text = try_boot(boot_disk(tmp_path, conf=conf))
    assert "extlinux.conf" in text, text


def test_boot_script_that_raises(try_boot, tmp_path):
    files = {"/boot.py": b"import nothing_of_that_name\n"}
    with pytest.raises(AssertionError, match="ImportError"):
        try_boot(disk.whole(tmp_path / "disk.img", files))


def test_cut_devicetree_file_of_a_label(try_boot, tmp_path):
    conf = CONF + "    fdt /board.dtb\n"
    blob = b"\xd0\x0d\xfe\xed" + (4096).to_bytes(4, "big") + bytes(100)
    text = try_boot(boot_disk(tmp_path, conf=conf, **{"board.dtb": blob}))
    assert "board.dtb" in text


@pytest.mark.parametrize("part", (0, 4, 20, 40, 100, 1000, -1))
def test_fdt_cut_short(guest, part):
    guest.exec("import fdt, riscv\nwhole = bytes(riscv.fdt())")
    with pytest.raises(RemoteError, match="FDTError"):
        guest.exec(f"fdt.FDT(whole[:{part}]).dump()")
    assert guest.eval("6 * 7") == 42


class Debugger:
    """As much of gdb's protocol as it takes to read and write a stopped guest's memory."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._file = self._socket.makefile("rwb")

    def command(self, text):
        self._file.write(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
        self._file.flush()
        while self._file.read(1) != b"$":
            pass
        answer = b"".join(iter(lambda: self._file.read(1), b"#"))
        self._file.read(2)
        self._file.write(b"+")
        self._file.flush()
        return answer.decode()

    def read(self, addr, size):
        return bytes.fromhex(self.command(f"m{addr:x},{size:x}"))

    def write(self, addr, data):
        assert self.command(f"M{addr:x},{len(data):x}:{data.hex()}") == "OK"

    def go(self):
        # the guest may end, and QEMU with it, before the last acknowledgement is sent
        with contextlib.suppress(OSError):
            self.command("D")
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


@pytest.mark.parametrize("divisor", (2, 100, 1 << 20))
def test_machines_own_devicetree_cut_short(new_guest, tmp_path, divisor):
    """Without RAM's place there can be no prompt: the firmware says what is wrong and ends QEMU with a code."""
    with tempfile.TemporaryDirectory() as folder:
        guest = new_guest(
            extra=["-S", "-chardev", f"socket,path={folder}/g,server=on,wait=off,id=g", "-gdb", "chardev:g"]
        )
        debugger = Debugger(f"{folder}/g")
        words = (int.from_bytes(debugger.read(addr, 8), "little") for addr in range(0x1018, 0x1060, 8))
        fdt = next(word for word in words if word >> 31 and debugger.read(word, 4) == b"\xd0\x0d\xfe\xed")
        size = int.from_bytes(debugger.read(fdt + 4, 4), "big")
        debugger.write(fdt + 4, (size // divisor).to_bytes(4, "big"))
        debugger.go()
        guest.expect_text("fatal: no valid device tree")
        assert guest.exit_code() != 0


# Devices


@pytest.mark.parametrize("kind", ("ext4", "fat32"))
def test_io_error_in_mid_file(try_boot, tmp_path, kind):
    marker = b"the sector that cannot be read".ljust(512, b"!")
    kernel = KERNEL + bytes(256 * 1024) + marker + bytes(64 * 1024)
    path = boot_disk(tmp_path, kernel=kernel, kind=kind)
    sector = path.read_bytes().index(marker) // 512
    text = try_boot(disk.blkdebug(path, sector, tmp_path))
    assert "IOERR" in text and "blk0" in text, text


def test_io_error_in_the_first_sector(try_boot, tmp_path):
    text = try_boot(disk.blkdebug(boot_disk(tmp_path), 0, tmp_path))
    assert "IOERR" in text and "blk0" in text


def test_disk_that_stops_answering(try_boot, tmp_path):
    """QEMU lets one byte a second through: the second request will not be answered in the test's lifetime."""
    text = try_boot({"file": str(boot_disk(tmp_path)), "throttling.bps-read": "1"})
    assert "no answer" in text and "blk0" in text


# With a geometry of its own QEMU does not read the disk to guess one, which would take the hour too.
NEVER = "driver=null-co,node-name=never,size=1048576,latency-ns=3600000000000"


@pytest.fixture
def silent_disk(new_guest):
    """A guest at its prompt with a disk that answers no request within an hour."""
    guest = new_guest(extra=["-blockdev", NEVER, "-device", "virtio-blk-device,drive=never,cyls=16,heads=4,secs=32"])
    guest.wait_prompt()
    guest.exec("import virtio\nd = virtio.open('blk0')\nb = bytearray(512)")
    return guest


def test_device_that_never_answers_times_out(silent_disk):
    with pytest.raises(RemoteError, match="ETIMEDOUT.*blk0.*no answer"):
        silent_disk.exec("d.read(0, b, timeout_ms=300)")
    assert silent_disk.eval("6 * 7") == 42


def test_waiting_for_a_device_that_never_answers_can_be_interrupted(silent_disk):
    silent_disk.begin("print('go')\nd.read(0, b, timeout_ms=1 << 30)")
    silent_disk.expect_text("go\r\n")
    silent_disk.ctrl_c()
    assert "KeyboardInterrupt" in silent_disk.end()[1]
    assert silent_disk.eval("6 * 7") == 42


def test_buffers_of_unanswered_requests_are_not_reused(silent_disk):
    with pytest.raises(RemoteError, match="ETIMEDOUT"):
        silent_disk.exec("d.read(0, bytearray(512), timeout_ms=100)")
    silent_disk.exec("import gc\ngc.collect()\nx = [bytearray(512) for _ in range(1000)]\ngc.collect()")
    assert silent_disk.eval("d.vq.in_flight") == 1
