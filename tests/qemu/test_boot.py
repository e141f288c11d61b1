"""From power-on to Linux or another program: disks, menus, scripts, and what QEMU is given itself."""

import os
import subprocess
import zlib

import disk
import pytest
from session import RemoteError, build_folder, qemu_version

KERNEL = build_folder() / "supply" / "kernel" / "linux"
INITRAMFS = build_folder() / "disk" / "initramfs"
DEMO = {"ext4": build_folder() / "disk" / "demo.img", "fat": build_folder() / "disk" / "demo-fat.img"}
MARKER = "initramfs: user space is up"
BOOT_S = 90  # on a loaded machine
HANDOVERS = int(os.environ.get("HANDOVERS", "10"))

# What OpenSBI and Linux do themselves: the devicetree of QEMU 7.2 announces one interrupt source too many.
ALLOW = (r"^sifive_plic_(read|write): Invalid (register|enable) (read|write) 0x2.[08]c$", "^CSR_STVEC: reserved mode")

needs_fw_cfg = pytest.mark.skipif(qemu_version() < (8, 0), reason="QEMU 7.2 has no -fw_cfg on the virt machine")

# A program for either mode: every hart prints its id and mode; the one that makes the count full ends QEMU.
PAYLOAD = r"""
    .globl _start
_start:
    la      t0, lock
    li      t1, 1
1:  amoswap.w.aq t2, t1, (t0)
    bnez    t2, 1b
    li      t3, 0x10000000
    addi    t4, a0, '0'
    sb      t4, 0(t3)
    lw      t5, 0(a1)               # the devicetree's magic
    li      t6, 0xedfe0dd0
    slli    t5, t5, 32
    srli    t5, t5, 32
    li      t4, '!'
    bne     t5, t6, 2f
    li      t4, '+'
2:  sb      t4, 0(t3)
    la      t1, count
    lw      t2, 0(t1)
    addi    t2, t2, 1
    sw      t2, 0(t1)
    amoswap.w.rl zero, zero, (t0)
    li      t3, HARTS
    bne     t2, t3, 3f
    li      t0, 0x100000
    li      t1, 0x2a3333            # exit code 42
    sw      t1, 0(t0)
3:  wfi
    j       3b
    .data
    .balign 4
lock: .word 0
count: .word 0
    .bss
    .space 5000
"""


@pytest.fixture(scope="module")
def payload(tmp_path_factory):
    """payload(harts, address) assembles the program above."""
    folder = tmp_path_factory.mktemp("payload")
    (folder / "p.S").write_text(PAYLOAD)

    def make(harts, address):
        out = folder / f"p{harts}-{address:x}.elf"
        words = ["riscv64-unknown-elf-gcc", "-nostdlib", "-march=rv64gc", "-mabi=lp64d", f"-DHARTS={harts}"]
        words += ["-mcmodel=medany", f"-Wl,-Ttext={address:#x},-N,--build-id=none", "-o", out, folder / "p.S"]
        subprocess.run([str(word) for word in words], check=True)
        return out

    return make


def boot_disk(path, conf, **more):
    """An ext4 disk with the demo's kernel and initramfs and an extlinux.conf (None: without)."""
    return disk.whole(path, disk.tree(kernel=KERNEL, initrd=INITRAMFS, conf=conf, **more))


CONF = """default two
{settings}
label one
    menu label The first one
    kernel ../boot/linux
    initrd ../boot/initramfs
    append console=ttyS0 demo.poweroff chosen=one
label two
    kernel /boot/linux
    initrd /boot/initramfs
    append console=ttyS0 demo.poweroff chosen=two
"""


@pytest.mark.parametrize(
    ("fs", "legacy", "smp", "mem"),
    [
        ("ext4", True, 1, "256M"),
        ("ext4", False, 2, "128M"),
        ("ext4", True, 4, "8G"),
        ("ext4", False, 8, "1G"),
        ("fat", True, 2, "256M"),
        ("fat", False, 4, "1G"),
    ],
)
def test_linux_comes_up_with_all_cpus(new_guest, fs, legacy, smp, mem):
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[DEMO[fs]], legacy=legacy, smp=smp, mem=mem)
    guest.expect("Linux version", BOOT_S)
    guest.expect(f", {smp} CPUs?\r\n", BOOT_S)
    guest.expect(MARKER, BOOT_S)
    assert guest.exit_code(BOOT_S) == 0


