"""modules/pci: buses numbered, BARs and windows placed without overlap, capabilities, pins, hot plug."""

import errno
import random

import pytest
import riscv
from fake_bus import HIGH, IO_CPU, MASTER, MEM, FakeBridge, FakeFunction, FakeHost
from pci import intx
from pci.host import Host
from pci.hotplug import Watch
from pci.space import Space, size_text
from virtio_host import fresh, memory


@pytest.fixture(autouse=True)
def _fresh():
    fresh()


def start(host):
    """The Host that enumerated a FakeHost."""
    found = Host(host.node)
    found.enumerate()
    return found


def rig(*functions, **options):
    """(Host, FakeHost) with these functions in the first slots."""
    fake = FakeHost(**options)
    for slot, function in enumerate(functions):
        fake.plug(function, slot)
    return start(fake), fake


def bar(host, index, number=0):
    return host.functions[number].bars[index]


# -- functions ---------------------------------------------------------------------------


def test_an_empty_bus_costs_one_read_a_slot():
    _, fake = rig()
    assert fake.reads == [(0, slot, 0, 0) for slot in range(32)]


def test_functions_1_to_7_are_looked_at_only_where_function_0_says_so():
    fake = FakeHost()
    one = fake.plug(FakeFunction(), 3)
    fake.plug(FakeFunction(device=0x1001), 3, 5)
    assert [f.name for f in start(fake).functions] == ["00:03.0"]
    one.multi = True
    assert [f.name for f in start(fake).functions] == ["00:03.0", "00:03.5"]


def test_host_bridges_are_left_alone():
    host, fake = rig(FakeFunction(0x1B36, 8, {0: ("mem", 4096)}, class_code=0x060000))
    assert host.functions[0].bars == {}


# -- BARs ----------------------------------------------------------------------------------


def test_each_kind_of_bar_gets_its_window():
    bars = {0: ("io", 64), 1: ("mem", 4096), 2: ("pref64", 1 << 20), 4: ("mem64", 1 << 16)}
    host, fake = rig(FakeFunction(bars=bars))
    found = host.functions[0].bars
    assert {i: (b.kind, b.size) for i, b in found.items()} == {
        0: ("io", 64),
        1: ("mem", 4096),
        2: ("mem", 1 << 20),
        4: ("mem", 1 << 16),
    }
    assert IO_CPU + 0x1000 == found[0].cpu_address
    assert found[1].cpu_address == MEM
    assert found[2].cpu_address == HIGH
    assert found[4].cpu_address == HIGH + (1 << 20)


def test_without_a_64_bit_window_all_go_below_4_gib():
    host, _ = rig(FakeFunction(bars={2: ("pref64", 1 << 20)}), high=False)
    assert MEM <= bar(host, 2).address < MEM + (1 << 30)


def test_a_64_bit_bar_that_is_too_large_for_its_window_goes_below_4_gib():
    functions = [FakeFunction(bars={0: ("pref64", 1 << 33), 2: ("pref64", 1 << 29)}) for _ in range(2)]
    host, _ = rig(*functions, FakeFunction(bars={0: ("pref64", 1 << 28)}))
    assert [bar(host, 0, 0).address, bar(host, 0, 1).address] == [HIGH, HIGH + (1 << 33)]
    assert MEM <= bar(host, 2).address and bar(host, 2).address + bar(host, 2).size <= MEM + (1 << 30)


def test_a_bar_that_does_not_fit_is_enospc_and_named_and_the_others_work():
    host, fake = rig(FakeFunction(bars={0: ("mem", 1 << 31), 1: ("mem", 4096)}), FakeFunction(bars={0: ("mem", 64)}))
    with pytest.raises(OSError) as info:
        assert not bar(host, 0).cpu_address
    assert info.value.errno == errno.ENOSPC
    text = "00:00.0: BAR0 of 2 GiB has no address: does not fit into the 32-bit window of 1 GiB"
    assert info.value.args[1] == text
    assert bar(host, 1).cpu_address and bar(host, 0, 1).cpu_address
    assert list(fake.functions.values())[0].command & 3 == 2


def test_decoding_comes_on_last_and_bus_mastering_stays_off():
    """The fake function raises when a BAR is written while it is decoded, or decoded out of place."""
    host, fake = rig(FakeFunction(bars={0: ("io", 8), 1: ("mem", 64)}), FakeFunction(bars={0: ("mem", 64)}))
    assert [f.command & 7 for f in fake.functions.values()] == [3, 2]
    start(fake)  # once more over what is there, as after a soft reset
    function = host.functions[0]
    function.master(True)
    assert function.read(4, 2) & 7 == 7
    function.master(False)
    assert function.read(4, 2) & 7 == 3


