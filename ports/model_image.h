/* model_image.h - a model as constants, for flash: what tools/model_image.py writes from a GGUF. Nothing is parsed or
 * copied at run time. */
#ifndef FV_MODEL_IMAGE_H
#define FV_MODEL_IMAGE_H

#ifndef FOVEA_H /* fovea.h of tools/amalgamate.py, which has it all */
#if defined __has_include
#if !__has_include(<fovea/model.h>)
#include "fovea.h"
#else
#include <fovea/model.h>
#endif
#else
#include <fovea/model.h>
#endif
#endif

typedef struct fv_model_image {
    fv_model_config config;   /* max_tokens: the context it was trained on; batch_tokens 1: set both as RAM allows */
    fv_model_weights weights; /* packed: products read them where they lie */
    const char *texts;        /* of the tokens, one after the other, each zero-terminated */
    const uint32_t *text_offsets; /* [vocabulary] where a token's text begins */
    int32_t begin, end;           /* the tokens before and after a text; -1: none */
} fv_model_image;

extern const fv_model_image fv_image;

#endif