BRIDGE = "pcie-pci-bridge,id=b1,bus=p1"


@pytest.mark.parametrize(
    ("properties", "ports"),
    [("disable-modern=on", ()), ("bus=p1", ("p1",)), ("bus=b1,addr=3", ("p1", BRIDGE))],
    ids=["legacy", "port", "bridge"],
)
def test_linux_comes_up_from_a_disk_on_pci(new_guest, properties, ports):
    """It numbers buses and assigns BARs again, over what the firmware left."""
    disk = {"file": DEMO["ext4"], "device": "virtio-blk-pci", "properties": properties}
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[disk], ports=ports)
    guest.expect("PCI host bridge to bus 0000:00", BOOT_S)
    guest.expect(MARKER, BOOT_S)
    assert guest.exit_code(BOOT_S) == 0


@pytest.mark.parametrize("smp", [1, 4])
def test_kernel_initrd_and_append_given_to_qemu_are_booted(new_guest, smp):
    guest = new_guest(
        autoboot=True, allow=ALLOW, kernel=KERNEL, initrd=INITRAMFS, append="console=ttyS0 demo.poweroff", smp=smp
    )
    guest.expect("Kernel command line: console=ttyS0 demo.poweroff\r", BOOT_S)
    guest.expect(f", {smp} CPUs?\r\n", BOOT_S)
    guest.expect(MARKER, BOOT_S)


def test_key_stops_the_countdown_and_gives_the_prompt(new_guest):
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[DEMO["ext4"]])
    guest.expect("any key stops", 30)
    guest.write(" ")
    guest.wait_prompt()
    assert guest.eval("1 + 1") == 2


def test_soft_reset_does_not_boot_again(new_guest):
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[DEMO["ext4"]])
    guest.expect("any key stops", 30)
    guest.write(" ")
    guest.wait_prompt()
    guest.write("\x04")
    assert "booting" not in guest.wait_prompt()


def test_menu_boots_the_label_of_the_number(new_guest, tmp_path):
    image = boot_disk(tmp_path / "d", CONF.format(settings="menu title Which?\nprompt 1"))
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    guest.expect(r"Which\?.* 1  The first one.*\* 2  two", 30)
    guest.write("1")
    guest.expect("Kernel command line: console=ttyS0 demo.poweroff chosen=one\r", BOOT_S)


def test_menu_boots_the_default_when_the_time_is_over(new_guest, tmp_path):
    image = boot_disk(tmp_path / "d", CONF.format(settings="prompt 1\ntimeout 3"))
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    guest.expect("Kernel command line: console=ttyS0 demo.poweroff chosen=two\r", BOOT_S)


def test_menu_gives_the_prompt_for_any_other_key(new_guest, tmp_path):
    image = boot_disk(tmp_path / "d", CONF.format(settings="prompt 1"))
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    guest.expect("any other key gives the prompt", 30)
    guest.write("q")
    guest.wait_prompt()


def test_boot_py_on_the_disk_comes_before_extlinux_and_main_py_after_it(new_guest, tmp_path):
    script = b"import helper\nprint('boot', helper.x)"
    more = {"boot.py": script, "main.py": b"print('main', __name__)", "lib/helper.py": b"x = 7"}
    image = boot_disk(tmp_path / "d", CONF.format(settings=""), **more)
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    assert "boot 7\r\nmain __main__\r\n" in guest.wait_prompt()


def test_boot_script_starts_linux(new_guest, tmp_path):
    script = b"""import loader
volume = loader.volume("blk0", 1)
loader.linux("/boot/linux", "/boot/initramfs", "console=ttyS0 demo.poweroff by=script", volume=volume)
"""
    image = boot_disk(tmp_path / "d", None, **{"boot.py": script})
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    guest.expect("by=script\r", BOOT_S)
    guest.expect(MARKER, BOOT_S)


def test_boot_script_reads_from_the_mounted_disk(new_guest, tmp_path):
    script = b"""import loader
loader.linux("/boot/linux", ["/boot/initramfs"], "console=ttyS0 demo.poweroff")
"""
    image = boot_disk(tmp_path / "d", None, **{"boot.py": script})
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    guest.expect(MARKER, BOOT_S)


