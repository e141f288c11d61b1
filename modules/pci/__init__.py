"""PCI: the functions behind the host bridges that the devicetree names; pci.help() lists the words.

Knows no virtio. The firmware is the first on the machine, so buses are numbered and BARs assigned
here, on first use.
"""

_hosts = None
_tree = None  # that they are from


def hosts(tree=None):
    """List of the Hosts, enumerated on the first call. tree: an fdt.FDT, default the system's."""
    global _hosts, _tree
    if _hosts is None or tree is not None and tree is not _tree:
        if tree is None:
            import fdt

            tree = fdt.system()
        _tree = tree
        nodes = [node for node in tree.compatible("pci-host-ecam-generic") if node.enabled]
        found = []
        if nodes:
            from .host import Host

            for node in nodes:
                host = Host(node)
                host.enumerate()
                found.append(host)
        _hosts = found
    return _hosts


def devices():
    """List of all Functions, in the order of their addresses."""
    return [function for host in hosts() for function in host.functions]


def rescan():
    """Look for functions that came or went; (list of new ones, list of lost ones)."""
    new, lost = [], []
    for host in hosts():
        a, b = host.rescan()
        new += a
        lost += b
    return new, lost


def watch(callback):
    """Call callback() by interrupt when something was plugged in, or is to go; returns a Watch to close()."""
    from .hotplug import Watch

    return Watch([f for f in devices() if f.is_bridge and f.hot], callback)


def find(name):
    """The Function at an address as '00:03.0'. OSError(ENODEV)."""
    for function in devices():
        if function.name == name:
            return function
    import errno

    raise OSError(errno.ENODEV, "no PCI function %s" % name)


def dump():
    """Print windows, bridges, functions and their BARs."""
    for host in hosts():
        host.dump()


def help():
    for line in (
        "devices()       list of every function, bridges too",
        "find('00:03.0') the function at that address",
        "rescan()        look for functions that came or went",
        "watch(callback) call it by interrupt when something came, or is to go",
        "dump()          print windows, functions and BARs",
        "hosts()         list of the host bridges",
    ):
        print("  " + line)
    print("A function f: f.bars, f.capabilities(), f.dump(), f.read(offset, width).")
