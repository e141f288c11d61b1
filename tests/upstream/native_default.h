// Included before py/runtime.c of the test firmware that makes native code of all Python it is given: there mp_init()
// sets what becomes of functions without a decorator.
#include <stdarg.h> // first, as there: py/obj.h looks whether it is

#include "py/emitglue.h"
#define MP_EMIT_OPT_NONE MP_EMIT_OPT_NATIVE_PYTHON
