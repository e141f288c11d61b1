"""virtio-iommu (5.13): which memory the devices behind it reach, at which addresses, and what they tried in vain."""

import errno
import struct
from collections import namedtuple

from micropython import const

from .device import Device

_INPUT_RANGE = const(0)
_DOMAIN_RANGE = const(1)
_MAP_UNMAP = const(2)
_PROBE = const(4)
_MMIO = const(5)
_BYPASS_CONFIG = const(6)

_PAGE_SIZE_MASK = const(0)
_INPUT_START = const(8)
_INPUT_END = const(16)
_DOMAIN_START = const(24)
_DOMAIN_END = const(28)
_PROBE_SIZE = const(32)
_BYPASS = const(36)

_ATTACH = const(1)
_DETACH = const(2)
_MAP = const(3)
_UNMAP = const(4)
_PROBE_ENDPOINT = const(5)
_STATUS = ("OK", "IOERR", "UNSUPP", "DEVERR", "INVAL", "RANGE", "NOENT", "FAULT", "NOMEM")

_T_MASK = const(0xFFF)  # of a property's type; the rest is reserved
_T_RESV_MEM = const(1)
_MSI = const(1)

_FAULT = "<B3sIIIQ"  # reason, reserved, flags, endpoint, reserved1, address
_FAULT_SIZE = const(24)
_F_READ = const(1)
_F_WRITE = const(2)
_F_ADDRESS = const(0x100)
_REASONS = ("UNKNOWN", "DOMAIN", "MAPPING")

_EVENTS = const(16)
_KEPT = const(64)  # faults that nobody has asked for yet
_ALL = const(0xFFFFFFFF)
_TIMEOUT_MS = const(1000)

READ = const(1)
WRITE = const(2)
MMIO = const(4)

Fault = namedtuple("Fault", ("reason", "endpoint", "access", "address"))
Reserved = namedtuple("Reserved", ("kind", "start", "end"))


class Domain:
    """An address space: endpoints that share it, and mappings {first: (last, physical address, flags)}."""

    def __init__(self, number, bypass):
        self.number = number
        self.bypass = bypass
        self.endpoints = set()
        self.mappings = {}

    def __repr__(self):
        what = "bypass" if self.bypass else "%d mappings" % len(self.mappings)
        return "<domain %d: %s, endpoints %s>" % (self.number, what, sorted(self.endpoints))


