"""Set-up: the lock file, where files are looked for, what a user is told, and what is kept out of the repo."""

import re
import subprocess
from pathlib import Path

import fetch
import pytest
import unpack

ROOT = Path(__file__).resolve().parents[2]
PINS = fetch.read_lock(fetch.LOCK.read_text())


def tracked_files():
    out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in out.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(fetch, "apt_bases", list)


@pytest.fixture
def no_build_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "ROOT", tmp_path / "elsewhere")


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: f"{pin.part}-{pin.version}")
def test_lock_line_is_well_formed(pin):
    if pin.rolling:
        re.compile(pin.path)
        assert (pin.size, pin.sha256) == ("-", "-")
        assert pin.part in ("kernel", "busybox", "linux")
    else:
        assert pin.path.startswith("pool/main/")
        assert int(pin.size) > 0
        assert re.fullmatch("[0-9a-f]{64}", pin.sha256)
        assert pin.version in pin.path or pin.part == "kernel"


def test_lock_has_a_second_choice_for_what_mirrors_drop():
    for part in ("micropython", "kernel", "busybox"):
        assert len([pin for pin in PINS if pin.part == part]) >= 2


def make_pin(folder, content=b"content"):
    file = folder / "thing_1.tar"
    file.write_bytes(content)
    return fetch.Pin("thing", "1", "pool/main/t/thing/thing_1.tar", str(len(content)), fetch.sha256(file)), file


def test_supply_dir_comes_first(tmp_path, monkeypatch, no_network, no_build_folder):
    supply, cache = tmp_path / "supply", tmp_path / "cache"
    supply.mkdir()
    cache.mkdir()
    make_pin(cache)
    pin, file = make_pin(supply)
    monkeypatch.setenv("SUPPLY_DIR", str(supply))
    assert fetch.fetch("thing", cache, [pin]) == (pin, file)


def test_file_with_a_wrong_checksum_is_not_taken(tmp_path, monkeypatch, no_network, no_build_folder):
    pin, file = make_pin(tmp_path)
    file.write_bytes(b"CONTENT")
    monkeypatch.setenv("SUPPLY_DIR", str(tmp_path))
    with pytest.raises(fetch.FetchError):
        fetch.fetch("thing", tmp_path / "cache", [pin])


def test_error_lists_names_and_checksums_to_supply(tmp_path, monkeypatch, no_network, no_build_folder):
    monkeypatch.setenv("SUPPLY_DIR", str(tmp_path))
    with pytest.raises(fetch.FetchError) as error:
        fetch.fetch("micropython", tmp_path / "cache")
    for pin in PINS:
        if pin.part == "micropython":
            assert f"{pin.sha256}  {pin.name}" in str(error.value)
    assert "SUPPLY_DIR" in str(error.value)


def test_next_lock_line_is_taken_when_a_version_is_gone(tmp_path, monkeypatch, no_build_folder):
    monkeypatch.delenv("SUPPLY_DIR", raising=False)
    gone, _ = make_pin(tmp_path)
    gone = gone._replace(version="2", path="pool/main/t/thing/thing_2.tar")
    pin, file = make_pin(tmp_path)
    monkeypatch.setattr(fetch, "download", lambda wanted, cache: file if wanted.version == "1" else None)
    assert fetch.fetch("thing", tmp_path / "cache", [gone, pin]) == (pin, file)


def test_one_version_can_be_asked_for(tmp_path, monkeypatch, no_build_folder):
    monkeypatch.setattr(fetch, "download", lambda pin, cache: cache / pin.name)
    assert fetch.fetch("micropython=1.25.0", tmp_path)[0].version == "1.25.0"
    with pytest.raises(fetch.FetchError, match="names no micropython=0.1"):
        fetch.fetch("micropython=0.1", tmp_path)


def test_mirrors_are_found_in_what_apt_prints():
    text = """
'http://one/debian/dists/bookworm/InRelease' one_InRelease 0
'http://one/debian/dists/bookworm-updates/InRelease' one_InRelease 0
'mirror+file:/list/dists/bookworm/InRelease' list_InRelease 0
'http://one/debian/dists/bookworm/main/binary-all/Packages.xz' one_Packages 0
"""
    read = {"/list": "# comment\nhttps://two/debian/\tpriority:1\n\nhttp://one/debian\n"}.__getitem__
    assert fetch.bases_from_uris(text, read) == ["http://one/debian", "https://two/debian"]


def test_sync_keeps_the_times_of_equal_files_and_removes_others(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new / "a", old / "a", old / "gone"):
        folder.mkdir(parents=True)
    for name in ("a/same", "a/changed"):
        (new / name).write_text("1")
        (old / name).write_text("1" if name == "a/same" else "2")
    (new / "link").symlink_to("a/same")
    (old / "gone" / "file").write_text("")
    before = (old / "a" / "same").stat().st_mtime_ns
    unpack.sync(new, old)
    assert (old / "a" / "same").stat().st_mtime_ns == before
    assert (old / "a" / "changed").read_text() == "1"
    assert (old / "link").read_text() == "1"
    assert not (old / "gone").exists()


def series(folder, version):
    return [patch.name for patch in unpack.series(version, folder)]


def test_patch_variant_is_taken_from_its_version_on(tmp_path):
    for name in ("0002-b", "0001-a", "0001-a.from-1.28", "0001-a.from-1.30", "0003-c.from-1.28"):
        (tmp_path / f"{name}.patch").write_text("")
    assert series(tmp_path, (1, 26)) == ["0001-a.patch", "0002-b.patch"]
    assert series(tmp_path, (1, 28)) == ["0001-a.from-1.28.patch", "0002-b.patch", "0003-c.from-1.28.patch"]
    assert series(tmp_path, (1, 29)) == series(tmp_path, (1, 28))
    assert series(tmp_path, (2, 0)) == ["0001-a.from-1.30.patch", "0002-b.patch", "0003-c.from-1.28.patch"]


def test_no_patch_is_without_a_reason_and_the_state_of_upstream():
    for patch in (ROOT / "firmware" / "patches").glob("*.patch"):
        header = patch.read_text().split("\ndiff --git")[0]
        assert re.search(r"\A.+\n\n.+", header), patch.name
        assert re.search(r"^Upstream: ", header, re.M), patch.name


def test_make_alone_lists_every_target():
    text = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.M)
    assert len(targets) > 10
    for target in targets:
        assert re.search(rf"^  {target} +\S", text, re.M), target


def test_tracked_files_hold_no_absolute_path_of_a_machine_and_no_mirror():
    places = rb"(?<![\w.*])/(?:home|root|work|tmp|opt|mnt|srv)/\w"
    mirrors = rb"\w\.(?:debian|pypi|pythonhosted)\.(?:org|net)\b"
    pattern = re.compile(places + b"|" + mirrors)
    assert [str(path.relative_to(ROOT)) for path in tracked_files() if pattern.search(path.read_bytes())] == []


def test_nothing_built_or_downloaded_is_tracked():
    assert [path for path in tracked_files() if path.stat().st_size > 300_000] == []


def test_requirements_are_exact():
    lines = (ROOT / "tools" / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if line and not line.startswith("#"))
