"""virtio-input."""

MUTATIONS = [
    (
        "INPUT-01",
        "virtio/input.py",
        "        self.transport.set_config(_SELECT + 1, 1, subsel)\n",
        "",
        "tests/host/test_input.py::test_what_the_device_says_of_itself",
    ),
    (
        "INPUT-02",
        "virtio/input.py",
        "        size = self.config_u8(_SIZE)\n",
        "        self.transport.set_config(_SIZE, 1, 0)\n        size = self.config_u8(_SIZE)\n",
        "tests/host/test_input.py::test_what_the_device_says_of_itself",
    ),
    (
        "INPUT-03",
        "virtio/input.py",
        "        size = self.config_u8(_SIZE)\n",
        "        size = 8\n",
        "tests/host/test_input.py::test_what_the_device_says_of_itself",
    ),
    (
        "INPUT-04",
        "virtio/input.py",
        "            self._eventq.add((), (self._slots[i],), i)\n            self._eventq.notify()\n",
        "",
        "tests/host/test_input.py::test_events_come_in_order_and_their_buffers_go_back",
    ),
    (
        "INPUT-05",
        "virtio/input.py",
        "            queue.add((), (self._slots[i],), i)\n",
        "            queue.add((self._slots[i],), (), i)\n",
        "tests/host/test_input.py::test_events_come_in_order_and_their_buffers_go_back",
    ),
    (
        "INPUT-06",
        "virtio/input.py",
        "            queue.add((), (self._slots[i],), i)\n",
        "            queue.add((), (self._slots[i][:4],), i)\n",
        "tests/host/test_input.py::test_events_come_in_order_and_their_buffers_go_back",
    ),
    (
        "INPUT-07",
        "virtio/input.py",
        "(struct.pack(_FORMAT, kind, code, value),), (), name)",
        "(struct.pack(_FORMAT, kind, code, value)[:6],), (), name)",
        "tests/host/test_input.py::test_lights",
    ),
    (
        "INPUT-08",
        "virtio/input.py",
        "if event[0] not in keys.TYPES:",
        "if False:",
        "tests/host/test_input.py::test_events_of_unknown_types_are_skipped",
    ),
]
