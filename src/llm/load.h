/* load.h - a load going on: what the parts of the loader share. Private to src/llm. */
#ifndef FV_LOAD_H
#define FV_LOAD_H

#include "llm/loader.h"

#define FV_LOAD_CONTEXT ((uint32_t)1 << 30) /* fv_cache_config.max_tokens */
#define FV_LOAD_LAYERS 512
#define FV_LOAD_TINY 1e-30f /* "above 0" for scales: their reciprocals stay finite */

/* Which layers may have a sliding window. */
typedef enum fv_windows { FV_WINDOWS_NONE, FV_WINDOWS_SOME, FV_WINDOWS_ALL } fv_windows;

/* One architecture: how it differs. What a file says itself goes before numbers here. */
typedef struct fv_architecture {
    const char *name;
    fv_rope_kind rope;
    fv_activation activation;
    bool head_norms;   /* q and k normed per head */
    bool row_norms;    /* q and k normed as whole rows */
    bool bare_blocks;  /* blocks read the stream as it is */
    bool post_norms;   /* and their outputs are normed */
    bool rope_factors; /* rope_freqs.weight may be present */
    bool gemma;        /* scaled embeddings */
    bool query_scales; /* attention.temperature_scale makes queries grow with their position */
    bool granite;      /* logit_scale divides, rope.scaling.finetuned says whether anything is rotated */
    fv_windows windows;
    uint32_t window, window_period; /* of layers that have one: tokens; every n-th has none (0: all have one) */
    float local_base;               /* of the rotation in layers with a window; 0: that of the others */
    uint32_t unrotated_period;      /* of fv_model_config */
    uint32_t wide_layers;           /* a model of so many scales scores by width / heads, not by its heads' length */
    float attention_softcap, logit_softcap;
} fv_architecture;

typedef struct fv_load {
    const fv_gguf *gguf;
    const fv_architecture *row;
    fv_message *message;
    fv_loader_keys allowed;
    fv_loaded out;
    const fv_gguf_tensor **used; /* tensors that have a place in the model */
    size_t used_count;
    bool skims; /* tensors are looked for and not looked into: they are of other stages' layers */
} fv_load;

/* --- load_memory.c --- */

/* `count` times `size` zeroed bytes that live as long as the model. */
fv_status fv_load_own(fv_load *l, size_t count, size_t size, void **memory);
fv_status fv_load_no_memory(fv_load *l, size_t bytes); /* FV_ERROR_MEMORY */
void fv_load_drop(fv_loaded *loaded);                  /* all of it */

/* --- load_metadata.c: keys under the architecture's prefix; an absent key leaves *value as it is. Where another name
 * of a key is known, it is read in its place, and both must agree. A list is read if its elements are equal. --- */

typedef struct fv_key_name {
    char text[96]; /* the longest name of an architecture and of a key fit easily */
} fv_key_name;

fv_key_name fv_key_of(const fv_load *l, const char *suffix);
fv_status fv_key_missing(fv_load *l, const char *key); /* FV_ERROR_CORRUPT, both */
fv_status fv_key_unfit(fv_load *l, const char *key, const char *wanted);

fv_status fv_load_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value);
fv_status fv_load_needed_u32(fv_load *l, const char *suffix, uint32_t low, uint32_t high, uint32_t *value);
fv_status fv_load_f32(fv_load *l, const char *suffix, float low, float *value); /* finite */
fv_status fv_load_flag(fv_load *l, const char *suffix, bool *value);
bool fv_load_allows(const fv_load *l, fv_gguf_text key); /* the caller passes over it */
bool fv_load_has(const fv_load *l, const char *suffix);  /* it, or another name of it, is in the file */

/* A number or truth value, or that of all elements of a list; false, and *value untouched, if they differ or are none.
 */
bool fv_entry_equal_f32(const fv_gguf_entry *entry, float *value);

/* --- load_architecture.c, load_keys.c --- */

fv_status fv_load_architecture(fv_load *l); /* sets l->row */
fv_status fv_load_check_keys(fv_load *l);   /* a key that is not understood is an error */

/* --- load_shape.c: numbers of the config --- */

fv_status fv_load_shape(fv_load *l);  /* counts and widths */
fv_status fv_load_scales(fv_load *l); /* epsilon, scales, soft caps */
fv_status fv_load_window(fv_load *l); /* sliding windows */

/* --- load_rope.c, load_factors.c: after the shape --- */

fv_status fv_load_rope(fv_load *l);

/* Divides frequencies [count] by the factors of a tensor that may be absent: *found says whether it is there. */
fv_status fv_load_factors(fv_load *l, const char *name, uint32_t count, float *frequencies, bool *found);
fv_status fv_load_query_scales(fv_load *l, uint32_t original_tokens); /* of the context in training */

/* --- load_tensors.c --- */

enum { FV_LOAD_LAYER_TENSORS = 24 }; /* most in a layer */

/* A tensor of the right shape and type; absent and not required: weight->data stays NULL. */
fv_status fv_load_tensor(fv_load *l, const char *name, uint32_t rows, uint32_t columns, bool required,
                         fv_weight *weight);
/* Likewise, and F32 in the model: F16 and BF16 are converted into memory of our own. */
fv_status fv_load_vector(fv_load *l, const char *name, uint32_t count, bool required, fv_weight *weight);

fv_status fv_load_check_unused(fv_load *l); /* a tensor without a place is an error */

/* --- load_fused.c: of one layer those that stand for several; what is not there stays untouched --- */

fv_status fv_load_fused(fv_load *l, uint32_t index, fv_layer_weights *layer);

/* --- load_layers.c --- */

fv_status fv_load_tensors(fv_load *l, int32_t tokens); /* `tokens` of the tokenizer */

#endif