def test_error_in_a_boot_script_is_a_traceback_and_a_prompt(new_guest, tmp_path):
    image = disk.whole(tmp_path / "d", {"/boot.py": b"def f():\n    1 / 0\nf()\n"})
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    text = guest.wait_prompt()
    assert 'File "/boot.py", line 2, in f' in text
    assert "ZeroDivisionError" in text


def test_script_given_in_a_kernels_place_is_run(new_guest, tmp_path):
    (tmp_path / "start.py").write_text("# a start script\nprint('given', 6 * 7)\n")
    guest = new_guest(autoboot=True, allow=ALLOW, kernel=tmp_path / "start.py")
    assert "given 42" in guest.wait_prompt()


@needs_fw_cfg
def test_script_given_by_fw_cfg_is_run(new_guest, tmp_path):
    (tmp_path / "start.py").write_text("print('given', 6 * 7)\n")
    name = "opt/org.micropython/boot.py"
    guest = new_guest(autoboot=True, allow=ALLOW, fw_cfg={name: tmp_path / "start.py"})
    assert "given 42" in guest.wait_prompt()


def test_gzip_kernel_boots(new_guest, tmp_path):
    files = disk.tree(kernel=disk.gzipped(KERNEL.read_bytes()), initrd=INITRAMFS, conf=CONF.format(settings=""))
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[disk.whole(tmp_path / "d", files)])
    guest.expect(MARKER, 2 * BOOT_S)


def test_gpt_partition_marked_bootable_comes_first(new_guest, tmp_path):
    other = disk.ext(tmp_path / "other", {"/boot.py": b"print('wrong')"})
    right = disk.ext(tmp_path / "right", {"/boot.py": b"print('right')"})
    image = disk.gpt(tmp_path / "d", [disk.Part(other), disk.Part(right, bootable=True)])
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    assert "\r\nright\r\n" in guest.wait_prompt()


def test_second_disk_is_booted_when_the_first_has_nothing(new_guest, tmp_path):
    first = disk.empty(tmp_path / "first")
    second = disk.whole(tmp_path / "second", {"/boot.py": b"print('second')"}, "fat16", "mbr")
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[first, second])
    assert "\r\nsecond\r\n" in guest.wait_prompt()


def test_nothing_to_boot_says_what_was_looked_for(new_guest, tmp_path):
    image = disk.whole(tmp_path / "d", {"/x": b""})
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[image])
    text = guest.wait_prompt()
    assert "nothing to boot: blk0:1: no /boot.py or /extlinux/extlinux.conf or /boot/extlinux/extlinux.conf" in text


def test_dry_run_shows_the_plan_and_changes_nothing(new_guest):
    guest = new_guest(disks=[DEMO["ext4"]], mem="128M")
    guest.wait_prompt()
    guest.exec("import loader, riscv\nv = loader.volume(0, 1)")
    text = guest.exec("before = riscv.regions()\np = loader.sysboot(v, label='shell', dry_run=True)")
    for word in ("opensbi", "kernel", "initrd", "fdt", "trampoline", "/boot/linux", "bootargs    console=ttyS0"):
        assert word in text
    places = guest.eval("[(p.addr, p.addr + p.size, p.name) for p in p.pieces]")
    for a, b in zip(sorted(places), sorted(places)[1:], strict=False):
        assert a[1] <= b[0]
    assert guest.eval("[r for r in riscv.regions() if r[2] != 'heap'] == [r for r in before if r[2] != 'heap']")


def test_given_devicetree_reaches_the_kernel_with_its_reservations(new_guest, tmp_path):
    blob = tmp_path / "virt.dtb"
    subprocess.run(["qemu-system-riscv64", "-M", f"virt,dumpdtb={blob}", "-smp", "2", "-m", "256M"], check=True)
    subprocess.run(["fdtput", "-t", "s", blob, "/", "model", "from the test"], check=True)
    conf = "label x\nkernel /boot/linux\ninitrd /boot/initramfs\nfdt /my.dtb\nappend console=ttyS0 demo.poweroff\n"
    guest = new_guest(autoboot=True, allow=ALLOW, disks=[boot_disk(tmp_path / "d", conf, **{"my.dtb": blob})])
    guest.expect("Machine model: from the test\r", BOOT_S)
    guest.expect(MARKER, BOOT_S)


