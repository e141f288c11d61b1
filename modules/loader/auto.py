"""The order of things at power-on; says what it does in one line, and why nothing was started."""

from . import policy


def autoboot():
    """Start what is there to be started; returns when there is nothing, or a key stopped it."""
    script = policy.given_script()
    if script:
        return policy.run_script(*script)
    given = policy.given_kernel()
    if given:
        return _given(*given)
    return _from_disk()


def _from_disk():
    found, looked = policy.find_boot()
    if not found:
        print("nothing to boot: " + "; ".join(looked))
        return None
    part, volume, path, where = found
    print("%s %s %s" % (where, volume.type, path))
    if path in policy.SCRIPTS:
        return _run_from_disk(part)
    from .boot_label import sysboot

    return sysboot(volume, path, None, False)


def _given(kernel, initrd, append):
    script = policy.script_in(kernel)
    if script:
        return policy.run_script(script, "-kernel")
    from . import plan

    return plan(kernel, initrd, append).boot()


def _run_from_disk(part):
    # The disk becomes the root of the file system: its modules, and main.py after boot.py.
    import os
    import sys

    import fs

    fs.mount(part, "/")
    policy.root = part
    os.chdir("/")
    for folder in ("", "/lib"):
        if folder not in sys.path:
            sys.path.append(folder)
    for name in policy.SCRIPTS:
        try:
            with open(name) as f:
                text = f.read()
        except OSError:
            continue
        policy.run_script(text, name)
