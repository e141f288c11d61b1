# The one entry point: `make` alone lists the targets.

BUILD ?= build
override BUILD := $(abspath $(BUILD))
MICROPYTHON ?= micropython
PYTHON ?= python3
VENV ?= $(BUILD)/venv
SMP ?= 2
MEM ?= 256M
LEGACY ?= 0
PYTEST_WORKERS ?= 2
T ?= tests
N ?= 10000
SEED ?= 1
JOBS ?= 1

export PATH := $(PATH):/usr/sbin:/sbin
export SUPPLY_DIR MICROPYTHON_DIR

PY := $(VENV)/bin/python
FIRMWARE := $(BUILD)/firmware.elf
MPY_DIR := $(BUILD)/micropython
MPY_CROSS_BUILD = $(BUILD)/mpy-cross
MPY_CROSS := $(BUILD)/mpy-cross/mpy-cross
DISK := $(BUILD)/disk/demo.img
QEMU_PY := $(PYTHON) tools/qemu.py --firmware $(FIRMWARE) --smp $(SMP) --mem $(MEM) $(if $(filter 1,$(LEGACY)),--legacy)
# version and date for the banner, so that neither the day nor a git repository around it matters
ENV = . $(BUILD)/micropython.env;
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
PYTEST := BUILD=$(BUILD) $(PY) -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## list the targets (this text)
	@echo "Targets (make TARGET):"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1  \2/p' Makefile | while read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done
	@echo "Settings: BUILD=folder SMP=harts MEM=256M LEGACY=1 T=test-file MICROPYTHON_DIR=checkout"
	@echo "          MICROPYTHON=micropython=1.25.0 (a pinned version) SUPPLY_DIR=folder-of-downloads"
	@echo "          make fuzz: N=functions SEED=any JOBS=guests; fuzz-virtio: N=steps SEED=any JOBS=processes"

.PHONY: run
run: firmware disk ## build, boot Debian's Linux from the demo disk, stop
	$(QEMU_PY) --disk $(DISK) --expect "initramfs: user space is up" --time-limit 180

.PHONY: repl
repl: firmware disk ## build and open the REPL with the demo disk attached (leave: Ctrl-] x)
	$(QEMU_PY) --disk $(DISK) --interactive -- -boot menu=on

.PHONY: test
test: firmware disk venv ## run all tests, lint among them
	$(PYTEST) -n $(PYTEST_WORKERS) $(T)

.PHONY: test-host
test-host: mpy-cross venv ## tests that need neither firmware nor QEMU
	$(PYTEST) -n $(PYTEST_WORKERS) tests/host

.PHONY: test-qemu
test-qemu: firmware disk venv ## tests that run the firmware in QEMU
	$(PYTEST) -n $(PYTEST_WORKERS) tests/qemu tests/qtest $(wildcard tests/target)

BOARD ?= rv64
BOARD_FIRMWARE_rv64 = firmware firmware-native
BOARD_FIRMWARE_rv32 = rv32-board rv32-board-native

.PHONY: test-upstream
test-upstream: $(BOARD_FIRMWARE_$(BOARD)) venv ## run MicroPython's own tests in four modes (BOARD=rv32: on its RV32 board)
	BUILD=$(BUILD) $(PY) tests/upstream --board $(BOARD) $(UPSTREAM)

.PHONY: clauses
clauses: venv ## list the rules of virtio for drivers, and what shows each
	BUILD=$(BUILD) $(PY) tests/clauses $(CLAUSES)

.PHONY: mutations
mutations: venv ## break rules of virtio on purpose: a test has to notice each time
	BUILD=$(BUILD) $(PY) tests/clauses mutations $(MUTATIONS)

.PHONY: lint
lint: venv ## check the Python style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.PHONY: bench
bench: firmware disk venv ## measure against U-Boot, Linux, direct -kernel, RV32 and gcc
	@sh tools/setup.sh bench
	@$(MAKE) rv32-board RV32=$(BUILD)/bench/rv32 RV32_HEAP=1500000
	@$(MAKE) mpy-cross MPY_CROSS_BUILD=$(BUILD)/bench/mpy-cross CROSS_CFLAGS=-DHAVE_SMALL_INT_PATHS=0
	@$(ENV) python3 tools/unpack.py --build $(BUILD) linux
	BUILD=$(BUILD) $(PY) tests/bench $(BENCH)

.PHONY: fuzz
fuzz: firmware venv ## random functions in native code against CPython and bytecode
	BUILD=$(BUILD) $(PY) tests/fuzz -n $(N) --seed $(SEED) --jobs $(JOBS) $(FUZZ)

.PHONY: fuzz-virtio
fuzz-virtio: venv ## random steps of virtqueues and hostile devices, on this computer (N=steps)
	$(PY) tests/host/ringfuzz.py -n $(N) --seed $(SEED) --jobs $(JOBS) $(FUZZ)