@pytest.mark.parametrize("address", [0x80000000, 0x83000000])
def test_m_mode_elf_is_entered_by_every_hart(new_guest, tmp_path, payload, address):
    image = disk.whole(tmp_path / "d", {"/payload.elf": payload(4, address)})
    guest = new_guest(allow=ALLOW, smp=4, disks=[image])
    guest.wait_prompt()
    guest.exec("import loader\nv = loader.volume()")
    guest.begin("loader.linux('/payload.elf', volume=v)")
    text = guest.expect(r"(\d\+){4}")[0].decode()
    assert sorted(text.replace("+", "")) == list("0123")
    assert guest.exit_code() == 42


def test_s_mode_elf_is_entered_by_one_hart_through_opensbi(new_guest, tmp_path, payload):
    image = disk.whole(tmp_path / "d", {"/payload.elf": payload(1, 0x80400000)})
    guest = new_guest(allow=ALLOW, smp=4, disks=[image])
    guest.wait_prompt()
    guest.exec("import loader\nv = loader.volume()")
    guest.begin("loader.linux('/payload.elf', volume=v, mode='S')")
    guest.expect(r"\d\+")
    assert guest.exit_code() == 42


def test_repeated_handover_never_loses_a_hart(new_guest, tmp_path, payload):
    image = disk.whole(tmp_path / "d", {"/payload.elf": payload(4, 0x80000000)})
    guest = new_guest(allow=ALLOW, smp=4, disks=[image])
    for _ in range(HANDOVERS):
        guest.wait_prompt()
        guest.exec("import loader\nv = loader.volume()")
        guest.begin("loader.linux('/payload.elf', volume=v)")
        guest.expect(r"(\d\+){4}")
        assert guest.exit_code() == 42
        guest.restart()


# Prints the three bytes at its end, which is not a multiple of 8 from its start, and ends QEMU with 43.
TAIL = r"""
    .globl _start
_start:
    bnez    a0, 2f
    la      t0, tail
    li      t1, 0x10000000
    li      t2, 3
1:  lbu     t3, 0(t0)
    sb      t3, 0(t1)
    addi    t0, t0, 1
    addi    t2, t2, -1
    bnez    t2, 1b
    li      t0, 0x100000
    li      t1, 0x2b3333
    sw      t1, 0(t0)
2:  wfi
    j       2b
    .balign 8
tail: .ascii "<=>"
"""


def test_moves_are_made_in_order_upwards_and_downwards_with_odd_lengths(new_guest, tmp_path):
    (tmp_path / "t.S").write_text(TAIL)
    elf, raw = tmp_path / "t.elf", tmp_path / "t.bin"
    words = ["riscv64-unknown-elf-gcc", "-nostdlib", "-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany"]
    subprocess.run([*words, "-Wl,-Ttext=0x83000000,-N,--build-id=none", "-o", elf, tmp_path / "t.S"], check=True)
    subprocess.run(["riscv64-unknown-elf-objcopy", "-O", "binary", elf, raw], check=True)
    code = raw.read_bytes().rstrip(b"\0")
    assert len(code) % 8 == 3
    guest = new_guest(smp=3)
    guest.wait_prompt()
    guest.begin(f"""
import riscv, uctypes, fdt
code = {code!r}
base, size = 0x83000000, len(code)
riscv.reserve(base, base + 0x4000, "test")
uctypes.bytearray_at(base + 0x1000, size)[:] = code
blob = bytes(riscv.fdt())
uctypes.bytearray_at(base + 0x2000, len(blob))[:] = blob
moves = ((base + 0x1008, base + 0x1000, size), (base + 0x1000, base + 0x1008, size), (base, base + 0x1000, size))
riscv.handoff(base + 0x800000, base, base + 0x2000, 0, moves)
""")
    guest.expect("<=>")
    assert guest.exit_code() == 43


