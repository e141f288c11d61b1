"""Native modules in C for rv64imc, linked by upstream's mpy_ld and imported from disks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import disk
import pytest
from session import RemoteError, build_folder

MICROPYTHON = build_folder() / "micropython"
OWN = Path(__file__).with_name("natmod")
# modules that the firmware has too get another name
UPSTREAM = ["features0", "features1", "features2", "features3", "features4"]
RENAMED = ["deflate", "framebuf", "heapq", "random", "re"]
MOUNT = "import sys, vfs, virtio, fs\nd = virtio.open('blk0')\nvfs.mount(fs.volume(fs.part.find(d, number=1)), '/d')\nsys.path.append('/d')"


def make(folder, *words):
    """Run a module's makefile in its folder; return the CompletedProcess."""
    gcc = ["riscv64-unknown-elf-gcc", "-march=rv64imac", "-mabi=lp64", "--print-libgcc-file-name"]
    libgcc = subprocess.run(gcc, capture_output=True, text=True, check=True).stdout.strip()
    settings = {
        "MPY_DIR": MICROPYTHON,
        "MPY_CROSS": build_folder() / "mpy-cross" / "mpy-cross",
        "PYTHON": sys.executable,
        "ARCH": "rv64imc",
        "BUILD": "build",
        "CFLAGS_EXTRA": f"-isystem {build_folder() / 'supply' / 'picolibc' / 'include'}",
        "LINK_RUNTIME": "0",  # there is no C library for lp64 here, and libgcc is enough
    }
    command = ["make", "-s", "-C", folder, *(f"{name}={value}" for name, value in settings.items()), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment["MPY_LD_FLAGS"] = f"-l{libgcc}"  # not among the settings, for the makefiles add to it
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def build(source, folder, *words):
    """Build a module from a copy of its source folder; return the .mpy."""
    target = shutil.copytree(source, folder / source.name)
    if source.name == "features2":
        shutil.copy(OWN / "roundf.c", target)
        words = (*words, "SRC=main.c prod.c roundf.c test.py")
    run = make(target, *words)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(target.glob("*.mpy"))


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """{file name: content} of the modules."""
    folder = tmp_path_factory.mktemp("natmod")
    sources = [MICROPYTHON / "examples" / "natmod" / name for name in UPSTREAM + RENAMED] + [OWN]
    built = [build(source, folder) for source in sources]
    built.append(build(OWN, folder / "zba", "MOD=flags", "ARCH_FLAGS=zba,zbb"))
    return {f"/{path.name}": path.read_bytes() for path in built}


@pytest.fixture(scope="module", params=["fat32", "ext4"])
def machine(request, modules, tmp_path_factory):
    image = tmp_path_factory.mktemp("disk") / "disk.img"
    # little memory, for a test of upstream's fills it
    return {"disks": [disk.whole(image, modules, kind=request.param)], "mem": "64M"}


@pytest.fixture
def mounted(guest):
    guest.exec(MOUNT)
    return guest


@pytest.mark.parametrize(
    "module, expression, value",
    [
        ("features0", "m.factorial(15)", 1307674368000),
        ("features1", "(m.add(40, 2), m.fibonacci(30), m.MSG)", (42, 832040, "HELLO_MICROPYTHON")),
        ("features1", "(m.access(3, 9), m.access(), list(m.make_array()))", (None, [0, 0, 0, 9], [0, 16, 0, 32])),
        ("features2", "(m.add(1, 2.25), m.add_f(1.5, 2), m.round(-2.6), m.isclose(1, 1))", (3.25, 3.5, -3.0, True)),
        ("features3", "(m.make_dict('a', 1), m.get_const_objects())", ({"a": 1}, (None, False, True, b"", ()))),
        ("features4", "m.Factorial(5).calculate()", 120),
    ],
)
def test_upstream_example(mounted, module, expression, value):
    mounted.exec(f"import {module} as m")
    assert mounted.eval(expression) == value


# These print SKIP, for these reasons.
SKIPPED = {
    "random_seed_default.py": "the example takes no seed from the port",
    "re_debug.py": "the example is built without re.DEBUG",
    "re_sub.py": "the example is built without re.sub",
    "re_sub_unmatched.py": "the example is built without re.sub",
}
TESTS = [(name, test) for name in RENAMED for test in sorted((MICROPYTHON / "tests" / "extmod").glob(f"{name}*.py"))]


@pytest.mark.parametrize("name, test", [pytest.param(*both, id=both[1].stem) for both in TESTS])
def test_upstream_tests_of_a_module_pass_with_the_native_one(mounted, name, test):
    mounted.exec(f"sys.modules['{name}'] = __import__('{name}_rv64imc')")
    code = test.read_text().replace("raise SystemExit", "raise KeyboardInterrupt")
    try:
        got = mounted.exec(code, timeout=60)
    except RemoteError as error:
        assert error.stdout == "SKIP\n", error
        assert test.name in SKIPPED, "skipped by itself, for no known reason"
        pytest.skip(SKIPPED[test.name])
    assert got.rstrip() == expected(test).rstrip()


def expected(test):
    """What upstream wants: the .exp beside the test, or what CPython prints."""
    answer = test.with_name(test.name + ".exp")
    if answer.exists():
        return answer.read_text()
    return subprocess.run([sys.executable, "-BS", test.name], cwd=test.parent, capture_output=True, text=True).stdout


def test_every_kind_of_data_in_a_module_of_several_files(mounted):
    mounted.exec("import own")
    assert mounted.eval("[own.add(1 << 40), own.add(-3), own.add(1 << 61)]") == [
        1 << 40,
        (1 << 40) - 3,
        (1 << 61) + (1 << 40) - 3,
    ]
    assert mounted.eval("[own.weigh(3.0, 0), own.weigh(8.0, 1), own.weigh(2.0, 2)]") == [1.5, -8.5, 2e300]
    assert mounted.eval("own.single(1.0)") == 0.3333333432674408
    assert mounted.eval("own.look(0)") == ("zer", 0x2468ACF13579BDE0, 7, 3, -3)
    assert mounted.eval("own.look(1)") == ("one", 1, 77, 3, -3)
    assert mounted.eval("[own.choose(i) for i in range(-1, 8)]") == [0, 7, 77, -3, 1000, 41, 5, 123456, 0]


def test_module_keeps_its_flags_and_its_python_part(mounted, modules):
    assert modules["/flags.mpy"][2] & 0x40 and modules["/flags.mpy"][4] == 3
    mounted.exec("import flags")
    assert mounted.eval("flags.choose(4)") == 41


@pytest.mark.parametrize(
    "line, message",
    [
        ("static int hidden; int *get(void) { hidden += 1; return &hidden; }", "bss variables can't be static"),
        ("extern int nowhere(void); int get(void) { return nowhere(); }", "undefined symbol: nowhere"),
        ("int filled = 5; int get(void) { return filled; }", ".data non-empty"),
    ],
)
def test_what_cannot_be_linked_is_named(tmp_path, line, message):
    source = shutil.copytree(OWN, tmp_path / "own")
    with open(source / "data.c", "a") as file:
        file.write(line + "\n")
    run = make(source)
    assert run.returncode != 0
    assert message in run.stdout + run.stderr


def test_code_with_absolute_addresses_is_not_linked(tmp_path):
    source = shutil.copytree(OWN, tmp_path / "own")
    run = make(source, "CFLAGS_ARCH=-march=rv64imac -mabi=lp64 -mno-relax -fno-pic -fno-common -msmall-data-limit=0")
    assert run.returncode != 0
    assert "not position-independent" in run.stdout + run.stderr
