// SPDX-License-Identifier: MIT
// A TCG plugin that counts the instructions a guest executes, all modes, without those it sleeps through.
//
// -plugin counter.so,count=PATH: a 64-bit number at the start of that file, which exists; right at any moment to within
// a block that was left by a trap. The few declarations below are the part of QEMU's plugin interface that it uses.

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

typedef uint64_t plugin_id;
struct block;

int qemu_plugin_version = 1;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*callback)(plugin_id id, struct block *block));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *block, int operation, void *counter, uint64_t value);
size_t qemu_plugin_tb_n_insns(const struct block *block);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

static uint64_t *count;

static void translated(plugin_id id, struct block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, count, qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "count=", 6) != 0) {
        return -1;
    }
    int file = open(argv[0] + 6, O_RDWR);
    count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || count == MAP_FAILED) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
