"""What is in a virtqueue, and why a device does not answer, for people: dump() and why() of queues and devices."""

import struct

from . import ring
from . import transport as _t

_KINDS = ("readable", "writable", "indirect")


# -- dump ----------------------------------------------------------------------------------------


def dump(vq):
    """Print indices, suppression, and every chain in use with its descriptors and whose it is."""
    print(repr(vq))
    print("  ring %#x  driver area %#x  device area %#x" % (vq.desc, vq.avail, vq.used))
    for line in _positions(vq):
        print("  " + line)
    for head in range(vq.size):
        if ring.state(vq.st, head) != -2:
            _dump_chain(vq, head)


def _place(at):
    return "slot %d wrap %d" % (at & 0x7FFF, at >> 15)


def _positions(vq):
    """Lines about how far both sides are, and what they want to be told."""
    word = vq._word
    filled, published, taken = word(9), word(10), word(11)
    if vq.packed:
        yield "next to fill: %s, published up to: %s, next used: %s" % (
            _place(filled),
            _place(published),
            _place(taken),
        )
        yield "interrupts: %s, notifications: %s" % (_packed_event(vq, vq.avail), _packed_event(vq, vq.used))
        return
    yield "avail.idx %d (%d filled), used.idx %d (%d taken)" % (published, filled, used_idx(vq), taken)
    if vq.event_idx:
        yield "interrupts: used_event %d, notifications: avail_event %d" % (used_event(vq), avail_event(vq))
    else:
        wanted = ("wanted", "not wanted")
        yield "interrupts: %s, notifications: %s" % (wanted[_u16(vq, vq.avail) & 1], wanted[_u16(vq, vq.used) & 1])


def _packed_event(vq, at):
    off, flags = _u16(vq, at), _u16(vq, at + 2)
    return ("wanted", "not wanted", "wanted at " + _place(off))[flags] if flags < 3 else "flags %#x" % flags


def _u16(vq, addr):
    at = addr - vq.desc
    buf = vq._area.buf
    return buf[at] | buf[at + 1] << 8


def used_idx(vq):
    return _u16(vq, vq.used + 2)


def used_event(vq):
    return _u16(vq, vq.avail + 4 + 2 * vq.size)


def avail_event(vq):
    return _u16(vq, vq.used + 4 + 8 * vq.size)


def _dump_chain(vq, head):
    """Print one chain: state, owner, descriptors."""
    used = ring.state(vq.st, head)
    state = "in flight" if used == -1 else "used, %d bytes" % used
    if ring.fixed(vq.st, head):
        owner = "a slot of the driver"
    else:
        token = vq.token(head)
        owner = "for wait(%d)" % head if token is None else "for %r" % (token,)
    if head in vq._orphans:
        owner = "nobody waits for it"
    print("  head %d: %s, %s" % (head, state, owner))
    if vq.packed and used != -1:
        return  # the device wrote its answer over the descriptors
    buf = vq._area.buf
    shadow = struct.unpack_from("<4I", vq._shadow.buf, 16 * head)
    at = shadow[3] & 0x7FFF if vq.packed else head
    for _ in range(shadow[1] & 0xFFFF):
        addr, n, low, high = struct.unpack_from("<QIHH", buf, 16 * at)
        flags = high if vq.packed else low
        kind = _KINDS[2 if flags & 4 else flags >> 1 & 1]
        print("    %4d: %#x+%d %s%s" % (at, addr, n, kind, "" if not vq.packed else _marks(flags, low)))
        if flags & 4:
            _dump_table(vq, addr, n)
        at = (at + 1) % vq.size if vq.packed else high


def _marks(flags, ident):
    """The avail and used bits of a packed descriptor, and its buffer id."""
    return " avail %d used %d id %d" % (flags >> 7 & 1, flags >> 15, ident)