def test_expansion_roms_stay_off():
    host, fake = rig(FakeFunction())
    list(fake.functions.values())[0].allow(0x30, 4, 0xFFFF0001)
    start(fake)
    assert host.functions[0].read(0x30, 4) == 0


# -- bridges -----------------------------------------------------------------------------------


def tree(fake, depth, pref=64, io=True):
    """A chain of bridges with a function behind each: [bridges], [functions]."""
    bridges, functions = [], []
    for _ in range(depth):
        above = bridges[-1] if bridges else None
        bridges.append(fake.plug(FakeBridge(io=io, pref=pref), 1, bridge=above))
        bars = {0: ("io", 64), 1: ("mem", 1 << 16), 2: ("pref64", 1 << 21)}
        functions.append(fake.plug(FakeFunction(bars=bars), 4, bridge=bridges[-1]))
    return bridges, functions


@pytest.mark.parametrize("pref", [64, 32, 0])
@pytest.mark.parametrize("depth", [1, 3])
def test_what_is_behind_bridges_is_reached(depth, pref):
    fake = FakeHost()
    bridges, functions = tree(fake, depth, pref)
    host = start(fake)
    assert [b.secondary for b in bridges] == list(range(1, depth + 1))
    assert all(b.subordinate == depth for b in bridges)
    marks = {}
    for function in functions:
        function.read_bar = lambda index, off, width, f=function: marks[f] + index
        marks[function] = 16 * (1 + functions.index(function))
    found = [f for f in host.functions if not f.is_bridge]
    assert len(found) == depth
    for function in found:
        for index in (0, 1, 2):
            assert memory.read(function.bars[index].cpu_address, 4) == 16 * function.bus + index


def test_a_bridge_without_io_says_so():
    fake = FakeHost()
    tree(fake, 1, io=False)
    function = start(fake).functions[-1]
    with pytest.raises(OSError, match="there is no window for I/O"):
        assert not function.bars[0].cpu_address
    assert function.bars[1].cpu_address


def test_bus_mastering_opens_the_bridges_before_and_closes_them_with_the_last():
    fake = FakeHost()
    bridges, functions = tree(fake, 2)
    second = fake.plug(FakeFunction(device=0x1041), 5, bridge=bridges[1])
    host = start(fake)
    a, b = [f for f in host.functions if f.bus == 2]
    a.master(True)
    assert functions[1].master and not second.master
    b.master(True)
    a.master(False)
    assert second.master
    b.master(False)
    assert [x.command & MASTER for x in bridges] == [0, 0]


def test_a_large_bar_behind_a_bridge_does_not_take_the_others_with_it():
    fake = FakeHost()
    bridge = fake.plug(FakeBridge(), 0)
    fake.plug(FakeFunction(bars={0: ("mem", 1 << 31), 1: ("mem", 4096)}), 0, bridge=bridge)
    function = start(fake).functions[-1]
    assert function.bars[0].address is None and function.bars[1].address is not None


def test_reserves_for_hot_plug_give_way_to_what_is_there():
    fake = FakeHost()
    for slot in range(20):  # more than the I/O window has room for
        fake.plug(FakeBridge(port=4, hot=True), slot)
    fake.plug(FakeFunction(bars={0: ("io", 256), 1: ("mem", 1 << 29)}), 20)
    host = start(fake)
    assert all(b.address is not None for b in host.functions[-1].bars.values())
    assert sum(1 for f in host.functions[:-1] if f.io.size) == 14


def test_more_bridges_than_buses_leaves_the_rest_closed():
    fake = FakeHost(buses=3)
    bridges = [fake.plug(FakeBridge(), slot) for slot in range(4)]
    for bridge in bridges:
        fake.plug(FakeFunction(), 0, bridge=bridge)
    host = start(fake)
    assert [b.secondary for b in bridges] == [1, 2, 0, 0]
    assert [f.name for f in host.functions if not f.is_bridge] == ["01:00.0", "02:00.0"]


