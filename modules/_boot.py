"""Start-up: at power-on start what is to be started; always ends at the prompt, never in an error."""


def _start():
    import entropy
    import riscv

    entropy.register()  # os.urandom from virtio-rng, from its first use on
    if riscv.reset_cause() != 1:
        return  # soft reset: the user wants the prompt
    try:
        from loader import policy

        why_not = policy.wanted()
        if why_not:
            print("not booting: " + why_not)
            return
        from loader import auto

        auto.autoboot()
    except KeyboardInterrupt:
        print("\nstopped")
    except SystemExit:
        pass
    except BaseException as e:
        _tell(e)


def _tell(e):
    # What a kernel or disk is at fault for is one line; a script's error comes with its traceback.
    from loader import policy

    if isinstance(e, (OSError, ValueError)) and not policy.in_script:
        text = e.args[-1] if e.args and isinstance(e.args[-1], str) else ""
        number = "[Errno %d] " % e.args[0] if len(e.args) > 1 and isinstance(e, OSError) else ""
        print("boot failed: %s: %s%s" % (type(e).__name__, number, text))
    else:
        import sys

        sys.print_exception(e)


def _word(name):
    # U-Boot's file commands for the prompt and for start scripts, imported when first used.
    def call(*args):
        from fs import cmd

        return getattr(cmd, name)(*args)

    return call


ls, load, size = _word("ls"), _word("load"), _word("size")
_start()
del _start, _tell, _word
