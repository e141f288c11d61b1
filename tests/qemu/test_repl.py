"""The REPL over the UART: friendly, paste mode, raw, raw-paste, Ctrl-C and Ctrl-D."""

import zlib

import pytest
from session import RemoteError

# Each prints "go" and then never ends by itself.
ENDLESS = {
    "bytecode": "print('go')\nwhile True: pass",
    "range": "print('go')\nfor _ in range(1 << 60): pass",
    "native": "@micropython.native\ndef f():\n while True: g()\ndef g():\n for _ in 'ab': pass\nprint('go')\nf()",
    "sleep": "import time\nprint('go')\ntime.sleep(1000)",
    "sleep_ms": "import time\nprint('go')\nwhile True: time.sleep_ms(1)",
    "print": "print('go')\nwhile True: print('x' * 60)",
    "input": "print('go')\ninput()",
    "stdin": "import sys\nprint('go')\nsys.stdin.read(1)",
    "select": "import select, sys\np = select.poll()\np.register(sys.stdin)\nprint('go')\nwhile True: p.poll()",
    "poll": "import select\nprint('go')\nselect.poll().poll(1 << 30)",
    "asyncio": "import asyncio\nasync def f():\n print('go')\n await asyncio.sleep(1000)\nasyncio.run(f())",
    "stream": "import asyncio, sys\nasync def f():\n print('go')\n await asyncio.StreamReader(sys.stdin).readline()\n"
    "asyncio.run(f())",
    "generator": "def g():\n while True: yield 1\nprint('go')\nsum(g())",
    "allocation": "print('go')\nwhile True: bytearray(100)",
    "finally": "print('go')\ntry:\n while True: pass\nfinally: print('end')",
    "idle": "import machine\nprint('go')\nwhile True: machine.idle()",
}


def test_first_prompt_comes_with_a_banner_that_names_the_machine(new_guest):
    banner = new_guest().wait_prompt()
    assert "MicroPython" in banner
    assert "virt" in banner.lower()


def test_repl_prints_the_value_of_an_expression(guest):
    guest.leave_raw()
    guest.write("6 * 7\r")
    assert guest.wait_prompt() == "6 * 7\r\n42\r\n"


def test_repl_continues_an_open_block(guest):
    guest.leave_raw()
    guest.write("for i in range(2):\rprint(i)\r\b\r")
    guest.expect_text("\r\n0\r\n1\r\n>>> ")


def test_repl_recalls_the_last_line_by_arrow_key(guest):
    guest.leave_raw()
    guest.write("'a' + 'b'\r")
    guest.wait_prompt()
    guest.write("\x1b[A\r")
    assert guest.wait_prompt().endswith("'ab'\r\n")


def test_repl_edits_a_line_with_cursor_keys(guest):
    guest.leave_raw()
    guest.write("12\x1b[D9\x01\x1b[3~\x05+1\r")
    assert guest.wait_prompt().endswith("\r\n93\r\n")


def test_tab_completes_a_unique_name(guest):
    guest.exec("word = 'x'")
    guest.leave_raw()
    guest.write("word.isalp\t")
    guest.expect_text("isalpha")
    guest.write("()\r")
    assert guest.wait_prompt().endswith("True\r\n")


def test_tab_lists_several_candidates(guest):
    guest.exec("word = 'x'")
    guest.leave_raw()
    guest.write("word.is\t")
    listing = guest.expect(r"\r\n(.*)>>> ")[1].decode()
    assert {"isalpha", "isdigit", "isspace"} <= set(listing.split())
    guest.ctrl_c()
    guest.wait_prompt()


def test_tab_completes_module_names_after_import(guest):
    guest.leave_raw()
    guest.write("import machi\t\r")
    guest.expect_text("machine")
    guest.wait_prompt()


