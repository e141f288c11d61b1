"""tests/lib/regtrace: a good trace passes, and each broken rule is found in a trace that breaks it."""

import pytest
import regtrace

BASE = 0x1000_8000
R, W = "read", "write"


def mmio(op, off, value, size=4):
    return (op, BASE + off, value, size, "virtio-mmio")


def text(accesses):
    return [
        f"memory_region_ops_{op} cpu 0 mr 0x55 addr {a:#x} value {v:#x} size {n} name '{name}'"
        for op, a, v, n, name in accesses
    ]


def run(accesses, quiet=False):
    trace = regtrace.Trace()
    for access in regtrace.parse(text(accesses)):
        trace.feed(access)
    return trace.finish(quiet)


def identify(version=2, device=2):
    return [mmio(R, 0, 0x74726976), mmio(R, 4, version), mmio(R, 8, device)]


def features(offered, accepted, words=(0, 1)):
    """Selecting and reading the offer, then selecting and writing what is accepted."""
    made = []
    for i in words:
        made += [mmio(W, 0x14, i), mmio(R, 0x10, offered >> 32 * i & 0xFFFFFFFF)]
    for i in words:
        made += [mmio(W, 0x24, i), mmio(W, 0x20, accepted >> 32 * i & 0xFFFFFFFF)]
    return made


OFFERED = 1 << 32 | 1 << 29 | 1 << 28 | 1 << 6
ADDRESSES = [mmio(W, 0x80, 0x8000_0000), mmio(W, 0x84, 0), mmio(W, 0x90, 0x8000_1002), mmio(W, 0x94, 0)]
ADDRESSES += [mmio(W, 0xA0, 0x8000_2004), mmio(W, 0xA4, 0)]
RESET = [mmio(W, 0x70, 0), mmio(R, 0x70, 0)]
NEGOTIATE = features(OFFERED, OFFERED)
QUEUE = [mmio(W, 0x30, 0), mmio(R, 0x44, 0), mmio(R, 0x34, 256), mmio(W, 0x38, 64), *ADDRESSES, mmio(W, 0x44, 1)]
CONFIG = [mmio(R, 0xFC, 0), mmio(R, 0x100, 8), mmio(R, 0x104, 0), mmio(R, 0xFC, 0)]
MODERN = [
    *identify(),
    *RESET,
    mmio(W, 0x70, 1),
    mmio(W, 0x70, 3),
    *NEGOTIATE,
    mmio(W, 0x70, 11),
    mmio(R, 0x70, 11),
    *QUEUE,
    *CONFIG,
    mmio(W, 0x70, 15),
    mmio(W, 0x50, 0),
    mmio(R, 0x60, 1),
    mmio(W, 0x64, 1),
    *RESET,
]
LEGACY_QUEUE = [mmio(W, 0x28, 4096), mmio(W, 0x30, 0), mmio(R, 0x40, 0), mmio(R, 0x34, 256), mmio(W, 0x38, 64)]
LEGACY_QUEUE += [mmio(W, 0x3C, 4096), mmio(W, 0x40, 0x80000)]
LEGACY = [
    *identify(1),
    *RESET,
    mmio(W, 0x70, 1),
    mmio(W, 0x70, 3),
    *features(1 << 28 | 1 << 27, 1 << 28 | 1 << 27, (0,)),
    *LEGACY_QUEUE,
    mmio(R, 0x100, 8),
    mmio(W, 0x70, 7),
    mmio(W, 0x50, 0),
    *RESET,
]


def change(good, old, *new, at=0):
    """The trace with the at-th access that equals old replaced by others."""
    places = [i for i, access in enumerate(good) if access == old]
    i = places[at]
    return [*good[:i], *new, *good[i + 1 :]]


def after(good, old, *new, at=0):
    return change(good, old, old, *new, at=at)


def before(good, old, *new, at=0):
    return change(good, old, *new, old, at=at)


def test_good_traces_break_nothing_and_are_counted():
    for good in (MODERN, LEGACY):
        trace = run(good, quiet=True)
        assert trace.broken == []
        counts = trace.devices["mmio@10008000"].counts
        assert (counts["resets"], counts["inits"], counts["queues"], counts["notifications"]) == (2, 1, 1, 1)


