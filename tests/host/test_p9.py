"""modules/virtio/p9 and modules/fs/{ninep,ninepio,share,sharefile}: a shared folder on a strict server."""

import errno
import random
import struct

import pytest
from fake_device import Violation
from fake_p9 import DIR, LINK, RLERROR, TCLUNK, TGETATTR, TLOPEN, TREAD, TREADDIR, TVERSION, TWALK, TWRITE, FakeP9
from fs.ninep import Client
from virtio.p9 import P9
from virtio_host import TRANSPORTS, attach, fresh


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def rig(transport="mmio", **options):
    """(driver, model, share) with some files."""
    model = FakeP9(legacy=transport == "mmio-legacy", **options)
    model.file("/a.txt", b"hello\nworld\n")
    model.file("/sub/b.bin", bytes(range(256)) * 1000)
    model.link("/ln", "sub")
    model.link("/sub/up", "../a.txt")
    driver, _ = attach(model, P9)
    driver.open()
    return driver, model, driver.vfs()


def no_fids_left(share, model):
    share.umount()
    return model.fids == {} and share._client.fids == 0


def test_the_tag_and_the_session_are_read_from_the_device(transport):
    driver, model, share = rig(transport, tag="kernels")
    assert driver.tag == "kernels"
    assert "'kernels'" in repr(driver) and "kernels" in repr(share)
    assert model.log[:2] == ["version", "attach"]
    assert share._client.msize == 131072 + 24


def test_files_are_read_whole_in_parts_and_by_line(transport):
    _, model, share = rig(transport)
    assert share.read("/a.txt") == b"hello\nworld\n"
    with share.open("/a.txt") as f:
        assert f.readline() == "hello\n" and f.read() == "world\n" and f.read() == ""
    with share.open("/sub/b.bin", "rb") as f:
        assert f.seek(255) == 255 and f.read(3) == b"\xff\x00\x01" and f.tell() == 258
        assert f.seek(-1, 2) == 255_999 and f.read(9) == b"\xff"
    assert no_fids_left(share, model)


def test_a_long_read_keeps_several_requests_under_way_and_goes_straight_into_the_buffer():
    _, model, share = rig(queue=64)
    data = random.Random(1).randbytes(3_000_001)
    model.file("/big", data)
    model.lazy = True
    buf = bytearray(len(data))
    assert share.read_into("/big", buf) == len(data)
    assert buf == data
    assert model.log.count("read") == 23 and model.depth > 4
    assert share.read_into("/big", buf, 2_999_990, 100) == 11


def test_short_answers_of_the_server_are_completed():
    _, model, share = rig()
    model.msize_max = 4096
    share = Share_again(share)
    model.short = 777
    assert share.read("/sub/b.bin") == bytes(range(256)) * 1000
    with share.open("/new", "wb") as f:
        assert f.write(bytes(range(256)) * 100) == 25600
    assert bytes(model.root.data["new"].data) == bytes(range(256)) * 100


def Share_again(share):
    """The share over a new session, with another msize."""
    from fs.share import Share

    return Share(Client(share._client.channel))


def test_modes_of_open(transport):
    _, model, share = rig(transport)
    with share.open("/n", "w") as f:
        assert f.write("gr\u00fc\u00df") == 4
    assert bytes(model.root.data["n"].data) == "grüß".encode()
    with share.open("/n", "a+") as f:
        assert f.write("!\n") == 2
        assert f.seek(0) == 0 and f.read() == "grüß!\n"
    with share.open("/n", "r+b") as f:
        f.seek(2)
        f.write(b"XX")
        assert f.read() == b"\xc3\x9f!\n"
    with share.open("/n", "w+b") as f:
        assert f.read() == b""
    with pytest.raises(OSError) as error:
        share.open("/n", "x")
    assert error.value.errno == errno.EEXIST
    share.open("/x", "xb").close()
    with pytest.raises(OSError) as error:
        share.open("/nix")
    assert error.value.errno == errno.ENOENT and "/nix" in str(error.value)
    with pytest.raises(OSError) as error:
        share.open("/sub", "r")
    assert error.value.errno == errno.EISDIR
    for mode in ("", "rw", "q", "b"):
        with pytest.raises(ValueError, match="mode"):
            share.open("/n", mode)
    with share.open("/a.txt") as f, pytest.raises(OSError, match="not open for writing"):
        f.write("x")
    with share.open("/a.txt", "a") as f, pytest.raises(OSError, match="not open for reading"):
        f.read()
    with share.open("/a.txt", "wb") as f, pytest.raises(TypeError):
        f.write("text")
    assert no_fids_left(share, model)


