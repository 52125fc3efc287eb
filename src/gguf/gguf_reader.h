/* gguf_reader.h - the bytes of one file from front to back: every read is checked against the end. */
#ifndef FV_GGUF_READER_H
#define FV_GGUF_READER_H

#include "fovea/gguf.h"

/* One file being read. */
typedef struct fv_gguf_reader {
    const uint8_t *bytes;
    size_t count, offset;
    const char *path;
    fv_message *message;
    fv_gguf_told_fn *told; /* NULL: the first fault ends the reading; else it hears of each that can be passed over */
    void *told_context;
} fv_gguf_reader;

/* False at the end of the file; *value is then undefined. */
bool fv_gguf_read_u32(fv_gguf_reader *in, uint32_t *value);
bool fv_gguf_read_u64(fv_gguf_reader *in, uint64_t *value);
bool fv_gguf_read_text(fv_gguf_reader *in, fv_gguf_text *text); /* length and bytes, which stay in the file */

/* FV_ERROR_MEMORY; FV_ERROR_CORRUPT with the place. */
fv_status fv_gguf_no_memory(const fv_gguf_reader *in);
fv_status fv_gguf_cut_short(const fv_gguf_reader *in, const char *place, uint64_t number);

/* FV_OK if there is somebody to hear of the fault that in->message says (not FV_ERROR_MEMORY); `status` else. */
fv_status fv_gguf_tolerated(const fv_gguf_reader *in, fv_status status);

/* Bytes of a name from the file that messages show: for "%.*s". */
static inline int fv_gguf_shown(fv_gguf_text text) { return text.length < 80 ? (int)text.length : 80; }

#endif