class IOMMU(Device):
    """attach(endpoint), map(), unmap(), detach(); identity(endpoint) gives a device all of RAM. faults() tells.

    An endpoint is a number; of a PCI device it is bus << 8 | slot << 3 | function. The lasts of all
    ranges are inclusive in the device and exclusive here: start and size.
    """

    NAME = "iommu"
    IDS = (23,)
    FEATURES = 1 << _INPUT_RANGE | 1 << _DOMAIN_RANGE | 1 << _MAP_UNMAP | 1 << _PROBE | 1 << _MMIO | 1 << _BYPASS_CONFIG
    FEATURE_NAMES = {
        0: "INPUT_RANGE",
        1: "DOMAIN_RANGE",
        2: "MAP_UNMAP",
        3: "BYPASS",
        4: "PROBE",
        5: "MMIO",
        6: "BYPASS_CONFIG",
    }

    def __init__(self, transport, name):
        Device.__init__(self, transport, name)
        self.on_fault = None  # called with each Fault, by interrupt or when somebody looks

    def probe(self):
        self._requestq = self.queue(0)
        self._eventq = self.queue(1)
        mask = self.config_u64(_PAGE_SIZE_MASK)
        if not mask:
            self.fail("page_size_mask is 0")
        self.page = mask & -mask
        self.input_range = (0, (1 << 64) - 1)
        if self.has(_INPUT_RANGE):
            self.input_range = (self.config_u64(_INPUT_START), self.config_u64(_INPUT_END))
        self.domain_range = (0, _ALL)
        if self.has(_DOMAIN_RANGE):
            self.domain_range = (self.config_u32(_DOMAIN_START), self.config_u32(_DOMAIN_END))
        self._probe_size = self.config_u32(_PROBE_SIZE) if self.has(_PROBE) else 0
        self.domains = {}
        self._known = {}  # endpoint -> [Reserved]
        self._faults = []
        self.lost = 0  # faults that were dropped because nobody asked
        count = min(_EVENTS, self._eventq.size)
        store = memoryview(bytearray(count * _FAULT_SIZE))
        self._events = [store[i * _FAULT_SIZE : (i + 1) * _FAULT_SIZE] for i in range(count)]

    def ready(self):
        for i in range(len(self._events)):
            self._eventq.add((), (self._events[i],), i)
        self._eventq.notify()

    def about(self):
        return "%d domains" % len(self.domains)

    # -- requests --------------------------------------------------------------------------------

    def _request(self, what, kind, body, room=0):
        # Send one and wait; the bytes that came back before the tail. what: for messages.
        self.check()
        answer = bytearray(room + 4)
        answer[room] = 0xFF
        data = struct.pack("<I", kind) + body
        if not self._requestq.wait(self._requestq.add((data,), (answer,)), _TIMEOUT_MS):
            raise OSError(errno.EIO, "%s: %s: no status came" % (self.name, what))
        status = answer[room]
        if status:
            text = _STATUS[status] if status < len(_STATUS) else "status %d" % status
            number = errno.EOPNOTSUPP if status == 2 else errno.EIO
            raise OSError(number, "%s: %s: %s" % (self.name, what, text))
        return answer[:room]

    @property
    def bypass(self):
        """Whether endpoints that are not attached reach everything; None: the device does not tell."""
        return self.config_u8(_BYPASS) & 1 != 0 if self.has(_BYPASS_CONFIG) else None

    @bypass.setter
    def bypass(self, on):
        self.check()
        if not self.has(_BYPASS_CONFIG):
            raise OSError(errno.EOPNOTSUPP, "%s: BYPASS_CONFIG is not offered" % self.name)
        self.transport.set_config(_BYPASS, 1, 1 if on else 0)

    def domain(self, bypass=False):
        """A new Domain; with bypass its endpoints reach everything, and nothing is mapped."""
        self.check()
        number, last = self.domain_range
        while number in self.domains:
            number += 1
        if number > last:
            raise OSError(errno.ENOMEM, "%s: all domains up to %d are in use" % (self.name, last))
        if bypass and not self.has(_BYPASS_CONFIG):
            raise OSError(errno.EOPNOTSUPP, "%s: BYPASS_CONFIG is not offered" % self.name)
        if not bypass:
            self._need_map()
        domain = self.domains[number] = Domain(number, bypass)
        return domain

    def _need_map(self):
        if not self.has(_MAP_UNMAP):
            raise OSError(errno.EOPNOTSUPP, "%s: MAP_UNMAP is not offered" % self.name)

    def attach(self, endpoint, domain=None):
        """Put an endpoint into a domain (a new one without), out of what it was in; returns the domain."""
        self.properties(endpoint)
        fresh = domain is None
        domain = self.domain() if fresh else domain
        self._ours(domain)
        body = struct.pack("<IIII", domain.number, endpoint, 1 if domain.bypass else 0, 0)
        try:
            self._request("attach endpoint %#x to domain %d" % (endpoint, domain.number), _ATTACH, body)
        except BaseException:
            if fresh:
                del self.domains[domain.number]
            raise
        self._leave(endpoint, domain)
        domain.endpoints.add(endpoint)
        return domain

    def detach(self, endpoint):
        """Take an endpoint out of its domain. A domain without endpoints is no more."""
        domain = self.domain_of(endpoint)
        if domain is None:
            raise ValueError("%s: endpoint %#x is not attached" % (self.name, endpoint))
        body = struct.pack("<IIII", domain.number, endpoint, 0, 0)
        self._request("detach endpoint %#x from domain %d" % (endpoint, domain.number), _DETACH, body)
        self._leave(endpoint, None)

    def domain_of(self, endpoint):
        """The Domain that an endpoint is attached to, or None."""
        for domain in self.domains.values():
            if endpoint in domain.endpoints:
                return domain
        return None

    def _leave(self, endpoint, new):
        old = self.domain_of(endpoint)
        if old is not None and old is not new:
            old.endpoints.discard(endpoint)
            if not old.endpoints:
                del self.domains[old.number]

    def _ours(self, domain):
        self.check()
        if self.domains.get(domain.number) is not domain:
            raise ValueError("%s: domain %d is no more" % (self.name, domain.number))

    # -- mappings ----------------------------------------------------------------------------------

    def map(self, domain, virt, phys, size, flags=READ | WRITE):
        """Let the endpoints of a domain reach size bytes at phys as virt. flags: READ, WRITE, MMIO together.

        ValueError: no whole pages, outside the input range, over another mapping or a reserved region.
        """
        self._ours(domain)
        last = self._check_range(domain, virt, size)
        if phys % self.page:
            raise ValueError("%#x is no multiple of the page, %d bytes" % (phys, self.page))
        if flags & ~(READ | WRITE | MMIO) or not flags & (READ | WRITE):
            raise ValueError("flags %#x: READ, WRITE and MMIO there are" % flags)
        if flags & MMIO and not self.has(_MMIO):
            raise OSError(errno.EOPNOTSUPP, "%s: MMIO is not offered" % self.name)
        for first, (end, _, _) in domain.mappings.items():
            if virt <= end and first <= last:
                raise ValueError("%#x to %#x is mapped already" % (first, end))
        for endpoint in domain.endpoints:
            for region in self._known.get(endpoint, ()):
                if virt < region.end and region.start <= last:
                    raise ValueError("%#x: reserved for endpoint %#x (%s)" % (region.start, endpoint, region.kind))
        body = struct.pack("<IQQQI", domain.number, virt, last, phys, flags)
        self._request("map %#x+%#x in domain %d" % (virt, size, domain.number), _MAP, body)
        domain.mappings[virt] = (last, phys, flags)

    def unmap(self, domain, virt, size):
        """Take mappings away; gaps are allowed. ValueError: the range splits a mapping."""
        self._ours(domain)
        last = self._check_range(domain, virt, size)
        inside = []
        for first, (end, _, _) in domain.mappings.items():
            if virt <= end and first <= last:
                if first < virt or end > last:
                    raise ValueError("%#x to %#x is one mapping and cannot be split" % (first, end))
                inside.append(first)
        body = struct.pack("<IQQI", domain.number, virt, last, 0)
        self._request("unmap %#x+%#x in domain %d" % (virt, size, domain.number), _UNMAP, body)
        for first in inside:
            del domain.mappings[first]

    def _check_range(self, domain, virt, size):
        # The last address.
        self._need_map()
        if domain.bypass:
            raise ValueError("domain %d bypasses: nothing is mapped there" % domain.number)
        if size <= 0 or virt % self.page or size % self.page:
            raise ValueError("%#x+%#x: no multiples of the page, %d bytes" % (virt, size, self.page))
        first, last = self.input_range
        if virt < first or virt + size - 1 > last:
            raise ValueError("%#x+%#x is outside of %#x to %#x" % (virt, size, first, last))
        return virt + size - 1

    def identity(self, endpoint):
        """Let an endpoint reach all of RAM at its own addresses, as without an IOMMU; returns the Domain."""
        import riscv

        domain = self.attach(endpoint)
        for start, end in riscv.ram():
            for first, stop in self._around(endpoint, start & -self.page, end & -self.page):
                self.map(domain, first, first, stop - first)
        return domain

    def _around(self, endpoint, start, end):
        # The pieces of a range that are not reserved.
        for region in sorted(self._known.get(endpoint, ()), key=lambda region: region.start):
            if region.start < end and region.end > start:
                stop = region.start & -self.page
                if stop > start:
                    yield start, stop
                start = max(start, -(-region.end & -self.page))
        if start < end:
            yield start, end

    # -- what the device knows -----------------------------------------------------------------------

    def properties(self, endpoint):
        """The regions that an endpoint must not have mapped: [Reserved], [] where the device cannot tell."""
        self.check()
        if endpoint in self._known or not self._probe_size:
            return self._known.get(endpoint, [])
        body = struct.pack("<I", endpoint) + bytes(64)
        data = self._request("probe endpoint %#x" % endpoint, _PROBE_ENDPOINT, body, self._probe_size)
        found = self._known[endpoint] = self._parse(data)
        return found

    def _parse(self, data):
        found = []
        at = 0
        while at + 4 <= len(data):
            kind, size = struct.unpack_from("<HH", data, at)
            at += 4
            if not kind & _T_MASK:
                break
            if at + size > len(data):
                self.fail("property %d of %d bytes, %d there" % (kind, size, len(data) - at))
            if kind == _T_RESV_MEM and size >= 20:
                subtype, start, last = struct.unpack_from("<B3xQQ", data, at)
                found.append(Reserved("MSI" if subtype == _MSI else "RESERVED", start, last + 1))
            at += size
        return found

    # -- faults ------------------------------------------------------------------------------------------

    def faults(self):
        """What devices tried in vain since the last call: [Fault(reason, endpoint, access, address)].

        reason: 'DOMAIN' (not attached), 'MAPPING' (not mapped, or not so) or 'UNKNOWN'; access: 'r', 'w',
        'rw' or ''; address: None where the device does not tell.
        """
        self.check()
        self._take_faults()
        found, self._faults = self._faults, []
        return found

    def on_interrupt(self):
        self._take_faults()

    def _take_faults(self):
        queue = self._eventq
        found = queue.get()
        while found is not None:
            i, size = found
            if size < _FAULT_SIZE:
                self.fail("fault report of %d bytes, not %d" % (size, _FAULT_SIZE))
            reason, reserved, flags, endpoint, _, address = struct.unpack_from(_FAULT, self._events[i])
            queue.add((), (self._events[i],), i)
            queue.notify()
            if not any(reserved):
                self._fault(reason, flags, endpoint, address)
            found = queue.get()

    def _fault(self, reason, flags, endpoint, address):
        access = ("r" if flags & _F_READ else "") + ("w" if flags & _F_WRITE else "")
        name = _REASONS[reason] if reason < len(_REASONS) else "UNKNOWN"
        fault = Fault(name, endpoint, access, address if flags & _F_ADDRESS else None)
        if len(self._faults) < _KEPT:
            self._faults.append(fault)
        else:
            self.lost += 1
        if self.on_fault is not None:
            self.on_fault(fault)