def test_small_writes_are_collected_and_none_is_lost():
    _, model, share = rig()
    expected = b""
    source = random.Random(3)
    with share.open("/log", "w+b") as f:
        for _ in range(300):
            piece = source.randbytes(source.randrange(1, 300))
            f.write(piece)
            expected += piece
        f.write(bytes(9000))
        f.write(b"end")
    assert bytes(model.root.data["log"].data) == expected + bytes(9000) + b"end"
    assert model.log.count("write") < 12


def test_an_appended_file_takes_what_others_wrote_and_truncate_works():
    _, model, share = rig()
    with share.open("/a.txt", "a+") as f:
        f.write("more\n")
        f.flush()
        f.seek(0)
        f.write("at the end\n")
    assert bytes(model.root.data["a.txt"].data) == b"hello\nworld\nmore\nat the end\n"
    with share.open("/a.txt", "r+") as f:
        assert f.truncate(5) == 5 and f.read() == "hello"
    share.truncate("/a.txt", 2)
    assert share.read("/a.txt") == b"he"


def test_a_file_that_grows_meanwhile_is_read_on():
    _, model, share = rig()
    with share.open("/a.txt") as f:
        assert f.read() == "hello\nworld\n"
        model.root.data["a.txt"].data.extend(b"news\n")
        assert f.readline() == "news\n"
        del model.root.data["a.txt"].data[3:]
        assert f.read() == ""


def test_directories(transport):
    _, model, share = rig(transport)
    assert sorted(share.listdir("/")) == ["a.txt", "ln", "sub"]
    kinds = {name: kind for name, kind, _ in share.ilistdir("/")}
    assert kinds == {"a.txt": 0x8000, "ln": 0xA000, "sub": 0x4000}
    share.mkdir("/new")
    share.mkdir("/new/deep")
    share.rename("/a.txt", "/new/deep/c.txt")
    assert share.listdir("new/deep") == ["c.txt"]
    with pytest.raises(OSError) as error:
        share.rmdir("/new")
    assert error.value.errno == 39 and "directory not empty" in str(error.value)
    share.remove("/new/deep/c.txt")
    share.rmdir("/new/deep")
    share.rmdir("/new")
    with pytest.raises(OSError):
        share.remove("/sub")
    with pytest.raises(OSError) as error:
        share.ilistdir("/sub/b.bin")
    assert error.value.errno == 20
    share.chdir("sub")
    assert share.getcwd() == "/sub" and share.size("b.bin") == 256_000 and share.size("../sub/./b.bin") == 256_000
    assert list(share.ilistdir(b""))[0][0] == b"b.bin"
    with pytest.raises(OSError):
        share.chdir("b.bin")
    assert no_fids_left(share, model)


def test_many_entries_and_long_and_unicode_names():
    _, model, share = rig()
    names = ["%04d-%s" % (i, "n\u00e4me\U0001f600" * (i % 20)) for i in range(3000)]
    for name in names:
        model.file("/many/" + name)
    assert share.listdir("/many") == names
    long = "l" * 255
    with share.open("/" + long, "w") as f:
        f.write("x")
    assert share.size(long) == 1
    with pytest.raises(OSError) as error:
        share.open("/" + "l" * 256, "w")
    assert error.value.errno == 36
    deep = "/".join("d%d" % i for i in range(40))
    model.file("/" + deep + "/f", b"deep")
    assert share.read(deep + "/f") == b"deep"
    for missing in (deep + "/g", deep.replace("d35", "x")):
        with pytest.raises(OSError) as error:
            share.read(missing)
        assert error.value.errno == errno.ENOENT
    assert no_fids_left(share, model)


@pytest.mark.parametrize("partial", [True, False])
def test_symbolic_links_are_followed_within_the_share(partial):
    _, model, share = rig()
    model.partial = partial
    assert share.size("/ln/b.bin") == 256_000
    assert share.read("/ln/up") == b"hello\nworld\n"
    assert share.readlink("/ln") == "sub"
    assert share.lstat("/ln")[0] & 0xF000 == 0xA000 and share.stat("/ln")[0] & 0xF000 == 0x4000
    share.symlink("/sub/b.bin", "/sub/abs")
    assert share.size("/ln/abs") == 256_000
    share.symlink("loop", "/loop")
    for path in ("/loop", "/loop/x"):
        with pytest.raises(OSError) as error:
            share.stat(path)
        assert error.value.errno == 40
    share.symlink("nowhere", "/dangling")
    with pytest.raises(OSError) as error:
        share.stat("/dangling")
    assert error.value.errno == errno.ENOENT
    share.link("/a.txt", "/sub/hard")
    assert share.stat("/sub/hard")[3] == 2
    assert no_fids_left(share, model)


def test_stat_chmod_utime_statvfs():
    _, model, share = rig()
    share.chmod("/a.txt", 0o600)
    share.utime("/a.txt", 1000, 2000)
    found = share.stat("/a.txt")
    assert (found[0], found[3], found[6], found[7], found[8]) == (0o100600, 1, 12, 1000, 2000)
    assert share.statvfs("/")[:5] == (4096, 4096, 1000, 400, 300) and share.statvfs("/")[9] == 255


