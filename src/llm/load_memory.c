/* load_memory.c - what a loaded model owns beside the file: tables, and vectors in a type of their own. */
#include "llm/load.h"
#include "numeric/size.h"
#include "platform/array.h"
#include <stddef.h>
#include <stdlib.h>

struct fv_loader_block {
    struct fv_loader_block *next;
    max_align_t bytes[];
};

fv_status fv_load_no_memory(fv_load *l, size_t bytes) {
    return fv_message_set(l->message, FV_ERROR_MEMORY, "%s: out of memory for %zu bytes of tables",
                          fv_gguf_path(l->gguf), bytes);
}

fv_status fv_load_own(fv_load *l, size_t count, size_t size, void **memory) {
    size_t bytes = sizeof(struct fv_loader_block);
    if (!fv_size_add(&bytes, count, size, 1)) return fv_load_no_memory(l, SIZE_MAX);
    struct fv_loader_block *block = fv_array_new(bytes, 1);
    if (!block) return fv_load_no_memory(l, bytes);
    block->next = l->out.owned;
    l->out.owned = block;
    *memory = block->bytes;
    return FV_OK;
}

void fv_load_drop(fv_loaded *loaded) {
    while (loaded->owned) {
        struct fv_loader_block *block = loaded->owned;
        loaded->owned = block->next;
        free(block);
    }
}