def _dump_table(vq, addr, n):
    import uctypes

    table = uctypes.bytearray_at(addr, n)
    for i in range(n // 16):
        where, size, low, high = struct.unpack_from("<QIHH", table, 16 * i)
        flags = high if vq.packed else low
        print("          %2d: %#x+%d %s" % (i, where, size, _KINDS[flags >> 1 & 1]))


def refused(vq):
    """What is wrong with the used element that reap() did not take."""
    head, value = vq._word(16), vq._word(17)
    if head == 0xFFFFFFFF:
        return "used.idx is %d ahead, %d in flight" % (value, vq.in_flight)
    if head >= vq.size:
        return "used id %d in a queue of %d" % (head, vq.size)
    if ring.state(vq.st, head) != -1:
        return "used id %d is not in flight" % head
    return "used id %d: length %d is more than its writable bytes" % (head, value)


# -- why -----------------------------------------------------------------------------------------


def queue(vq):
    """Print the first rule that is broken here, with its section; returns that text, None for none."""
    return _say(vq.device, _of_device(vq.device), _of_queue(vq), (vq,))


def device(dev):
    """The same for a device and all of its queues."""
    queues = [dev.queues[i] for i in sorted(dev.queues)]
    return _say(dev, _of_device(dev), *[_of_queue(vq) for vq in queues], queues)


def _say(dev, *findings):
    for finding in findings[:-1]:
        for section, text in finding:
            text = "%s: %s (virtio %s)" % (dev.name, text, section)
            print(text)
            return text
    flying = sum(vq.in_flight for vq in findings[-1])
    if flying:
        print("%s: no rule is broken, %d chain(s) are with the device: it is its turn" % (dev.name, flying))
    else:
        print("%s: no rule is broken, and the device was asked for nothing" % dev.name)
    return None


def _of_device(dev):
    """(section, what is wrong) for everything that is wrong with the device as a whole."""
    if not dev.is_open:
        yield "3.1.1", "it is closed: open() it"
        return
    if dev.error is not None:
        yield "2.1.1", "it was given up: %s; close() it and open() it" % dev.error.args[-1]
    transport = dev.transport
    status = transport.status()
    if status in (0xFF, 0xFFFFFFFF):
        yield "2.1", "its registers read as ones: it is gone"
        return
    for bit, section, text in (
        (_t.NEEDS_RESET, "2.1.2", "it says DEVICE_NEEDS_RESET: close() it and open() it"),
        (_t.FAILED, "2.1.1", "FAILED is set: close() it and open() it"),
    ):
        if status & bit:
            yield section, text
    if status == 0:
        yield "2.4", "its status is 0: somebody has reset it"
    for bit, name, step in ((1, "ACKNOWLEDGE", 2), (2, "DRIVER", 3), (8, "FEATURES_OK", 6), (4, "DRIVER_OK", 8)):
        if not status & bit and not (bit == 8 and transport.legacy):
            yield "3.1.1 step %d" % step, "%s is not set, status is %s" % (name, _t.status_names(status))
    for finding in _of_features(dev):
        yield finding
    for finding in _of_interrupts(dev):
        yield finding


def _of_features(dev):
    if not dev.transport.legacy and not dev.has(32):
        yield "6.1", "VERSION_1 was not negotiated"
    if dev.features & ~dev.offered:
        yield "2.2.1", "features that it does not offer: %s" % _t.feature_names(dev.features & ~dev.offered)
    if dev.offered >> 33 & 1 and not dev.has(33):
        yield "6.1", "it offers ACCESS_PLATFORM, which was not accepted: it may not reach memory"


def _of_interrupts(dev):
    transport = dev.transport
    if not dev.wants_interrupts:
        return
    if not dev._connected:
        yield "2.9", "interrupts are on, and no handler is connected (%s)" % transport.interrupt_text()
    elif transport.silenced():
        yield (
            "2.9",
            "its interrupt was silenced after a storm (%s): interrupts(True) enables it" % transport.interrupt_text(),
        )
    elif hasattr(transport, "version") and transport.isr():
        yield (
            "4.2.3.4",
            "InterruptStatus is %d and nobody acknowledges it (%s)"
            % (
                transport.isr(),
                transport.interrupt_text(),
            ),
        )


def _of_queue(vq):
    """(section, what is wrong) for everything that is wrong with a queue."""
    name = "queue %d: " % vq.index
    if not vq.live:
        yield "2.4", name + "it is from before a reset: take the one of the open device"
        return
    for section, text in _of_memory(vq):
        yield section, name + text
    for section, text in _of_registers(vq):
        yield section, name + text
    filled, published = vq._word(9), vq._word(10)
    if filled != published:
        section = "2.8.21.2" if vq.packed else "2.7.13.3"
        yield section, name + "chains were added and not shown to the device: notify()"
    for section, text in _of_packed(vq) if vq.packed else _of_split(vq):
        yield section, name + text
    done = vq._word(19)
    if done:
        yield "2.8.22" if vq.packed else "2.7.14", name + "%d used chain(s) wait to be taken: get() or wait()" % done


def _of_memory(vq):
    """Alignment and size of the ring."""
    area = 4 if vq.packed else 2
    for what, addr, align in (("ring", vq.desc, 16), ("driver area", vq.avail, area), ("device area", vq.used, 4)):
        if addr % align:
            yield "2.8.11" if vq.packed else "2.7.1", "the %s at %#x is not aligned to %d" % (what, addr, align)
    if not vq.packed and vq.size & (vq.size - 1):
        yield "2.7", "%d entries are no power of two" % vq.size


def _of_registers(vq):
    """What the transport can read back of what the device was told."""
    transport = vq.device.transport
    enabled, size, desc, avail, used = transport.queue_state(vq.index)
    if not enabled:
        yield "4.2.3.2" if hasattr(transport, "version") else "4.1.5.1.3", "the device does not have it enabled"
        return
    if size is not None and size != vq.size:
        yield "4.1.4.3.2", "the device has %d entries, the driver %d" % (size, vq.size)
    for what, theirs, ours in (
        ("ring", desc, vq.desc),
        ("driver area", avail, vq.avail),
        ("device area", used, vq.used),
    ):
        if theirs is not None and theirs != ours:
            yield "4.1.4.3.2", "the device has the %s at %#x, the driver at %#x" % (what, theirs, ours)
    addr = struct.unpack_from("<Q", vq._state.buf, 80)[0]
    told = transport.notify_register(vq.index)[0]
    if addr != told:
        yield (
            "4.2.3.3" if hasattr(transport, "version") else "4.1.4.4",
            "notifications go to %#x instead of %#x" % (addr, told),
        )


def _of_split(vq):
    """Indices of a split ring."""
    published, taken = vq._word(10), vq._word(11)
    idx = _u16(vq, vq.avail + 2)
    if idx != published:
        yield "2.7.6", "avail.idx is %d, %d was written there" % (idx, published)
    ahead = (used_idx(vq) - taken) & 0xFFFF
    if ahead > vq.in_flight:
        yield (
            "2.7.8",
            "the device has used.idx at %d, %d ahead, with %d in flight" % (used_idx(vq), ahead, vq.in_flight),
        )
    elif ahead:
        yield "2.7.14", "%d used chain(s) lie in the ring: reap(), get() or wait()" % ahead
    if vq.device.wants_interrupts and not vq._word(15) & 4:
        yield "2.7.7", "interrupts are on, but this queue does not ask for them: enable_cb()"
    if vq.in_flight and not vq.event_idx and _u16(vq, vq.used) & 1:
        yield "2.7.10", "the device wants no notifications, so it must look by itself"
    if vq.in_flight and vq.event_idx:
        missed = (published - avail_event(vq)) & 0xFFFF
        if 0 < missed <= vq.in_flight:
            yield "2.7.10", "the device was notified and has not looked at the newest %d chains" % missed


def _of_packed(vq):
    """Descriptors of a packed ring."""
    taken = vq._word(11)
    at = vq.desc + 16 * (taken & 0x7FFF)
    flags = _u16(vq, at + 14)
    if flags & 0x8080 == (0x8080 if taken >> 15 else 0):
        ident = _u16(vq, at + 12)
        if ident >= vq.size or ring.state(vq.st, ident) != -1:
            yield "2.8.4", "slot %d is used, with buffer id %d that is not in flight" % (taken & 0x7FFF, ident)
        else:
            yield "2.8.22", "used chains lie in the ring: reap(), get() or wait()"
    flags = _u16(vq, vq.used + 2)
    if flags > 2 or flags == 2 and not vq.event_idx:
        yield "2.8.14", "the device's event flags are %#x" % flags
    if vq.device.wants_interrupts and _u16(vq, vq.avail + 2) == 1:
        yield "2.8.10", "interrupts are on, but this queue does not ask for them: enable_cb()"
    if vq.in_flight and flags == 1:
        yield "2.8.10", "the device wants no notifications, so it must look by itself"
