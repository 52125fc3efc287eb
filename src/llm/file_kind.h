/* file_kind.h - what else a GGUF file can be. Private to src/llm. */
#ifndef FV_FILE_KIND_H
#define FV_FILE_KIND_H

#include "fovea/gguf.h"

/* FV_OK, or an error whose message says what the file is instead of a model. */
fv_status fv_file_kind_check(const fv_gguf *gguf, fv_message *message);

#endif
