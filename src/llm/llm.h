/* llm.h - an open model file, as its sessions see it. Private to src/llm. */
#ifndef FV_LLM_H
#define FV_LLM_H

#include "fovea/session.h"
#include "llm/loader.h"

struct fv_llm {
    fv_gguf *gguf;
    fv_tokenizer *tokenizer;
    fv_loaded loaded;
};

#endif
