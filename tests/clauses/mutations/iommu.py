"""virtio-iommu."""

MUTATIONS = [
    (
        "IOMMU-04",
        "virtio/iommu.py",
        "self.transport.set_config(_BYPASS, 1, 1 if on else 0)",
        "self.transport.set_config(_BYPASS, 1, on)",
        "tests/host/test_iommu.py::test_bypass",
    ),
    (
        "IOMMU-11",
        "virtio/iommu.py",
        "        if virt < first or virt + size - 1 > last:\n",
        "        if virt < first or virt > last:\n",
        "tests/host/test_iommu.py::test_what_the_device_must_not_be_asked",
    ),
    (
        "IOMMU-12",
        "virtio/iommu.py",
        "        number, last = self.domain_range\n",
        "        number, last = 0, _ALL\n",
        "tests/host/test_iommu.py::test_domains_are_shared_moved_between_and_bypassed",
    ),
    (
        "IOMMU-20",
        "virtio/iommu.py",
        '"<IQQQI", domain.number, virt, last, phys, flags',
        '"<IQQQI", domain.number, virt, virt, phys, flags',
        "tests/host/test_iommu.py::test_an_endpoint_reaches_what_is_mapped_and_no_more",
    ),
    (
        "IOMMU-28",
        "virtio/iommu.py",
        "                if first < virt or end > last:\n",
        "                if end > last:\n",
        "tests/host/test_iommu.py::test_what_the_device_must_not_be_asked",
    ),
    (
        "IOMMU-29",
        "virtio/iommu.py",
        "                if first < virt or end > last:\n",
        "                if first < virt:\n",
        "tests/host/test_iommu.py::test_what_the_device_must_not_be_asked",
    ),
    (
        "IOMMU-31",
        "virtio/iommu.py",
        "_PROBE_ENDPOINT, body, self._probe_size)",
        "_PROBE_ENDPOINT, body, self._probe_size - 4)",
        "tests/host/test_iommu.py::test_an_endpoint_reaches_what_is_mapped_and_no_more",
    ),
    (
        "IOMMU-35",
        "virtio/iommu.py",
        "            if kind == _T_RESV_MEM and size >= 20:\n",
        "            if kind & _T_MASK == _T_RESV_MEM and size >= 20:\n",
        "tests/host/test_iommu.py::test_reserved_regions_are_found_among_noise_and_left_alone",
    ),
    (
        "IOMMU-40",
        "virtio/iommu.py",
        "            if not any(reserved):\n",
        "            if True:\n",
        "tests/host/test_iommu.py::test_fault_reports_with_noise",
    ),
]