BROKEN = {
    "first access is no identification": (before(MODERN, mmio(R, 0, 0x74726976), mmio(R, 8, 2)), "MMIO-27"),
    "vendor before device id": (before(MODERN, mmio(R, 8, 2), mmio(R, 12, 1)), "MMIO-28"),
    "empty slot is used": ([*identify(2, 0), mmio(R, 12, 1)], "MMIO-30"),
    "no reset first": (change(change(MODERN, RESET[0]), RESET[1]), "GEN-INIT-02"),
    "reset is not waited for": (change(MODERN, RESET[1]), "GEN-RESET-01"),
    "reset is not over": (change(MODERN, RESET[1], mmio(R, 0x70, 15)), "GEN-RESET-01"),
    "no ACKNOWLEDGE": (change(MODERN, mmio(W, 0x70, 1)), "GEN-INIT-03"),
    "no DRIVER": (change(MODERN, mmio(W, 0x70, 3), mmio(W, 0x70, 9)), "GEN-INIT-04"),
    "status bit is dropped": (change(MODERN, mmio(W, 0x70, 15), mmio(W, 0x70, 4)), "GEN-STATUS-02"),
    "goes on after FAILED": (after(MODERN, mmio(W, 0x70, 3), mmio(W, 0x70, 131), mmio(W, 0x70, 139)), "GEN-STATUS-03"),
    "features before DRIVER": (change(MODERN, mmio(W, 0x70, 3)), "GEN-INIT-05"),
    "no features are written": (
        [a for a in MODERN if a not in (mmio(W, 0x20, 1), mmio(W, 0x20, OFFERED & 0xFFFFFFFF))],
        "GEN-INIT-05",
    ),
    "not offered": (change(MODERN, mmio(W, 0x20, OFFERED & 0xFFFFFFFF), mmio(W, 0x20, 1 << 5)), "GEN-FEAT-01"),
    "VERSION_1 is left out": (change(MODERN, mmio(W, 0x20, 1), mmio(W, 0x20, 0)), "GEN-RSVD-01"),
    "a legacy bit": (
        change(
            change(MODERN, mmio(R, 0x10, OFFERED & 0xFFFFFFFF), mmio(R, 0x10, 1 << 27)),
            mmio(W, 0x20, OFFERED & 0xFFFFFFFF),
            mmio(W, 0x20, 1 << 27),
        ),
        "GEN-FEAT-05",
    ),
    "FEATURES_OK is not written": (change(change(MODERN, mmio(W, 0x70, 11)), mmio(R, 0x70, 11)), "GEN-INIT-08"),
    "FEATURES_OK is not read back": (change(MODERN, mmio(R, 0x70, 11)), "GEN-INIT-07"),
    "refusal is overlooked": (change(MODERN, mmio(R, 0x70, 11), mmio(R, 0x70, 3)), "GEN-INIT-14"),
    "features after FEATURES_OK": (after(MODERN, mmio(R, 0x70, 11), *NEGOTIATE[-2:]), "GEN-INIT-12"),
    "queue before FEATURES_OK": (before(MODERN, mmio(W, 0x70, 11), *QUEUE), "GEN-INIT-08"),
    "queue after DRIVER_OK": (
        after(MODERN, mmio(W, 0x70, 15), *[mmio(W, 0x30, 1) if a == QUEUE[0] else a for a in QUEUE]),
        "GEN-INIT-08",
    ),
    "notification before DRIVER_OK": (before(MODERN, mmio(W, 0x70, 15), mmio(W, 0x50, 0)), "GEN-INIT-15"),
    "notification of no queue": (change(MODERN, mmio(W, 0x50, 0), mmio(W, 0x50, 7)), "MMIO-35"),
    "SUSPEND": (after(MODERN, mmio(W, 0x70, 15), mmio(W, 0x70, 31)), "GEN-SUSPEND-01"),
    "configuration is written early": (before(MODERN, mmio(W, 0x70, 11), mmio(W, 0x120, 1, 1)), "GEN-INIT-11"),
    "no generation before": (change(MODERN, mmio(R, 0xFC, 0)), "GEN-CFG-02"),
    "no generation after": (change(MODERN, mmio(R, 0xFC, 0), at=1), "GEN-CFG-02"),
    "unknown register": (before(MODERN, mmio(W, 0x70, 15), mmio(W, 0x74, 1)), "MMIO-04"),
    "read-only register": (before(MODERN, mmio(W, 0x70, 15), mmio(W, 0x34, 1)), "MMIO-05"),
    "write-only register": (before(MODERN, mmio(W, 0x70, 15), mmio(R, 0x30, 1)), "MMIO-06"),
    "register of a legacy device": (before(LEGACY, mmio(W, 0x70, 7), mmio(R, 0xFC, 1)), "MMIO-LEG-10"),
    "half a register": (before(MODERN, mmio(W, 0x70, 15), mmio(R, 0x70, 11, 2)), "MMIO-07"),
    "half a field": (change(MODERN, mmio(R, 0x104, 0), mmio(R, 0x104, 0, 2)), "MMIO-08"),
    "offer is read unselected": (change(MODERN, mmio(W, 0x14, 0)), "MMIO-15"),
    "features are written unselected": (change(MODERN, mmio(W, 0x24, 0)), "MMIO-16"),
    "queue too long": (change(MODERN, mmio(W, 0x38, 64), mmio(W, 0x38, 512)), "MMIO-17"),
    "queue of an odd size": (change(MODERN, mmio(W, 0x38, 64), mmio(W, 0x38, 63)), "SPLIT-LAYOUT-01"),
    "address is not aligned": (change(MODERN, ADDRESSES[0], mmio(W, 0x80, 0x8000_0008)), "SPLIT-LAYOUT-02"),
    "live queue is changed": (before(MODERN, mmio(W, 0x70, 15), mmio(W, 0x38, 32)), "MMIO-18"),
    "stop is not read back": (after(MODERN, mmio(W, 0x50, 0), mmio(W, 0x44, 0)), "MMIO-20"),
    "acknowledges unread bits": (change(MODERN, mmio(W, 0x64, 1), mmio(W, 0x64, 3)), "MMIO-22"),
    "acknowledges unknown bits": (change(MODERN, mmio(W, 0x64, 1), mmio(W, 0x64, 5)), "MMIO-23"),
    "acknowledges twice": (after(MODERN, mmio(W, 0x64, 1), mmio(W, 0x64, 1)), "MMIO-22"),
    "QueueReset unnegotiated": (after(MODERN, mmio(W, 0x50, 0), mmio(W, 0xC0, 1)), "MMIO-04"),
    "shared memory of a disk": (before(MODERN, mmio(W, 0x70, 15), mmio(R, 0xB0, 0)), "MMIO-31"),
    "QueueReady is not looked at": (change(MODERN, mmio(R, 0x44, 0)), "MMIO-33"),
    "address is left out": (change(MODERN, ADDRESSES[5]), "MMIO-33"),
    "left alive": (MODERN[:-2], "GEN-CLEANUP-02"),
    "legacy FEATURES_OK": (before(LEGACY, mmio(W, 0x70, 7), mmio(W, 0x70, 11)), "GEN-LEGINIT-01"),
    "legacy ANY_LAYOUT": (
        change(LEGACY, mmio(W, 0x20, 1 << 28 | 1 << 27), mmio(W, 0x20, 1 << 28)),
        "GEN-LEGRSVD-01",
    ),
    "no page size": (change(LEGACY, mmio(W, 0x28, 4096)), "MMIO-LEG-02"),
    "QueuePFN is not looked at": (change(LEGACY, mmio(R, 0x40, 0)), "MMIO-LEG"),
    "no QueueAlign": (change(LEGACY, mmio(W, 0x3C, 4096)), "MMIO-LEG-06"),
    "legacy queue too long": (change(LEGACY, mmio(W, 0x38, 64), mmio(W, 0x38, 512)), "MMIO-LEG-05"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_trace_is_found(name):
    accesses, clause = BROKEN[name]
    broken = run(accesses, quiet=True).broken
    assert broken and broken[0].startswith(clause), broken
    assert "mmio@10008000: " in broken[0]


# -- PCI ------------------------------------------------------------------------------------

COMMON, ISR, DEVICE, NOTIFY = 0x4_0000_0000, 0x4_0000_1000, 0x4_0000_2000, 0x4_0000_3000


def ecam(op, reg, value, size=4):
    return (op, 1 << 15 | reg, value, size, "pcie-mmcfg-mmio")


def common(op, off, value, size):
    return (op, COMMON + off, value, size, "virtio-pci-common-virtio-blk")


def capability(at, following, kind, off, length, more=()):
    """Reads of a vendor capability in BAR 4."""
    head = [ecam(R, at, 0x09 | following << 8 | 16 + 4 * len(more) << 16 | kind << 24), ecam(R, at + 4, 4)]
    return head + [ecam(R, at + 8 + 4 * i, word) for i, word in enumerate((off, length, *more))]


def notify(index, off=None, size=2):
    return (W, NOTIFY + (4 * index if off is None else off), index, size, "virtio-pci-notify-virtio-blk")


MSIX = [ecam(R, 0x98, 0x11, 1), ecam(R, 0x99, 0, 1), ecam(R, 0x9A, 2, 2)]  # three vectors
CAPABILITIES = [
    ecam(R, 0, 0x1042_1AF4),
    ecam(R, 0x34, 0x40, 1),
    *capability(0x40, 0x50, 1, 0, 0x1000),
    *capability(0x50, 0x60, 3, 0x1000, 0x1000),
    *capability(0x60, 0x70, 4, 0x2000, 0x1000),
    *capability(0x70, 0x84, 2, 0x3000, 0x1000, (4,)),
    *capability(0x84, 0x98, 5, 0, 0, (0,)),
    *MSIX,
    ecam(R, 0x20, 0xC),
    ecam(W, 0x20, COMMON & 0xFFFFFFFF | 0xC),
    ecam(W, 0x24, COMMON >> 32),
]
PCI_RESET = [common(W, 0x14, 0, 1), common(R, 0x14, 0, 1)]
PCI_FEATURES = [common(W, 0, 1, 4), common(R, 4, 1, 4), common(W, 8, 1, 4), common(W, 12, 1, 4)]
PCI_ADDRESSES = [common(W, 0x20 + 4 * i, 0x8000_0000 if i % 2 == 0 else 0, 4) for i in range(6)]
PCI_GOOD = [
    *CAPABILITIES,
    *PCI_RESET,
    common(W, 0x14, 1, 1),
    common(W, 0x14, 3, 1),
    *PCI_FEATURES,
    common(W, 0x14, 11, 1),
    common(R, 0x14, 11, 1),
    common(W, 0x10, 1, 2),
    common(R, 0x10, 1, 2),
    common(W, 0x16, 1, 2),
    common(R, 0x18, 256, 2),
    common(R, 0x1C, 0, 2),
    common(R, 0x1E, 1, 2),
    common(W, 0x18, 64, 2),
    *PCI_ADDRESSES,
    common(W, 0x1C, 1, 2),
    common(R, 0x15, 3, 1),
    (R, DEVICE, 8, 4, "virtio-pci-device-virtio-blk"),
    common(R, 0x15, 3, 1),
    common(W, 0x14, 15, 1),
    notify(1),
    (R, ISR, 1, 1, "virtio-pci-isr-virtio-blk"),
    *PCI_RESET,
]


def test_good_trace_of_pci_breaks_nothing():
    trace = run(PCI_GOOD, quiet=True)
    assert trace.broken == []
    device = trace.devices["pci@00:01.0"]
    assert device.device_id == 2
    assert device.counts == {"resets": 2, "inits": 1, "queues": 1, "notifications": 1, "interrupts": 1, "acks": 0}


PCI_BROKEN = {
    "reset is not waited for": (change(PCI_GOOD, PCI_RESET[1]), "PCI-25"),
    "status as a word": (change(PCI_GOOD, common(W, 0x14, 1, 1), common(W, 0x14, 1, 4)), "PCI-06"),
    "select as a byte": (change(PCI_GOOD, common(W, 0x16, 1, 2), common(W, 0x16, 1, 1)), "PCI-07"),
    "features as a halfword": (change(PCI_GOOD, common(W, 12, 1, 4), common(W, 12, 1, 2)), "PCI-08"),
    "field of the device in halves": (
        change(
            PCI_GOOD,
            (R, DEVICE, 8, 4, "virtio-pci-device-virtio-blk"),
            (R, DEVICE, 8, 2, "virtio-pci-device-virtio-blk"),
        ),
        "PCI-07",
    ),
    "capability is written": (after(PCI_GOOD, CAPABILITIES[-1], ecam(W, 0x48, 4)), "PCI-18"),
    "read-only field": (before(PCI_GOOD, common(W, 0x14, 15, 1), common(W, 0x15, 1, 1)), "PCI-21"),
    "size 0": (change(PCI_GOOD, common(W, 0x18, 64, 2), common(W, 0x18, 0, 2)), "PCI-22"),
    "size 63": (change(PCI_GOOD, common(W, 0x18, 64, 2), common(W, 0x18, 63, 2)), "PCI-23"),
    "size above the device's": (change(PCI_GOOD, common(W, 0x18, 64, 2), common(W, 0x18, 512, 2)), "PCI-48"),
    "enabled before its addresses": (change(PCI_GOOD, PCI_ADDRESSES[3]), "PCI-24"),
    "changed while live": (after(PCI_GOOD, common(W, 0x1C, 1, 2), common(W, 0x18, 32, 2)), "PCI-24"),
    "disabled by hand": (before(PCI_GOOD, common(W, 0x1C, 1, 2), common(W, 0x1C, 0, 2)), "PCI-26"),
    "queue_reset unnegotiated": (after(PCI_GOOD, notify(1), common(W, 0x3A, 1, 2)), "PCI-27"),
    "wrong place to notify": (change(PCI_GOOD, notify(1), notify(1, 0)), "PCI-32"),
    "nobody read where to notify": (change(PCI_GOOD, common(R, 0x1E, 1, 2)), "PCI-32"),
    "ISR as a word": (
        change(PCI_GOOD, (R, ISR, 1, 1, "virtio-pci-isr-virtio-blk"), (R, ISR, 1, 4, "virtio-pci-isr-virtio-blk")),
        "PCI-06",
    ),
    "no capability leads there": ([a for a in PCI_GOOD if a != CAPABILITIES[2]], "PCI-40"),
    "vector is not read back": (change(PCI_GOOD, common(R, 0x10, 1, 2)), "PCI-46"),
    "vector beyond the table": (change(PCI_GOOD, common(W, 0x10, 1, 2), common(W, 0x10, 3, 2)), "PCI-45"),
    "ISR in spite of MSI-X": (after(PCI_GOOD, CAPABILITIES[-1], ecam(W, 0x9A, 0x8002, 2)), "PCI-34"),
    "notification of 32 bits": (change(PCI_GOOD, notify(1), notify(1, size=4)), "PCI-49"),
    "notification of another queue": (change(PCI_GOOD, notify(1), notify(3, 4)), "PCI-51"),
}


@pytest.mark.parametrize("name", PCI_BROKEN)
def test_broken_trace_of_pci_is_found(name):
    accesses, clause = PCI_BROKEN[name]
    broken = run(accesses, quiet=True).broken
    assert broken and broken[0].startswith(clause), broken


PORTS = 0x300_1000


def port(op, off, value, size):
    return (op, PORTS + off, value, size, "virtio-pci")


PORTS_GOOD = [
    ecam(R, 0, 0x1001_1AF4),
    ecam(W, 0x10, 0xFFFFFFFF),
    ecam(R, 0x10, 0xFFFFFF81),
    ecam(W, 0x10, 0x1000),
    port(W, 0x12, 0, 1),
    port(R, 0x12, 0, 1),
    port(W, 0x12, 1, 1),
    port(W, 0x12, 3, 1),
    port(R, 0x00, 1 << 28, 4),
    port(W, 0x04, 1 << 28, 4),
    port(W, 0x0E, 0, 2),
    port(R, 0x0C, 256, 2),
    port(R, 0x08, 0, 4),
    port(W, 0x08, 0x80000, 4),
    port(R, 0x14, 8, 4),
    port(W, 0x12, 7, 1),
    port(W, 0x10, 0, 2),
    port(R, 0x13, 1, 1),
    port(W, 0x12, 0, 1),
    port(R, 0x12, 0, 1),
]


def test_good_trace_of_legacy_pci_breaks_nothing():
    trace = run(PORTS_GOOD, quiet=True)
    assert trace.broken == []
    counts = trace.devices["pci@00:01.0"].counts
    assert counts == {"resets": 2, "inits": 1, "queues": 1, "notifications": 1, "interrupts": 1, "acks": 0}


def test_a_function_may_be_driven_by_one_interface_after_the_other():
    modern = [a for a in PCI_GOOD if a not in CAPABILITIES]
    assert run([*CAPABILITIES, *PORTS_GOOD[1:], *modern, *PORTS_GOOD[4:]], quiet=True).broken == []


PORTS_BROKEN = {
    "ports of nobody": ([a for a in PORTS_GOOD if a != PORTS_GOOD[3]], "PCI-LEG-01"),
    "reset is not waited for": (change(PORTS_GOOD, port(R, 0x12, 0, 1)), "GEN-RESET-01"),
    "status as a word": (change(PORTS_GOOD, port(W, 0x12, 1, 1), port(W, 0x12, 1, 4)), "PCI-LEG-03"),
    "ISR is written": (before(PORTS_GOOD, port(W, 0x12, 7, 1), port(W, 0x13, 1, 1)), "PCI-LEG-03"),
    "FEATURES_OK": (before(PORTS_GOOD, port(W, 0x12, 7, 1), port(W, 0x12, 11, 1)), "GEN-LEGINIT-01"),
    "not offered": (change(PORTS_GOOD, port(W, 0x04, 1 << 28, 4), port(W, 0x04, 1 << 29, 4)), "GEN-FEAT-01"),
    "size is not read": (change(PORTS_GOOD, port(R, 0x0C, 256, 2)), "SPLIT-LEGLAYOUT-01"),
    "address is not looked at": (change(PORTS_GOOD, port(R, 0x08, 0, 4)), "PCI-LEG-11"),
    "live queue is moved": (before(PORTS_GOOD, port(W, 0x12, 7, 1), port(W, 0x08, 0x80001, 4)), "PCI-LEG-11"),
    "notification before DRIVER_OK": (before(PORTS_GOOD, port(W, 0x12, 7, 1), port(W, 0x10, 0, 2)), "GEN-INIT-15"),
    "notification of 32 bits": (change(PORTS_GOOD, port(W, 0x10, 0, 2), port(W, 0x10, 0, 4)), "PCI-LEG-03"),
}


@pytest.mark.parametrize("name", PORTS_BROKEN)
def test_broken_trace_of_legacy_pci_is_found(name):
    accesses, clause = PORTS_BROKEN[name]
    broken = run(accesses, quiet=True).broken
    assert broken and broken[0].startswith(clause), broken


def test_trace_is_cut_where_the_console_says_so(tmp_path):
    log = tmp_path / "log"
    serial = [(W, 0x1000_0000, ord(c), 1, "serial") for c in "go"]
    log.write_text("noise\n" + "\n".join(text([*MODERN[:5], *serial, mmio(W, 0x74, 1)])) + "\n")
    assert regtrace.check(log, until="go").broken == []
    assert "MMIO-04 line 9" in regtrace.check(log).broken[0]
    with pytest.raises(AssertionError, match="never printed"):
        regtrace.check(log, until="stop")


def test_value_is_cut_to_the_width_of_the_access():
    """QEMU's own log shows all that the device returned."""
    line = "memory_region_ops_read cpu 0 mr 0x55 addr 0x10008010 value 0x10130006e54 size 4 name 'virtio-mmio'"
    (access,) = regtrace.parse([line])
    assert access.value == 0x3000_6E54