def test_a_share_mounted_read_only_changes_nothing():
    _, model, share = rig()
    share.mount(True, False)
    for action in (
        lambda: share.open("/n", "w"),
        lambda: share.mkdir("/n"),
        lambda: share.remove("/a.txt"),
        lambda: share.rename("/a.txt", "/b"),
        lambda: share.chmod("/a.txt", 0),
    ):
        with pytest.raises(OSError) as error:
            action()
        assert error.value.errno == 30
    assert share.read("/a.txt")


def test_umount_closes_files_and_mount_attaches_again():
    _, model, share = rig()
    share.open("/a.txt")
    assert no_fids_left(share, model)
    with pytest.raises(OSError, match="unmounted"):
        share.stat("/a.txt")
    share.mount(False, False)
    assert share.read("/a.txt")


def test_umount_after_the_device_was_closed():
    device, model, share = rig()
    share.open("/a.txt")
    device.close()
    share.umount()
    device.open()
    assert device.vfs().read("/a.txt")


def test_a_name_with_a_zero_byte_never_reaches_the_server():
    _, model, share = rig()
    with pytest.raises(OSError) as error:
        share.open("/a.txt\0x")
    assert error.value.errno == errno.EINVAL


def test_names_that_no_message_can_hold():
    _, model, share = rig()
    for path in ("/" + "x" * 70_000, "/".join(["y" * 20_000] * 10)):
        with pytest.raises(OSError) as error:
            share.stat(path)
        assert error.value.errno == 36
    assert share.read("/a.txt") and no_fids_left(share, model)


def test_a_permission_error_is_the_callers():
    _, model, share = rig()
    model.file("/secret", b"x", 0)
    with pytest.raises(OSError) as error:
        share.open("/secret")
    assert error.value.errno == errno.EACCES and "permission denied" in str(error.value)
    assert no_fids_left(share, model)


# Time and interruption


def test_a_request_without_answer_is_taken_back_and_the_session_goes_on():
    driver, model, share = rig()
    client = share._client
    client.timeout_ms = 30
    model.stuck = {TREAD}
    with pytest.raises(OSError) as error:
        share.read("/sub/b.bin")
    assert error.value.errno == errno.ETIMEDOUT
    assert "flush" in model.log
    model.stuck = set()
    client.timeout_ms = 5000
    assert share.read("/a.txt") == b"hello\nworld\n"
    assert driver.queues[0].in_flight == 0
    assert no_fids_left(share, model)
    assert len(client._tags) == client._next_tag, "a tag was lost"


@pytest.mark.parametrize("kind", [TWALK, TGETATTR, TLOPEN, TCLUNK])
def test_fids_are_found_again_after_an_interruption(kind):
    _, model, share = rig()
    share._client.timeout_ms = 30
    model.stuck = {kind}
    with pytest.raises(OSError, match="no answer"):
        share.read("/a.txt")
    model.stuck = set()
    share._client.timeout_ms = 5000
    share.read("/a.txt")
    assert no_fids_left(share, model)


def test_ctrl_c_in_a_long_read_flushes_what_is_under_way():
    driver, model, share = rig(queue=64)
    model.file("/big", bytes(3_000_000))
    channel = share._client.channel
    real = channel.receive
    calls = []

    def receive(handle, timeout_ms):
        if len(model.queues[0].held) > 3 and not calls:
            calls.append(1)
            channel.drop(handle)
            raise KeyboardInterrupt
        return real(handle, timeout_ms)

    model.stuck = {TREAD}
    channel.receive = receive
    with pytest.raises(KeyboardInterrupt):
        share.read("/big")
    channel.receive = real
    model.stuck = set()
    assert share.read("/a.txt")
    assert model.log.count("flush") > 3
    assert driver.queues[0].in_flight == 0
    assert no_fids_left(share, model)


def test_a_dead_device_ends_in_a_timeout_and_the_tag_stays_out():
    _, model, share = rig()
    share._client.timeout_ms = 20
    from fs import ninep

    before, ninep._FLUSH_MS = ninep._FLUSH_MS, 20
    model.dead = True
    try:
        with pytest.raises(OSError) as error:
            share.stat("/a.txt")
    finally:
        ninep._FLUSH_MS = before
    assert error.value.errno == errno.ETIMEDOUT


def test_a_share_of_a_device_that_was_closed_says_so():
    driver, model, share = rig()
    driver.close()
    with pytest.raises(OSError, match="closed"):
        share.stat("/a.txt")
    driver.open()
    with pytest.raises(OSError, match="closed"):
        share.stat("/a.txt")
    assert driver.vfs().read("/a.txt")


