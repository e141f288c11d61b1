"""virtio-gpu."""

MUTATIONS = [
    (
        "GPU-01",
        "virtio/gpu.py",
        "            self.transport.set_config(_EVENTS_CLEAR, 4, events)\n",
        "            self.transport.set_config(_EVENTS_READ, 4, 0)\n",
        "tests/host/test_gpu.py::test_a_changed_display_is_asked_anew",
    ),
    (
        "GPU-02",
        "virtio/gpu.py",
        "            self.transport.set_config(_EVENTS_CLEAR, 4, events)\n",
        "            pass\n",
        "tests/host/test_gpu.py::test_a_changed_display_is_asked_anew",
    ),
    (
        "GPU-03",
        "virtio/gpu.py",
        "            self.update()\n            if self.on_display",
        "            if self.on_display",
        "tests/host/test_gpu.py::test_a_changed_display_is_asked_anew",
    ),
    (
        "GPU-04",
        "virtio/gpu.py",
        "Display(n, words, self.edid(n))",
        "Display(n, words, self.displays[n].edid if self.displays else self.edid(n))",
        "tests/host/test_gpu.py::test_a_changed_display_is_asked_anew",
    ),
    (
        "GPU-05",
        "virtio/gpu.py",
        "    def ready(self):\n        self.update()\n",
        "    def ready(self):\n",
        "tests/host/test_gpu.py::test_displays_and_what_they_tell",
    ),
    (
        "GPU-06",
        "virtio/gpu.py",
        "    FEATURES = 1 << _F_EDID\n",
        "    FEATURES = 0\n",
        "tests/host/test_gpu.py::test_displays_and_what_they_tell",
    ),
    (
        "GPU-09",
        "virtio/gpu.py",
        "payload, fenced=True)",
        "payload)",
        "tests/host/test_gpu.py::test_cursor",
    ),
    (
        "GPU-09",
        "virtio/gpu_frame.py",
        "        self.gpu.transfer(self.id, self.fb.stride, 0, 0, 64, 64, flush=False)\n",
        "",
        "tests/host/test_gpu.py::test_cursor",
    ),
    (
        "GPU-10",
        "virtio/gpu.py",
        "_CURSOR = const(64)",
        "_CURSOR = const(65)",
        "tests/host/test_gpu.py::test_cursor",
    ),
]