def test_handoff_refuses_what_would_go_wrong(new_guest):
    guest = new_guest(smp=2)
    guest.wait_prompt()
    guest.exec("import riscv")
    for arguments, why in (
        ("0x83000004, 0x80000000, 0x83001000", "page"),
        ("0x10000000, 0x80000000, 0x83001000", "page"),
        ("0x83000000, 0x80000000, 0x83001004", "fdt"),
        ("0x83000000, 0x80000000, 0x83001000, 0, ((0x83000800, 0x84000000, 8),)", "trampoline"),
        ("0x83000000, 0x80000000, 0x83001000, 0, ((0x84000001, 0x84001000, 8),)", "destination"),
        ("0x83000000, 0x80000000, 0x83001000, 0, ((0x84000000, 0x10000000, 8),)", "source"),
        ("0x83000000, 0x80000000, 0x83001000, 0, ((0x84000000, 0x84001000, 8),) * 200", "moves"),
    ):
        with pytest.raises(RemoteError, match=f"ValueError: handoff: .*{why}"):
            guest.exec(f"riscv.handoff({arguments})")
    assert guest.eval("riscv.harts()") == 2


def test_loaded_plan_is_in_memory_as_shown(new_guest, tmp_path):
    kernel = disk.riscv_image(70000, image_size=0x300000)
    files = {"/k": kernel, "/a": b"first", "/b": b"second!!", "/k.gz": disk.gzipped(kernel)}
    guest = new_guest(disks=[disk.whole(tmp_path / "d", files)])
    guest.wait_prompt()
    guest.exec("""
import loader, fdt, riscv, binascii
from uctypes import bytearray_at
v = loader.volume()
def crc(piece, size):
    return binascii.crc32(bytearray_at(p.piece(piece).addr, size))
p = loader.plan("/k", ["/a", "/b"], "one two", volume=v).load()
""")
    assert guest.eval("crc('kernel', 70000)") == zlib.crc32(kernel)
    assert guest.eval("crc('initrd', 16)") == zlib.crc32(b"first\0\0\0second!!")
    assert guest.eval("crc('opensbi', 1000)") == guest.eval("binascii.crc32(riscv.opensbi()[:1000])")
    guest.exec("t = fdt.FDT(bytearray_at(p.piece('fdt').addr, p.piece('fdt').size))\nc = t.chosen")
    assert guest.eval("c.string('bootargs')") == "one two"
    assert guest.eval("c.u64('linux,initrd-start') == p.piece('initrd').addr")
    assert guest.eval("c.u64('linux,initrd-end') - c.u64('linux,initrd-start')") == 16
    assert guest.eval("len(c['rng-seed'])") == 32
    assert guest.eval("bytes(c['rng-seed']) != bytes(fdt.node('/chosen')['rng-seed'])")
    assert guest.eval("c.string('stdout-path') == fdt.node('/chosen').string('stdout-path')")
    assert guest.eval("t.memreserve()[-1] == (p.piece('trampoline').addr, 4096)")
    names = {"kernel", "initrd", "fdt", "opensbi", "trampoline"}
    assert names <= {name for _, _, name in guest.eval("riscv.regions()")}
    guest.exec("p.release()\np = loader.plan('/k.gz', volume=v).load()")
    assert guest.eval("crc('kernel', 70000)") == zlib.crc32(kernel)
    guest.exec("p.release()")
    assert not (names - {"fdt"}) & {name for _, _, name in guest.eval("riscv.regions()")}


def test_fdtdir_finds_the_machines_own_name_or_nothing(new_guest, tmp_path):
    conf = "label x\nkernel /k\nfdtdir /dtbs/\nlabel y\nkernel /k\nfdtdir /none\n"
    blob = tmp_path / "virt.dtb"
    subprocess.run(["qemu-system-riscv64", "-M", f"virt,dumpdtb={blob}", "-m", "256M"], check=True)
    files = {"/k": disk.riscv_image(), "/extlinux/extlinux.conf": conf.encode(), "/dtbs/riscv-virtio.dtb": blob}
    guest = new_guest(disks=[disk.whole(tmp_path / "d", files)])
    guest.wait_prompt()
    guest.exec("import loader\nv = loader.volume()")
    assert "/dtbs/riscv-virtio.dtb" in guest.exec("loader.sysboot(v, label='x', dry_run=True)")
    assert "devicetree of this machine" in guest.exec("loader.sysboot(v, label='y', dry_run=True)")


