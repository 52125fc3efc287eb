/* tables.h - the kernel tables of every instruction set that this machine and build reach; the others are named aloud.
 */
#ifndef FV_TEST_TABLES_H
#define FV_TEST_TABLES_H

#include "fovea/isa.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct test_tables {
    const fv_kernels *table[FV_ISA_COUNT]; /* [0] is scalar */
    size_t count;
    uint64_t memory[FV_ISA_COUNT][FV_KERNELS_BYTES / 8];
} test_tables;

static inline void test_tables_make(test_tables *tables) {
    tables->count = 0;
    for (int isa = 0; isa < FV_ISA_COUNT; isa++) {
        const fv_kernels *made = NULL;
        if (fv_kernels_init(&made, (fv_isa)isa, tables->memory[isa], FV_KERNELS_BYTES) != FV_OK) {
            fprintf(stderr, "fv_kernels_init(%s) failed\n", fv_isa_name((fv_isa)isa));
            exit(1);
        }
        if (fv_kernels_isa(made) == (fv_isa)isa)
            tables->table[tables->count++] = made;
        else
            printf("skip %s: not on this processor or not in this build\n", fv_isa_name((fv_isa)isa));
    }
}

static inline const char *test_table_name(const fv_kernels *table) { return fv_isa_name(fv_kernels_isa(table)); }

#endif
