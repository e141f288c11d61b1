# What is frozen. Level 1 drops asserts and keeps line numbers.
# ruff: noqa: F821
import os

# Sorted: the order that a folder happens to have must not show in the firmware.
MODULES = os.path.abspath("../../modules")
for folder, subfolders, names in os.walk(MODULES):
    subfolders[:] = sorted(name for name in subfolders if not name.startswith(("_", ".")))
    scripts = (os.path.join(folder, name) for name in sorted(names) if name.endswith(".py"))
    freeze(MODULES, [os.path.relpath(script, MODULES) for script in scripts], opt=1)
include("$(MPY_DIR)/extmod/asyncio")