def test_included_file_is_read_beside_the_one_that_names_it(new_guest, tmp_path):
    files = {"/k": disk.riscv_image(), "/extlinux/extlinux.conf": b"include more/labels.conf\ndefault x\n"}
    files["/extlinux/more/labels.conf"] = b"label w\nkernel /none\nlabel x\nkernel ../k\nappend from=include\n"
    guest = new_guest(disks=[disk.whole(tmp_path / "d", files)])
    guest.wait_prompt()
    text = guest.exec("import loader\nloader.sysboot(loader.volume(), label='x', dry_run=True)")
    assert "bootargs    from=include" in text


# Prints a letter for what it finds and ends QEMU with 44: S a device's status, P an enabled PLIC source of the first
# contexts, I an enabled or globally allowed interrupt; then a full stop.
QUIET = r"""
    .globl _start
_start:
    bnez    a0, 9f
    li      s0, 0x10000000
    li      t0, 0x10001070          # Status of the first of 8 slots
    li      t1, 8
1:  lw      t2, 0(t0)
    beqz    t2, 2f
    li      t3, 'S'
    sb      t3, 0(s0)
2:  li      t4, 0x1000
    add     t0, t0, t4
    addi    t1, t1, -1
    bnez    t1, 1b
    li      t0, 0xc002000           # enable words of context 0
    li      t1, CONTEXTS
3:  lw      t2, 0(t0)
    lw      t3, 4(t0)
    or      t2, t2, t3
    beqz    t2, 4f
    li      t3, 'P'
    sb      t3, 0(s0)
4:  addi    t0, t0, 0x80
    addi    t1, t1, -1
    bnez    t1, 3b
    csrr    t0, mie
    csrr    t1, mstatus
    andi    t1, t1, 8
    or      t0, t0, t1
    beqz    t0, 5f
    li      t3, 'I'
    sb      t3, 0(s0)
5:  li      t3, '.'
    sb      t3, 0(s0)
    li      t0, 0x100000
    li      t1, 0x2c3333
    sw      t1, 0(t0)
9:  wfi
    j       9b
"""


def quiet_payload(folder):
    (folder / "q.S").write_text(QUIET)
    words = ["riscv64-unknown-elf-gcc", "-nostdlib", "-march=rv64gc", "-mabi=lp64d", "-DCONTEXTS=4", "-mcmodel=medany"]
    subprocess.run([*words, "-Wl,-Ttext=0x80800000,-N", "-o", folder / "q.elf", folder / "q.S"], check=True)
    return folder / "q.elf"


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])
def test_devices_are_reset_and_interrupts_off_at_the_handover(new_guest, tmp_path, legacy):
    image = disk.whole(tmp_path / "d", {"/q.elf": quiet_payload(tmp_path)})
    guest = new_guest(allow=ALLOW, smp=2, disks=[image], legacy=legacy, extra=["-device", "virtio-rng-device"])
    guest.wait_prompt()
    guest.exec("import loader, virtio\nv = loader.volume()\nr = virtio.open('rng0')\nr.interrupts(True)")
    assert guest.eval("[d.transport.status() for d in virtio.devices()]") == ([7, 7] if legacy else [15, 15])
    guest.begin("loader.linux('/q.elf', volume=v)")
    assert guest.expect(r"[SPI]*\.$")[0] == b"."
    assert guest.exit_code() == 44


def test_payload_of_the_quiet_test_sees_what_is_left_on(new_guest, tmp_path):
    raw = tmp_path / "q.bin"
    subprocess.run(["riscv64-unknown-elf-objcopy", "-O", "binary", quiet_payload(tmp_path), raw], check=True)
    image = disk.whole(tmp_path / "d", {"/q": raw.read_bytes()})
    guest = new_guest(allow=(*ALLOW, "^Invalid read at addr 0x0, "), smp=2, disks=[image])
    guest.wait_prompt()
    guest.exec("import loader, machine, riscv, uctypes\nv = loader.volume()")
    guest.exec("riscv.reserve(0x80800000, 0x80801000, 'q')")
    guest.exec(f"q = uctypes.bytearray_at(0x80800000, {raw.stat().st_size})")
    guest.exec("v.read_into('/q', q)\nriscv.fence_i()")
    guest.begin("riscv.csr_write('mtvec', 0x80800000)\nmachine.mem32[0]")
    assert guest.expect(r"[SPI]*\.$")[0] == b"SPI."
    assert guest.exit_code() == 44
