"""From a label of an extlinux.conf to a Plan: paths as the file means them."""

import errno

from . import policy
from .extlinux import parse


def _text(volume, path):
    buf = bytearray(volume.size(path))
    if buf:
        volume.read_into(path, buf)
    return buf.decode()


def _join(folder, path):
    # A path that does not start at the root is relative to the folder of the configuration file.
    return path if path.startswith("/") else folder + "/" + path


def read_config(volume, path=None):
    """The parsed extlinux.conf of a volume. OSError ENOENT."""
    if path is None:
        for path in policy.CONFIGS:
            if policy.exists(volume, path):
                break
        else:
            raise OSError(errno.ENOENT, "no %s on %r" % (" or ".join(policy.CONFIGS), volume))
    folder = path.rsplit("/", 1)[0]
    return parse(_text(volume, path), path, lambda name: _text(volume, _join(folder, name)))


def make_plan(volume, config, label):
    """The Plan of a label. OSError and ValueError name the label's file that is missing or bad."""
    from . import plan

    if label.refused:
        raise ValueError("%s label %s: '%s' is not supported" % (config.name, label.name, label.refused))
    if not label.kernel:
        raise ValueError("%s label %s: names no kernel" % (config.name, label.name))
    folder = config.name.rsplit("/", 1)[0]
    return plan(
        _join(folder, label.kernel),
        [_join(folder, path) for path in label.initrd],
        label.append,
        _find_fdt(volume, folder, label),
        volume,
    )


def _find_fdt(volume, folder, label):
    # fdt names a file; fdtdir a folder to look in for one named after the machine.
    if label.fdt and label.fdt != "-":
        return _join(folder, label.fdt)
    if not label.fdtdir:
        return None
    import fdt

    for name in fdt.system().root.strings("compatible"):
        path = "%s/%s.dtb" % (_join(folder, label.fdtdir).rstrip("/"), name.replace(",", "/"))
        if policy.exists(volume, path):
            return path
    return None


def sysboot(volume, path, label, dry_run):
    """See loader.sysboot()."""
    config = read_config(volume, path)
    if label is None:
        from .menu import choose

        label = choose(config)
        if label is None:
            return None
    else:
        label = config.label(label)
    made = make_plan(volume, config, label)
    if dry_run:
        print(made)
        return made
    print("%s: booting %s" % (config.name, label.text))
    made.boot()