@pytest.mark.parametrize("seed", range(150))
def test_random_machines_overlap_nowhere(seed):
    """The fake functions check alignment, windows on the whole way, and each other."""
    dice = random.Random(seed)
    fake = FakeHost(high=dice.random() < 0.7)
    places = [None]
    for slot in range(dice.randint(1, 12)):
        above = dice.choice(places)
        if dice.random() < 0.4:
            port = dice.choice([None, None, 4])
            bridge = FakeBridge(pref=dice.choice([64, 32, 0]), io=dice.random() < 0.8, port=port, hot=port is not None)
            fake.plug(bridge, slot, bridge=above if above is None or above.port is None else None)
            places.append(bridge)
            continue
        bars = {}
        for i in (0, 2, 4):
            kind = dice.choice(["io", "mem", "mem64", "pref64", "none"])
            if kind != "none":
                bars[i] = (kind, 1 << dice.randint(2, 8) if kind == "io" else 1 << dice.randint(4, 31))
        fake.plug(FakeFunction(bars=bars), 0 if above is not None and above.port is not None else slot, bridge=above)
    host = start(fake)
    assert len(host.functions) == len(fake.functions) - clashes(fake)
    start(fake)


def clashes(fake):
    """Functions that a link hides: all but the first in a slot."""
    seen = {}
    for function in fake.functions.values():
        seen.setdefault((id(function.parent), function.slot_number), []).append(function)
    return sum(len(found) - 1 for found in seen.values())


# -- pure parts ------------------------------------------------------------------------------------


def test_sizes_are_readable():
    assert [size_text(n) for n in (16, 4096, 3 << 20, 1 << 34, 60 << 10)] == [
        "16 bytes",
        "4 KiB",
        "3 MiB",
        "16 GiB",
        "60 KiB",
    ]


def test_fit_finds_the_first_gap():
    class Item:
        def __init__(self, address, size):
            self.address, self.size, self.align, self.order = address, size, size, 0

    space = Space("test", 0x1000, 0x3000)
    assert space.fit(0x1000, 0x1000) == 0x1000
    space.items = [Item(0x1000, 0x800), Item(0x3000, 0x800)]
    assert space.fit(0x800, 0x800) == 0x1800
    assert space.fit(0x1000, 0x1000) == 0x2000
    assert space.fit(0x2000, 0x2000) is None


# -- capabilities -----------------------------------------------------------------------------------


def test_capabilities_are_found_in_order():
    function = FakeFunction()
    at = [function.capability(n, bytes(6)) for n in (9, 5, 9)]
    host, _ = rig(function)
    assert host.functions[0].capabilities() == list(zip((9, 5, 9), at))
    assert host.functions[0].capability(5) == at[1]
    assert host.functions[0].capability(0x11) == 0


def test_without_the_status_bit_there_are_no_capabilities():
    function = FakeFunction()
    function.capability(9, bytes(6))
    function.put(6, 2, 0)
    host, _ = rig(function)
    assert host.functions[0].capabilities() == []


@pytest.mark.parametrize(
    ("link", "text"),
    [(0x40, "loops back to 0x40"), (0x48, "loops back to 0x48"), (0x20, "goes on at 0x20, inside the header")],
)
def test_a_list_that_loops_or_leaves_its_place_is_refused(link, text):
    function = FakeFunction()
    function.capability(9, bytes(6))
    second = function.capability(9, bytes(6))
    function.config[second + 1] = link
    host, _ = rig(function)
    with pytest.raises(OSError, match=f"PCI 00:00.0: configuration space at 0x48: .*{text}") as info:
        host.functions[0].capabilities()
    assert info.value.errno == errno.EIO


# -- pins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", range(5))
@pytest.mark.parametrize("pin", range(1, 5))
def test_pins_of_the_root_bus_follow_the_map(slot, pin):
    fake = FakeHost(source=32)
    fake.plug(FakeFunction(pin=pin), slot)
    assert intx.source(start(fake).functions[0])[0] == 32 + (slot + pin - 1) % 4


def test_pins_are_turned_by_every_bridge():
    fake = FakeHost(source=32)
    tree(fake, 2)
    for function in start(fake).functions:
        if not function.is_bridge:  # slot 4, then slot 1 for every bridge
            assert intx.source(function)[0] == 32 + (4 + function.bus) % 4


