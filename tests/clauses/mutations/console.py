"""Ways to break the rules of consoles (5.3)."""

MUTATIONS = [
    (
        "CON-01",
        "virtio/port.py",
        "        for i in range(len(self._rx)):\n            receiveq.add((), (self._rx[i],), i)\n",
        "        for i in range(len(self._rx)):\n            receiveq.add((self._tx[0],), (self._rx[i],), i)\n",
        "tests/host/test_console.py::test_console_sends_and_receives",
    ),
    (
        "CON-02",
        "virtio/port.py",
        "self._transmitq.add((self._tx[i][:n],), (), i)",
        "self._transmitq.add((self._tx[i][:n],), (bytearray(1),), i)",
        "tests/host/test_console.py::test_console_sends_and_receives",
    ),
    (
        "CON-03",
        "virtio/console.py",
        "self._tell(0, _DEVICE_READY, 1)",
        "self._tell(0, _DEVICE_READY, 0)",
        "tests/host/test_console.py::test_ports_are_there_by_number_and_name",
    ),
    (
        "CON-05",
        "virtio/console.py",
        "            self._tell(number, _PORT_OPEN, 1)\n            if not",
        "            if not",
        "tests/host/test_console.py::test_ports_are_there_by_number_and_name",
    ),
    (
        "CON-06",
        "virtio/console.py",
        "            self._tell(number, _PORT_OPEN, 1)\n            if not",
        "            self._tell(number, _PORT_OPEN, 0)\n            if not",
        "tests/host/test_console.py::test_ports_are_there_by_number_and_name",
    ),
    (
        "CON-LEG-02",
        "virtio/console.py",
        'struct.pack("<IHH", number, event, value)',
        'struct.pack(">IHH", number, event, value)',
        "tests/host/test_console.py::test_ports_are_there_by_number_and_name",
    ),
    (
        "CON-LEG-04",
        "virtio/console.py",
        "queue.add((message,), (), event + 1)\n        except",
        "queue.add((message[:4], message[4:]), (), event + 1)\n        except",
        "tests/host/test_console.py::test_ports_are_there_by_number_and_name",
    ),
]
