"""virtio-mem and virtio-pmem."""

MUTATIONS = [
    (
        "MEM-11",
        "virtio/mem.py",
        "            if not self._in_use(block):\n                self.unplug(block)\n",
        "            self._used = {}\n            self.unplug(block)\n",
        "tests/host/test_mem.py::test_memory_in_use_stays",
    ),
    (
        "MEM-05",
        "virtio/mem.py",
        "            self._request(_UNPLUG_ALL)\n",
        "            pass\n",
        "tests/host/test_mem.py::test_what_was_left_plugged_goes_back",
    ),
    (
        "MEM-12",
        "virtio/mem.py",
        "            view[at : at + len(zeros)] = zeros\n",
        "            pass\n",
        "tests/host/test_mem.py::test_it_follows_what_the_host_wants",
    ),
    (
        "MEM-14",
        "virtio/mem.py",
        "        for block in range(self._usable()):\n",
        "        self._usable = lambda: 16\n        for block in range(self._usable()):\n",
        "tests/host/test_mem.py::test_it_follows_what_the_host_wants",
    ),
    (
        "MEM-21",
        "virtio/mem.py",
        "        if code:\n            text",
        "        if code and kind != _STATE:\n            text",
        "tests/host/test_mem.py::test_answers_that_say_no",
    ),
    (
        "PMEM-01",
        "virtio/pmem.py",
        "self.transport.shm(0)",
        "self.transport.shm(1)",
        "tests/host/test_pmem.py::test_bytes_and_sectors_are_safe_after_a_flush",
    ),
    (
        "PMEM-02",
        "virtio/pmem.py",
        "        if self.has(_SHMEM_REGION):\n",
        "        self.config_u64(_START)\n        if self.has(_SHMEM_REGION):\n",
        "tests/host/test_pmem.py::test_bytes_and_sectors_are_safe_after_a_flush",
    ),
]