@pytest.mark.parametrize("name", ENDLESS)
def test_ctrl_c_stops(guest, name):
    guest.begin(ENDLESS[name])
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    stdout, stderr = guest.end()
    assert stderr.strip().splitlines()[-1].startswith("KeyboardInterrupt")
    assert "Traceback" in stderr
    assert name != "finally" or stdout.endswith("end\n")
    assert guest.eval("1 + 1") == 2


def test_asyncio_streams_on_the_console(guest):
    guest.begin(
        "import asyncio, sys\n"
        "async def tick(n):\n while True:\n  n[0] += 1\n  if n[0] == 9: print('ticks')\n  await asyncio.sleep_ms(1)\n"
        "async def main():\n n = [0]\n other = asyncio.create_task(tick(n))\n"
        " out = asyncio.StreamWriter(sys.stdout.buffer, {})\n out.write(b'go\\n')\n await out.drain()\n"
        " print(await asyncio.StreamReader(sys.stdin).readline(), n[0] > 1)\nasyncio.run(main())"
    )
    guest.expect_text("go\n")
    guest.expect_text("ticks\r\n")
    guest.write("a line\n")
    assert guest.end() == ("b'a line\\n' True\n", "")


def test_ctrl_c_can_be_caught(guest):
    guest.begin("try:\n print('go')\n while True: pass\nexcept KeyboardInterrupt: print('caught')")
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert guest.end() == ("caught\n", "")


def test_ctrl_c_drops_the_line_being_typed(guest):
    guest.leave_raw()
    guest.write("1 / 0")
    guest.expect_text("1 / 0")
    guest.ctrl_c()
    guest.wait_prompt()
    guest.write("'clean'\r")
    assert "'clean'" in guest.wait_prompt()


def test_ctrl_c_many_times_leaves_a_working_prompt(guest):
    guest.leave_raw()
    guest.write(b"\x03" * 200)
    guest.write("'still' + 'here'\r")
    guest.expect_text("'stillhere'")
    guest.wait_prompt()


def test_kbd_intr_off_passes_ctrl_c_as_data(guest):
    guest.begin(
        "import micropython, sys\nmicropython.kbd_intr(-1)\nprint('go')\n"
        "c = sys.stdin.read(1)\nmicropython.kbd_intr(3)\nprint(ord(c))"
    )
    guest.expect_text("go\r\n")
    guest.ctrl_c()
    assert guest.end() == ("3\n", "")


def test_ctrl_d_starts_a_fresh_interpreter(guest):
    guest.exec("kept = 1")
    guest.leave_raw()
    guest.write("\x04")
    guest.expect_text("soft reboot")
    guest.wait_prompt()
    with pytest.raises(RemoteError, match="NameError"):
        guest.exec("kept")


def test_soft_reset_gives_back_all_memory(guest):
    free = "import gc\ngc.collect()\nprint(gc.mem_free())"
    guest.soft_reset()
    before = int(guest.exec(free))
    for _ in range(5):
        guest.exec("hoard = [bytearray(10000) for _ in range(100)]")
        guest.soft_reset()
    assert abs(int(guest.exec(free)) - before) < before // 20


def test_raw_repl_runs_code_without_paste(guest):
    assert guest.exec("print('raw')", paste=False) == "raw\n"


def test_raw_repl_separates_output_and_traceback(guest):
    guest.begin("print('out')\n1 / 0", paste=False)
    stdout, stderr = guest.end()
    assert stdout == "out\n"
    assert stderr.splitlines()[-1].startswith("ZeroDivisionError")


def test_raw_repl_reports_a_syntax_error(guest):
    with pytest.raises(RemoteError, match="SyntaxError"):
        guest.exec("def (:", paste=False)
    with pytest.raises(RemoteError, match="SyntaxError"):
        guest.exec("def (:")


