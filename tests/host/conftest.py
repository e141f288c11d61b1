"""Host tests run the frozen modules under CPython: stand-ins for MicroPython's own modules come first."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

import shim  # noqa: E402

shim.install()
