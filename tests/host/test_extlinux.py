"""modules/loader/extlinux: files as Debian, U-Boot and syslinux write them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shim import install  # noqa: E402

install()

from loader.extlinux import parse  # noqa: E402

DEBIAN = """## /boot/extlinux/extlinux.conf
##
## IMPORTANT WARNING

default l0
menu title U-Boot menu
prompt 1
timeout 50


label l0
\tmenu label Debian GNU/Linux trixie 6.12.107-riscv64
\tlinux /boot/vmlinux-6.12.107-riscv64
\tinitrd /boot/initrd.img-6.12.107-riscv64
\tfdtdir /usr/lib/linux-image-6.12.107-riscv64/

\tappend root=/dev/vda1 ro quiet

label l0r
\tmenu label Debian GNU/Linux trixie (rescue target)
\tlinux /boot/vmlinux-6.12.107-riscv64
\tinitrd /boot/initrd.img-6.12.107-riscv64
\tfdt ../virt.dtb
\tappend root=/dev/vda1 ro single
"""


def test_file_as_debian_writes_it():
    config = parse(DEBIAN)
    assert (config.default, config.timeout, config.prompt, config.title) == ("l0", 50, 1, "U-Boot menu")
    assert [label.name for label in config.labels] == ["l0", "l0r"]
    label = config.label()
    assert label.kernel == "/boot/vmlinux-6.12.107-riscv64"
    assert label.initrd == ["/boot/initrd.img-6.12.107-riscv64"]
    assert label.append == "root=/dev/vda1 ro quiet"
    assert label.fdtdir == "/usr/lib/linux-image-6.12.107-riscv64/"
    assert config.label("l0r").fdt == "../virt.dtb"
    assert label.text == "Debian GNU/Linux trixie 6.12.107-riscv64"


def test_words_are_recognised_in_any_case_and_spacing():
    config = parse(
        "DEFAULT  a\r\nLABEL a\r\n   KERNEL\t/k   \r\n"
        "Label b\nLinux /l\nINITRD /a,/b\nDeviceTree /d\nDEVICETREEDIR /e\n"
    )
    assert config.label().kernel == "/k"
    label = config.label("b")
    assert (label.kernel, label.initrd, label.fdt, label.fdtdir) == ("/l", ["/a", "/b"], "/d", "/e")


def test_append_before_the_first_label_holds_for_labels_without_one():
    config = parse("append a=1\nlabel x\nkernel /k\nlabel y\nkernel /k\nappend b=2\nlabel z\nkernel /k\nappend -\n")
    assert [label.append for label in config.labels] == ["a=1", "b=2", ""]


def test_initrd_inside_append_is_syslinux_way():
    assert parse("label x\nkernel /k\nappend quiet initrd=/i\n").label().initrd == ["/i"]


def test_menu_default_and_hot_key_marks():
    config = parse("label x\nkernel /k\nlabel y\nmenu label The ^second\nmenu default\nkernel /l\n")
    assert config.label().name == "y"
    assert config.label().text == "The second"


def test_help_text_and_unknown_words_are_passed_over():
    config = parse("ui menu.c32\nlabel x\ntext help\nkernel /wrong\nendtext\nkernel /k\nfrobnicate 3\nsay hello\n")
    assert config.label().kernel == "/k"


def test_label_is_found_by_name_text_or_number():
    config = parse("label x\nmenu label The X\nkernel /k\nlabel y\nkernel /l\n")
    assert config.label("The X").name == "x"
    assert config.label("2").name == "y"


def test_missing_label_is_an_error_that_lists_the_labels():
    with pytest.raises(OSError, match="f: no label z, only: x"):
        parse("default z\nlabel x\nkernel /k\n", "f").label()
    with pytest.raises(OSError, match="none at all"):
        parse("default z\n").label()


def test_bad_number_names_file_and_line():
    with pytest.raises(ValueError, match="f line 2: timeout soon: not a number"):
        parse("default x\ntimeout soon\n", "f")


def test_words_that_cannot_be_ignored_are_kept_for_the_error():
    assert parse("label x\nlocalboot 1\n").label().refused == "localboot"
    assert parse("label x\nkernel /k\nfdtoverlays /o\n").label().refused == "fdtoverlays"


def test_include_is_read_and_a_circle_is_refused():
    files = {"a": "include b\n", "b": "label x\nkernel /k\n"}
    assert parse("menu include a\n", "top", files.__getitem__).label().kernel == "/k"
    with pytest.raises(ValueError, match="more than 8 deep"):
        parse("include me\n", "me", lambda path: "include me\n")
    with pytest.raises(ValueError, match="line 1: include"):
        parse("include x\n")


@pytest.mark.parametrize(
    "text", ["", "\n\n", "menu", "label", "label \n", "append", "kernel /k", "text", "\0\0", "include"]
)
def test_odd_files_never_break_the_parser(text):
    try:
        parse(text, read=lambda path: "")
    except ValueError:
        pass
