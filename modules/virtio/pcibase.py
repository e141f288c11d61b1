"""What both PCI interfaces share: the reset, bus mastering, the table of devices that C resets, interrupts."""

import errno
import time

import riscv
from micropython import const

from .transport import DeviceError

_COMMAND = const(4)  # of configuration space
_NO_INTX = const(1 << 10)
_NO_VECTOR = const(0xFFFF)
_RESET_MS = const(1000)
_VECTORS = const(17)  # asked for at most: configuration and 16 queues


class Vectors:
    """The MSI-X vectors of an open device: one for configuration changes, the others for queues."""

    def __init__(self, transport, table, queues):
        self.transport = transport
        self.table = table
        self.handler = None
        self.mapped = False  # configuration changes have their vector
        self.messages = []
        self.missed = 0  # bits that came while nobody was connected
        import irq

        want = min(table.size, queues + 1, _VECTORS)
        self.shared = want <= queues  # some queues have one together
        try:
            for vector in range(want):
                self.messages.append(irq.msi(self._callback(vector, want)))
        except OSError:
            if not self.messages:
                raise
            self.shared = True
        for vector, message in enumerate(self.messages):
            table.set(vector, message.addr, message.data)
        table.enable(True)

    def _callback(self, vector, want):
        if vector == 0:

            def config(number):
                # With one vector for all it is not known what happened.
                bits = 3 if len(self.messages) == 1 else 2
                if self.handler is None:
                    self.missed |= bits
                    return True
                return self.handler(bits, None)

            return config

        def used(number):
            return self.handler is not None and self.handler(1, None if self.shared else vector - 1)

        return used

    def of_queue(self, index):
        """The vector of a queue."""
        n = len(self.messages)
        return 1 + index % (n - 1) if n > 1 else 0

    def take_missed(self):
        """What isr() tells where messages come instead of bits in a register."""
        bits = self.missed
        self.missed = 0
        return bits

    def close(self):
        self.table.enable(False)
        for message in self.messages:
            message.close()
        self.messages = []

    def __repr__(self):
        n = len(self.messages)
        return "MSI-X %d vector%s" % (n, "" if n == 1 else "s")


class PCIBase:
    """A virtio device on PCI; see transport.py for the contract."""

    def __init__(self, function, device_id):
        self.function = function
        self.device_id = device_id
        self.vendor_id = function.vendor
        self.why = ""  # this interface was chosen
        self.vectors = None
        self._armed = 0  # address in the table of devices that C resets
        self._source = None
        self._handler = None
        self._interrupt_bound = self._interrupt

    @property
    def name(self):
        return "pci@" + self.function.name

    @property
    def gone(self):
        """Whether it was pulled out; it no longer touches memory then."""
        return not self.function.present

    # -- reset -----------------------------------------------------------------------------------

    def reset(self):
        """Reset and wait until the device says so (2.4, 4.1.4.3.2); DeviceError after a second."""
        if self.gone:
            return
        self.set_status(0)
        start = time.ticks_ms()
        while self.status() != 0:
            if self.gone:
                return
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise DeviceError("%s: reset: status stays %#x" % (self.name, self.status()))

    # -- bus mastering, and the table of devices that C resets ----------------------------------

    def arm(self):
        """Let the device access memory; from now on it is reset when Python cannot do it."""
        if self._armed:
            return
        if self.gone:
            raise OSError(errno.ENODEV, "%s: the device is gone" % self.name)
        where = self.status_address()
        if where:
            riscv.quiesce_add(where, 1)
        else:  # out of the CPU's reach: clear its command register, bus mastering with it
            where = self.function.config + _COMMAND
            riscv.quiesce_add(where, 2)
        self._armed = where
        self.function.master(True)
        self._add_vectors()

    def disarm(self):
        if not self._armed:
            return
        where = self._armed
        self._armed = 0
        if self.vectors is not None:
            self.vectors.close()
            self.vectors = None
        self.function.master(False)
        riscv.quiesce_remove(where)
        bridge = self.function.bridge
        if bridge is not None and bridge.wanted_out:
            from pci import hotplug

            hotplug.release(bridge)

    # -- interrupts -----------------------------------------------------------------------------

    def _add_vectors(self):
        """Use MSI-X where device and machine have it: vectors are fixed before queues are enabled."""
        if not hasattr(riscv, "msi_alloc"):
            return
        from pci.msix import MSIX

        try:
            self.vectors = Vectors(self, MSIX(self.function), self.num_queues())
        except OSError:
            pass  # the pin, then

    def map_queue(self, index):
        """Map a queue to its vector, before the first one configuration changes to theirs.

        The device has to confirm it (4.1.5.1.2.2). Where it does not for the configuration, the pin serves.
        """
        vectors = self.vectors
        if vectors is not None and not vectors.mapped:
            if self.set_config_vector(0) != 0:
                vectors.close()
                self.vectors = vectors = None
            else:
                vectors.mapped = True
        if vectors is not None:
            vector = vectors.of_queue(index)
            if self.set_queue_vector(vector) != vector:
                raise DeviceError("%s: queue %d gets no MSI-X vector" % (self.name, index))

    def connect(self, handler):
        """Call handler(bits, queue index or None) by interrupt. OSError(ENODEV): there is no way."""
        if self.vectors is not None:
            self.vectors.handler = handler
            return
        import irq
        from pci import intx

        if self._source is None:
            self._source = intx.source(self.function)[0]
        self._handler = handler
        try:
            irq.connect(self._source, self._interrupt_bound)
        except OSError as er:
            self._handler = None
            raise OSError(er.errno, "%s: no interrupt" % self.name)
        self.function.command(_NO_INTX, False)

    def disconnect(self):
        """No more calls."""
        if self.vectors is not None:
            self.vectors.handler = None
        if self._handler is not None:
            import irq

            self.function.command(_NO_INTX, True)
            irq.disconnect(self._source, self._interrupt_bound)
            self._handler = None

    def _interrupt(self, source):
        """Ask the device whether it was this one; reading ISR acknowledges (4.1.4.5)."""
        bits = self.isr()
        handler = self._handler
        if not bits or handler is None:
            return False
        return handler(bits, None)

    def silenced(self):
        import irq

        if self.vectors is not None:
            return any([irq.silenced(message.source) for message in self.vectors.messages])
        return bool(self._source) and irq.silenced(self._source)

    def interrupt_text(self):
        if self.vectors is not None:
            return repr(self.vectors)
        from pci import intx

        try:
            self._source = intx.source(self.function)[0]
        except OSError as e:
            return "none" if e.errno == errno.ENODEV else "unknown"
        return "INT%s# %d" % ("ABCD"[self.function.pin - 1], self._source)