def test_no_pin_and_no_map_are_enodev():
    host, fake = rig(FakeFunction(pin=0), FakeFunction(pin=1))
    with pytest.raises(OSError, match="no interrupt pin") as info:
        intx.source(host.functions[0])
    assert info.value.errno == errno.ENODEV
    fake.node.props["interrupt-map"] = (0x800, 0, 0, 2, 3, 9)
    with pytest.raises(OSError, match="INTA# is not in the interrupt-map"):
        intx.source(host.functions[1])
    del fake.node.props["interrupt-map"]
    with pytest.raises(OSError, match="has no interrupt-map"):
        intx.source(host.functions[1])


# -- hot plug --------------------------------------------------------------------------------------------


def hot(bars, **options):
    """(Host, FakeHost, port, function that is in its slot without power)"""
    fake = FakeHost(**options)
    port = fake.plug(FakeBridge(port=4, hot=True), 1)
    host = start(fake)
    return host, fake, port, port.insert(FakeFunction(bars=bars))


def test_what_is_plugged_in_later_gets_addresses_in_the_ports_windows():
    host, fake, port, function = hot({0: ("io", 64), 1: ("mem", 4096), 4: ("pref64", 16384)})
    new, lost = host.rescan()
    assert ([f.name for f in new], lost) == (["01:00.0"], [])
    assert all(b.address is not None for b in new[0].bars.values())
    assert host.rescan() == ([], [])
    assert function.command & 3 == 3


def test_what_was_pulled_out_is_gone_and_its_addresses_are_free_again():
    host, fake, port, function = hot({1: ("mem", 2 << 20)})
    before = host.rescan()[0][0]
    fake.unplug(function)
    new, lost = host.rescan()
    assert (new, lost) == ([], [before])
    assert before.gone and "gone" in repr(before)
    port.insert(FakeFunction(bars={1: ("mem", 2 << 20)}))
    again = host.rescan()[0][0]
    assert again.bars[1].address == before.bars[1].address


def test_what_the_host_wants_back_loses_its_power():
    host, fake, port, function = hot({1: ("mem", 4096)})
    found = host.rescan()[0][0]
    port.press()
    assert host.rescan() == ([], [found])
    assert function not in fake.functions.values()


def test_what_is_in_use_stays_until_it_is_not():
    host, fake, port, function = hot({1: ("mem", 4096)})
    found = host.rescan()[0][0]
    found.master(True)
    port.press()
    assert host.rescan() == ([], [])
    found.master(False)
    assert host.rescan() == ([], [found])


def test_another_device_in_the_same_place_is_a_new_one():
    host, fake, port, function = hot({1: ("mem", 4096)})
    host.rescan()
    fake.unplug(function)
    port.insert(FakeFunction(device=0x1041, bars={1: ("mem", 4096)}))
    new, lost = host.rescan()
    assert ([f.device for f in new], [f.device for f in lost]) == ([0x1041], [0x1042])


def test_what_is_too_large_to_be_plugged_in_is_enospc():
    host, fake, port, function = hot({1: ("mem", 4 << 20), 2: ("mem", 4096)})
    found = host.rescan()[0][0]
    with pytest.raises(OSError) as info:
        assert not found.bars[1].cpu_address
    assert info.value.errno == errno.ENOSPC
    assert found.bars[2].cpu_address


def test_a_bridge_that_is_plugged_in_gets_a_bus_number():
    fake = FakeHost()
    port = fake.plug(FakeBridge(port=4, hot=True), 1)
    host = start(fake)
    bridge = port.insert(FakeBridge())
    fake.plug(FakeFunction(bars={0: ("mem", 4096)}), 2, bridge=bridge)
    new, _ = host.rescan()
    assert [f.name for f in new] == ["01:00.0", "02:02.0"]
    assert new[1].bars[0].address is not None


def test_slots_interrupt_when_something_came():
    fake = FakeHost(source=32)
    port = fake.plug(FakeBridge(port=4, hot=True), 1)
    host = start(fake)
    seen = []
    watch = Watch([f for f in host.functions if f.is_bridge], lambda: seen.append(host.rescan()))
    assert not port.asserts()
    port.insert(FakeFunction())
    assert port.asserts()
    riscv.interrupt(33)
    assert [len(new) for new, _ in seen] == [1] and not port.asserts()
    riscv.interrupt(33)  # somebody else's
    assert len(seen) == 1
    watch.close()
    port.press()
    assert not port.asserts() and riscv.irqs == {}


def test_without_slots_there_is_nothing_to_watch():
    with pytest.raises(OSError, match="no slot to plug anything into"):
        Watch([], print)