BUILD_FIRMWARE = $(ENV) $(MAKE) $(PARALLEL) -C firmware MPY_DIR=$(MPY_DIR) MPY_CROSS=$(MPY_CROSS) \
	MICROPY_MPYCROSS=$(MPY_CROSS) MICROPY_MPYCROSS_DEPENDENCY=$(MPY_CROSS) \
	PICOLIBC_DIR=$(BUILD)/supply/picolibc OPENSBI_BIN=$(BUILD)/supply/opensbi/fw_dynamic.bin

.PHONY: firmware
firmware: sources mpy-cross ## build build/firmware.elf
	@$(BUILD_FIRMWARE) BUILD=$(BUILD)/firmware
	@cmp -s $(BUILD)/firmware/firmware.elf $(FIRMWARE) || cp $(BUILD)/firmware/firmware.elf $(FIRMWARE)

# for the one file that sets the default, when make compiles it
NATIVE_DEFAULT = '$$(if $$(filter %/py/runtime.o,$$@),-include $(CURDIR)/tests/upstream/native_default.h)'

.PHONY: firmware-native
firmware-native: sources mpy-cross ## build build/native/firmware.elf, which makes native code of all it is given
	@$(BUILD_FIRMWARE) BUILD=$(BUILD)/native CFLAGS_EXTRA=$(NATIVE_DEFAULT)

.PHONY: mpy-cross
mpy-cross: sources ## build the cross-compiler of the same sources
	@$(ENV) $(MAKE) $(PARALLEL) -C $(MPY_DIR)/mpy-cross BUILD=$(MPY_CROSS_BUILD) CFLAGS_EXTRA="$(CROSS_CFLAGS)"

RV32_LIBGCC = $(shell riscv64-unknown-elf-gcc -march=rv32imac -mabi=ilp32 -print-libgcc-file-name)
RV32 ?= $(BUILD)/rv32
RV32_HEAP ?= 143360
RV32_LIBS = -nostdlib -L$(BUILD)/supply/picolibc/lib32 -lc $(RV32_LIBGCC)
RV32_CFLAGS = -isystem $(BUILD)/supply/picolibc/include
BUILD_RV32 = $(ENV) $(MAKE) $(PARALLEL) -C $(MPY_DIR)/ports/qemu BOARD=VIRT_RV32 MPY_LIB_DIR=$(MPY_DIR) \
	MICROPY_MPYCROSS=$(MPY_CROSS) MICROPY_MPYCROSS_DEPENDENCY=$(MPY_CROSS) LIBS="$(RV32_LIBS)" MICROPY_HEAP_SIZE=$(RV32_HEAP)

.PHONY: rv32-board rv32-board-native
# upstream's manifest without unittest, which the pinned archive does not hold
rv32-board rv32-board-native: export FROZEN_MANIFEST = "freeze('test-frzmpy', ('frozen_asm_rv32.py', 'frozen_const.py', 'frozen_viper.py', 'native_frozen_align.py'))"
rv32-board: mpy-cross ## build build/rv32/firmware.elf: upstream's RV32 board, to compare with
	@$(BUILD_RV32) BUILD=$(RV32) CFLAGS_EXTRA="$(RV32_CFLAGS)"

rv32-board-native: mpy-cross ## build build/rv32-native/firmware.elf: the same for RV32
	@$(BUILD_RV32) BUILD=$(BUILD)/rv32-native CFLAGS_EXTRA='$(RV32_CFLAGS) '$(NATIVE_DEFAULT)

.PHONY: disk
disk: packages ## make the demo disks: Debian's kernel and an initramfs on ext4 and on FAT
	@$(PYTHON) tools/unpack.py --build $(BUILD) kernel busybox
	@$(PYTHON) tools/mkdisk.py --build $(BUILD)

.PHONY: size
size: firmware ## sizes of the firmware's sections and frozen modules
	@$(PYTHON) tools/size_report.py $(FIRMWARE) $(BUILD)/firmware

.PHONY: setup
setup: packages venv sources ## install what is missing, fetch and unpack the sources

.PHONY: packages
packages: ## install missing Debian packages (root or sudo)
	@sh tools/setup.sh

.PHONY: venv
venv: packages $(VENV)/.stamp ## make the virtual environment of the tests

$(VENV)/.stamp: tools/requirements.txt
	@echo "  venv     $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt || { \
		echo "pip cannot get tools/requirements.txt with the settings of this machine: see 'pip config list'," >&2; \
		echo "or set PIP_FIND_LINKS to a folder with these wheels and PIP_NO_INDEX=1." >&2; exit 1; }
	@touch $@

.PHONY: sources
sources: packages ## fetch, check, unpack and patch the pinned sources
	@$(PYTHON) tools/unpack.py --build $(BUILD) $(MICROPYTHON) opensbi picolibc

.PHONY: clean
clean: ## remove what was built, keep downloads and the virtual environment
	rm -rf $(BUILD)/firmware $(BUILD)/firmware.elf $(BUILD)/native $(BUILD)/rv32 $(BUILD)/rv32-native $(BUILD)/mpy-cross $(BUILD)/disk $(BUILD)/micropython $(BUILD)/.micropython.stamp

.PHONY: distclean
distclean: ## remove the whole build folder
	rm -rf $(BUILD)