@pytest.mark.parametrize("paste", (False, True), ids=("raw", "raw-paste"))
@pytest.mark.parametrize("size", (1000, 65536, 400000))
def test_raw_repl_takes_large_code_without_loss(guest, paste, size):
    data = "".join(chr(33 + (i * i + i // 251) % 90) for i in range(size)).replace("\\", "/").replace("'", '"')
    code = f"import binascii\nd = b'{data}'\nprint(len(d), binascii.crc32(d))"
    assert guest.exec(code, timeout=60, paste=paste) == f"{size} {zlib.crc32(data.encode())}\n"


def test_raw_paste_can_be_abandoned(guest):
    guest.eval("0")
    guest.write(b"\x05A\x01")
    assert guest.read(2) == b"R\x01"
    guest.read(2)
    guest.write(b"while True\x03")
    guest.expect_text("\x04")
    stdout, stderr = guest.end()
    assert stdout == "" and "KeyboardInterrupt" in stderr
    assert guest.eval("2 + 2") == 4


def test_paste_mode_runs_lines_as_one_block(guest):
    guest.leave_raw()
    guest.write("\x05")
    guest.expect_text("paste mode")
    guest.write("def f(x):\r    if x:\r        return 'yes'\r    return 'no'\rprint(f(1), f(0))\r\x04")
    guest.expect_text("\r\nyes no\r\n")
    guest.wait_prompt()


def test_paste_mode_is_left_by_ctrl_c(guest):
    guest.leave_raw()
    guest.write("\x05")
    guest.expect_text("=== ")
    guest.write("print('not run')\x03")
    assert "\nnot run" not in guest.wait_prompt()


def test_a_megabyte_of_output_arrives_whole(guest):
    text = guest.exec("for i in range(16384): print('%063d' % i)", timeout=120)
    assert text == "".join(f"{i:063d}\n" for i in range(16384))


def test_input_waits_while_the_guest_is_busy(guest):
    """More than any ring holds is typed while nobody reads: QEMU keeps it until the UART is read again."""
    guest.begin(
        "import micropython, sys, time, binascii\nmicropython.kbd_intr(-1)\nprint('go')\ntime.sleep_ms(300)\n"
        "d = sys.stdin.buffer.read(50000)\nmicropython.kbd_intr(3)\nprint(len(d), binascii.crc32(d))"
    )
    guest.expect_text("go\r\n")
    data = bytes(i * 7 % 256 for i in range(50000))
    guest.write(data)
    assert guest.end(60) == (f"50000 {zlib.crc32(data)}\n", "")


def test_poweroff_ends_qemu_with_the_given_code(new_guest):
    guest = new_guest()
    guest.wait_prompt()
    guest.begin("import machine\nmachine.poweroff(7)")
    assert guest.exit_code() == 7


def test_machine_reset_starts_again(new_guest):
    guest = new_guest()
    guest.wait_prompt()
    guest.begin("import machine\nmachine.reset()")
    guest.expect_text("MicroPython v", timeout=20)
    guest.wait_prompt()
    assert guest.eval("3") == 3


@pytest.mark.parametrize("smp", (1, 2, 4, 8))
def test_prompt_comes_with_harts(new_guest, smp):
    guest = new_guest(smp=smp)
    guest.wait_prompt()
    # on a busy machine the prompt is there before the last hart
    guest.exec(f"import riscv, time\nfor i in range(500):\n if riscv.harts() < {smp}: time.sleep_ms(10)", timeout=20)
    assert guest.eval("riscv.harts()") == smp


@pytest.mark.parametrize("mem", ("64M", "128M", "1G", "8G"))
def test_heap_takes_what_ram_allows(new_guest, mem):
    guest = new_guest(mem=mem)
    guest.wait_prompt()
    size = int(mem[:-1]) << (20 if mem[-1] == "M" else 30)
    assert guest.eval("sum(end - start for start, end in __import__('riscv').ram())") == size
    half = min(size // 2, 1 << 30)
    assert guest.eval(f"len(bytearray({half}))", timeout=120) == half
