#include "llm/repack.h"
#include "gguf/gguf_map.h"
#include "platform/pages.h"
#include <stdlib.h>
#include <string.h>

enum { LAYER_MATRICES = 7, ALIGNMENT = 64, PIECE_BYTES = 4 << 20 };

/* Where the matrices go, one after the other, and scratch of eight rows, grown as rows get longer. */
typedef struct pack_room {
    const fv_gguf *gguf;
    unsigned char *next;
    void *scratch;
    size_t scratch_bytes;
} pack_room;

static size_t matrix_bytes(const fv_weight *weight) {
    return (size_t)weight->rows * fv_weight_row_bytes(weight->type, weight->columns);
}

/* Room that a matrix takes; 0: it stays where it is. */
static size_t matrix_room(const fv_weight *weight) {
    if (!weight->data || weight->packed || weight->rows < 8 || !fv_weight_is_packable(weight->type)) return 0;
    return (matrix_bytes(weight) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Piece by piece, so that a large matrix is never in memory twice. */
static void matrix_move(const pack_room *room, const unsigned char *file, size_t bytes) {
    for (size_t done = 0, piece; done < bytes; done += piece) {
        piece = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        memcpy(room->next + done, file + done, piece);
        fv_gguf_release(room->gguf, file, done + piece);
    }
}

static fv_status matrix_pack(fv_weight *weight, pack_room *room) {
    size_t need = 8 * fv_weight_row_bytes(weight->type, weight->columns), taken = matrix_room(weight);
    const void *file = weight->data;
    if (!taken) return FV_OK;
    if (need > room->scratch_bytes) {
        void *grown = realloc(room->scratch, need);
        if (!grown) return FV_ERROR_MEMORY;
        room->scratch = grown;
        room->scratch_bytes = need;
    }
    matrix_move(room, file, matrix_bytes(weight));
    weight->data = room->next;
    room->next += taken;
    return fv_weight_pack(weight, (void *)(uintptr_t)weight->data, room->scratch, room->scratch_bytes);
}

/* The matrix `index` of a model: the output's first. NULL after the last. */
static fv_weight *matrix_at(fv_loaded *loaded, size_t index) {
    if (index == 0) return &loaded->weights.output;
    size_t layer = (index - 1) / LAYER_MATRICES;
    if (layer >= loaded->config.layers) return NULL;
    fv_layer_weights *one = (fv_layer_weights *)(uintptr_t)loaded->weights.layers + layer; /* the loader's own */
    fv_weight *const matrices[LAYER_MATRICES] = {&one->query, &one->key, &one->value, &one->output,
                                                 &one->gate,  &one->up,  &one->down};
    return matrices[(index - 1) % LAYER_MATRICES];
}

static fv_status weights_pack(fv_loaded *loaded, pack_room *room) {
    fv_model_weights *weights = &loaded->weights;
    bool tied = weights->embedding.data == weights->output.data;
    fv_status status = FV_OK;
    const fv_weight *matrix;
    for (size_t i = 0; status == FV_OK && (matrix = matrix_at(loaded, i)) != NULL; i++)
        status = matrix_pack(matrix_at(loaded, i), room);
    if (tied) weights->embedding = weights->output;
    return status;
}

fv_status fv_repack_run(fv_loaded *loaded, const fv_gguf *gguf, fv_message *message) {
    size_t bytes = 0;
    const fv_weight *matrix;
    if (loaded->packed) return FV_OK;
    for (size_t i = 0; (matrix = matrix_at(loaded, i)) != NULL; i++) bytes += matrix_room(matrix);
    if (bytes == 0) return FV_OK;
    pack_room room = {.gguf = gguf, .next = fv_pages_map(bytes)};
    fv_status status = room.next ? FV_OK : FV_ERROR_MEMORY;
    loaded->packed = room.next;
    loaded->packed_bytes = bytes;
    if (status == FV_OK) status = weights_pack(loaded, &room);
    free(room.scratch);
    if (status == FV_OK) return FV_OK;
    return fv_message_set(message, status, "%s: out of memory while packing weights", fv_gguf_path(gguf));
}

uint64_t fv_repack_bytes(const fv_loaded *loaded, bool packed) {
    uint64_t bytes = 0;
    const fv_weight *matrix;
    for (size_t i = 0; (matrix = matrix_at((fv_loaded *)(uintptr_t)loaded, i)) != NULL; i++) {
        uint32_t rows = fv_weight_is_packable(matrix->type) ? matrix->rows / 8 * 8 : 0;
        if (packed) rows = matrix->packed;
        if (matrix->data) bytes += (uint64_t)rows * fv_weight_row_bytes(matrix->type, matrix->columns);
    }
    return bytes;
}

bool fv_repack_is_whole(const fv_loaded *loaded) {
    const fv_weight *matrix;
    if (loaded->weights.embedding.data && !loaded->weights.embedding.packed) return false;
    for (size_t i = 0; (matrix = matrix_at((fv_loaded *)(uintptr_t)loaded, i)) != NULL; i++)
        if (matrix->data && !matrix->packed) return false;
    return true;
}