# Hostile servers


def lied_to(twist, action, **options):
    driver, model, share = rig(**options)
    model.twist = twist
    with pytest.raises(OSError) as error:
        action(share)
    model.twist = None
    with pytest.raises(OSError):  # the session is over
        share.stat("/a.txt")
    assert driver.vfs().read("/a.txt"), "and a new one works"
    return error.value


def only(kind, change):
    return lambda got, answer: change(answer) if got == kind else answer


LIES = {
    "a tag of somebody else": (TGETATTR, lambda a: a[:5] + b"\x99\x00" + a[7:], "tag 153"),
    "another type": (TGETATTR, lambda a: a[:4] + b"\x77" + a[5:], "type 119"),
    "a size beyond the answer": (TGETATTR, lambda a: struct.pack("<I", 5000) + a[4:], "that say 5000"),
    "a size below the header": (TGETATTR, lambda a: struct.pack("<I", 3) + a[4:], "that say 3"),
    "a cut answer": (TGETATTR, lambda a: struct.pack("<I", 50) + a[4:50], "only 43 bytes"),
    "no answer at all": (TGETATTR, lambda a: a[:4], "4 bytes"),
    "an error number of zero": (TGETATTR, lambda a: struct.pack("<IBHI", 11, RLERROR, a[5], 0), "number 0"),
    "an error that is too short": (TGETATTR, lambda a: struct.pack("<IBH", 7, RLERROR, a[5]), "error"),
    "a walk of more steps": (TWALK, lambda a: a[:7] + b"\x09\x00" + a[9:], "9 steps"),
    "an open without qid": (TLOPEN, lambda a: struct.pack("<I", 9) + a[4:9], "only 2 bytes"),
    "more bytes than asked for": (TREAD, lambda a: a[:7] + struct.pack("<I", 1 << 30) + a[11:], "asked for"),
    "a count that is not the size": (TREAD, lambda a: a[:7] + struct.pack("<I", 3) + a[11:], "asked for"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_answers_with(lie):
    kind, change, why = LIES[lie]
    error = lied_to(only(kind, change), lambda share: share.read("/a.txt"))
    assert error.errno == errno.EIO and why in str(error), str(error)


def test_a_server_that_takes_more_than_was_written():
    twist = only(TWRITE, lambda a: a[:7] + struct.pack("<I", 99))

    def action(share):
        with share.open("/n", "wb") as f:
            f.write(b"12345")

    assert "asked for" in str(lied_to(twist, action))


def directory(change):
    """A twist of directory listings that have entries in them."""
    return lambda kind, a: change(a) if kind == TREADDIR and len(a) > 11 else a


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda a: a[:-1] + b"", "that say"),
        (lambda a: a[:33] + b"\xff\xff" + a[35:], "past the end"),
        (lambda a: a[:33] + b"\x00\x00" + a[35:], "past the end"),
        (lambda a: struct.pack("<I", 36) + a[4:7] + struct.pack("<I", 25) + bytes(22) + b"\x01\x00.", "lead nowhere"),
        (lambda a: a[:7] + b"\x01\0\0\0" + a[11:], "entries in"),
    ],
)
def test_a_directory_listing_that_is_damaged(change, why):
    assert why in str(lied_to(directory(change), lambda share: share.listdir("/")))


def test_versions_and_sizes_of_messages_that_will_not_do():
    driver, model, share = rig()
    for twist, why in (
        (lambda a: a.replace(b"9P2000.L", b"9P2000.u"), "9P2000.u"),
        (lambda a: a[:7] + struct.pack("<I", 100) + a[11:], "messages of 100"),
        (lambda a: a[:7] + struct.pack("<I", 1 << 30) + a[11:], "messages of"),
        (lambda a: struct.pack("<I", 9) + a[4:9], "only 2 bytes"),
    ):
        model.twist = only(TVERSION, twist)
        with pytest.raises(OSError, match=why):
            Client(share._client.channel)


def test_random_damage_never_leads_to_anything_but_an_oserror():
    source = random.Random(11)
    for _ in range(150):
        fresh()
        _, model, share = rig()

        def twist(kind, answer):
            answer = bytearray(answer)
            if source.random() < 0.2:
                at = source.randrange(len(answer))
                answer[at] ^= 1 << source.randrange(8)
            if source.random() < 0.05:
                del answer[source.randrange(len(answer)) :]
            return bytes(answer)

        model.twist = twist
        try:
            share.listdir("/")
            share.read("/ln/up")
            with share.open("/n", "w") as f:
                f.write("abc" * 5000)
        except (OSError, UnicodeError, Violation):
            pass


def test_the_model_is_strict():
    _, model, share = rig()
    client = share._client
    with pytest.raises(Violation, match="fid 99"):
        client.getattr(99)
    assert DIR and LINK
