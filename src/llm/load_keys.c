/* load_keys.c - the metadata keys under an architecture's prefix that are understood: a key that nobody reads is an
 * error, for it would change the model's meaning, unless whoever opens the file allows it. */
#include "fovea/session.h"
#include "gguf/gguf_text.h"
#include "llm/load.h"
#include <string.h>

typedef enum key_rule {
    KEY_READ,   /* read by the loader */
    KEY_IDLE,   /* describes what only other tensors would use, or how the file was made: nothing is computed from it */
    KEY_ZERO,   /* understood only as 0, false or a list of them */
    KEY_ONE,    /* understood only as 1 or true */
    KEY_WINDOW, /* read where layers may have a sliding window; elsewhere 0, or as long as the context */
    KEY_QUERIES, /* read where queries grow with their position; 0 elsewhere */
    KEY_LOGITS,  /* read where it divides the logits; elsewhere 1, for some architectures multiply by it */
} key_rule;

static const struct known_key {
    const char *suffix;
    key_rule rule;
} KNOWN_KEYS[] = {
    {"block_count", KEY_READ},
    {"context_length", KEY_READ},
    {"embedding_length", KEY_READ},
    {"embedding_length_out", KEY_READ},
    {"feed_forward_length", KEY_READ},
    {"vocab_size", KEY_READ},
    {"embedding_scale", KEY_READ},
    {"residual_scale", KEY_READ},
    {"attn_logit_softcapping", KEY_READ},
    {"final_logit_softcapping", KEY_READ},
    {"attention.head_count", KEY_READ},
    {"attention.head_count_kv", KEY_READ},
    {"attention.head_dim", KEY_READ},
    {"attention.key_length", KEY_READ},
    {"attention.key_length_swa", KEY_READ},
    {"attention.value_length", KEY_READ},
    {"attention.value_length_swa", KEY_READ},
    {"attention.layer_norm_epsilon", KEY_READ},
    {"attention.layer_norm_rms_epsilon", KEY_READ},
    {"attention.scale", KEY_READ},
    {"attention.sliding_window", KEY_WINDOW},
    {"attention.sliding_window_pattern", KEY_WINDOW},
    {"rope.freq_base", KEY_READ},
    {"rope.global.freq_base", KEY_READ},
    {"rope.freq_base_swa", KEY_WINDOW},
    {"rope.local.freq_base", KEY_WINDOW},
    {"rope.dimension_count", KEY_READ},
    {"rope.dimension_count_swa", KEY_READ},
    {"rope.scale_linear", KEY_READ},
    {"rope.scaling.type", KEY_READ},
    {"rope.scaling.factor", KEY_READ},
    {"rope.scaling.attn_factor", KEY_READ},
    {"rope.scaling.original_context_length", KEY_READ},
    {"rope.scaling.yarn_log_multiplier", KEY_READ},
    {"rope.scaling.yarn_ext_factor", KEY_READ},
    {"rope.scaling.extrapolation_factor", KEY_READ},
    {"rope.scaling.yarn_attn_factor", KEY_READ},
    {"rope.scaling.yarn_beta_fast", KEY_READ},
    {"rope.scaling.beta_fast", KEY_READ},
    {"rope.scaling.yarn_beta_slow", KEY_READ},
    {"rope.scaling.beta_slow", KEY_READ},
    /* How the file was made. */
    {"rope.scaling.finetuned", KEY_IDLE},
    {"tensor_data_layout", KEY_IDLE},
    /* Sections of a rotation by three coordinates: those of a text are one and the same. */
    {"rope.dimension_sections", KEY_IDLE},
    {"rope.mrope_section", KEY_IDLE},
    {"mrope_sections", KEY_IDLE},
    /* Of experts, which expert_count says are none; of heads that classify, whose tensors would have no place. */
    {"expert_shared_count", KEY_IDLE},
    {"expert_group_count", KEY_IDLE},
    {"expert_group_used_count", KEY_IDLE},
    {"expert_group_scale", KEY_IDLE},
    {"experts_per_group", KEY_IDLE},
    {"expert_weights_scale", KEY_IDLE},
    {"expert_weights_norm", KEY_IDLE},
    {"expert_gating_func", KEY_IDLE},
    {"expert_feed_forward_length", KEY_IDLE},
    {"expert_shared_feed_forward_length", KEY_IDLE},
    {"expert_chunk_feed_forward_length", KEY_IDLE},
    {"norm_top_k_prob", KEY_IDLE},
    {"moe_latent_size", KEY_IDLE},
    {"router_logit_softcapping", KEY_IDLE},
    {"classifier.output_labels", KEY_IDLE},
    {"attention.group_norm_epsilon", KEY_IDLE},
    /* Of other kinds of model. */
    {"expert_count", KEY_ZERO},
    {"expert_used_count", KEY_ZERO},
    {"moe_every_n_layers", KEY_ZERO},
    {"interleave_moe_layer_step", KEY_ZERO},
    {"leading_dense_block_count", KEY_ZERO},
    {"nextn_predict_layers", KEY_ZERO},
    {"n_deepstack_layers", KEY_ZERO},
    {"swiglu_clamp_exp", KEY_ZERO},
    {"swiglu_clamp_shexp", KEY_ZERO},
    {"pooling_type", KEY_ZERO},
    {"use_parallel_residual", KEY_ZERO},
    {"swin_norm", KEY_ZERO},
    {"features_length", KEY_ZERO},
    {"decoder_block_count", KEY_ZERO},
    {"decoder_start_token_id", KEY_ZERO},
    {"embedding_length_per_layer_input", KEY_ZERO},
    {"altup.active_idx", KEY_ZERO},
    {"altup.num_inputs", KEY_ZERO},
    {"activation_sparsity_scale", KEY_ZERO},
    {"full_attention_interval", KEY_ZERO},
    {"token_shift_count", KEY_ZERO},
    {"time_mix_extra_dim", KEY_ZERO},
    {"time_decay_extra_dim", KEY_ZERO},
    {"rescale_every_n_layers", KEY_ZERO},
    {"wkv.head_size", KEY_ZERO},
    {"kda.head_dim", KEY_ZERO},
    {"ssm.conv_kernel", KEY_ZERO},
    {"ssm.inner_size", KEY_ZERO},
    {"ssm.state_size", KEY_ZERO},
    {"ssm.time_step_rank", KEY_ZERO},
    {"ssm.group_count", KEY_ZERO},
    {"ssm.dt_b_c_rms", KEY_ZERO},
    {"shortconv.l_cache", KEY_ZERO},
    {"posnet.embedding_length", KEY_ZERO},
    {"posnet.block_count", KEY_ZERO},
    {"convnext.embedding_length", KEY_ZERO},
    {"convnext.block_count", KEY_ZERO},
    {"attention.max_alibi_bias", KEY_ZERO},
    {"attention.clamp_kqv", KEY_ZERO},
    {"attention.shared_kv_layers", KEY_ZERO},
    {"attention.group_norm_groups", KEY_ZERO},
    {"attention.relative_buckets_count", KEY_ZERO},
    {"attention.key_length_mla", KEY_ZERO},
    {"attention.value_length_mla", KEY_ZERO},
    {"attention.q_lora_rank", KEY_ZERO},
    {"attention.kv_lora_rank", KEY_ZERO},
    {"attention.decay_lora_rank", KEY_ZERO},
    {"attention.iclr_lora_rank", KEY_ZERO},
    {"attention.value_residual_mix_lora_rank", KEY_ZERO},
    {"attention.gate_lora_rank", KEY_ZERO},
    {"attention.indexer.head_count", KEY_ZERO},
    {"attention.indexer.key_length", KEY_ZERO},
    {"attention.indexer.top_k", KEY_ZERO},
    {"attention.temperature_length", KEY_QUERIES},
    {"attention.temperature_scale", KEY_QUERIES},
    {"rope.scaling.alpha", KEY_ZERO},
    {"attention.causal", KEY_ONE},
    {"attention.output_scale", KEY_ONE},
    {"logit_scale", KEY_LOGITS},
};
#define KNOWN_KEY_COUNT (sizeof KNOWN_KEYS / sizeof *KNOWN_KEYS)

/* Parts of other kinds, whose tensors would have no place: pictures, sounds, their way into the text, dense layers
 * after the model. */
static const char *const IDLE_PARTS[] = {"vision.", "audio.", "mm.", "adapter.", "dense_"};

static key_rule rule_of(fv_gguf_text suffix, const struct known_key **known) {
    static const struct known_key part = {"", KEY_IDLE};
    *known = NULL;
    for (size_t i = 0; i < KNOWN_KEY_COUNT && !*known; i++)
        if (fv_gguf_text_is(suffix, KNOWN_KEYS[i].suffix)) *known = &KNOWN_KEYS[i];
    for (size_t i = 0; i < sizeof IDLE_PARTS / sizeof *IDLE_PARTS && !*known; i++) {
        size_t length = strlen(IDLE_PARTS[i]);
        if (suffix.length > length && memcmp(suffix.bytes, IDLE_PARTS[i], length) == 0) *known = &part;
    }
    return *known ? (*known)->rule : KEY_ZERO;
}

/* A key that is understood only with one value. */
static fv_status check_fixed(fv_load *l, const struct known_key *known, float wanted) {
    fv_key_name key = fv_key_of(l, known->suffix);
    float number = 0;
    if (!fv_entry_equal_f32(fv_gguf_entry_find(l->gguf, key.text), &number))
        return fv_key_unfit(l, key.text, "a number, a truth value or a list of equal ones");
    if (number >= wanted && number <= wanted) return FV_OK;
    return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                          "%s: metadata key %s is %g; fovea's %s knows only %g (mixtures of experts, embedding models "
                          "and the like are not supported)",
                          fv_gguf_path(l->gguf), key.text, (double)number, l->row->name, (double)wanted);
}

/* Whether it is a window that reaches over the whole context. */
static bool is_long_window(const fv_load *l, fv_gguf_text key) {
    static const char SUFFIX[] = ".attention.sliding_window";
    size_t length = sizeof SUFFIX - 1;
    uint32_t window = 0, context = 0;
    fv_key_name name = fv_key_of(l, SUFFIX + 1), trained = fv_key_of(l, "context_length");
    return key.length > length && memcmp(key.bytes + key.length - length, SUFFIX, length) == 0 &&
           fv_gguf_u32(l->gguf, name.text, &window) && fv_gguf_u32(l->gguf, trained.text, &context) &&
           window >= context;
}

static fv_status check_key(fv_load *l, fv_gguf_text full, fv_gguf_text suffix) {
    const struct known_key *known;
    key_rule rule = rule_of(suffix, &known);
    int shown = (int)(full.length < 200 ? full.length : 200);
    if (known && rule <= KEY_IDLE) return FV_OK;
    if (fv_load_allows(l, full)) return FV_OK;
    if (!known)
        return fv_message_set(l->message, FV_ERROR_UNSUPPORTED,
                              "%s: metadata key %.*s is not known to fovea, which might compute something else than "
                              "the model means; if you know that it changes nothing, " FV_LLM_ALLOW_ADVICE
                              "; please report it",
                              fv_gguf_path(l->gguf), shown, full.bytes);
    if (rule == KEY_LOGITS && l->row->granite) return FV_OK;
    if (rule == KEY_QUERIES && l->row->query_scales) return FV_OK;
    if (rule == KEY_ONE || rule == KEY_LOGITS) return check_fixed(l, known, 1);
    if (rule == KEY_WINDOW && (l->row->windows != FV_WINDOWS_NONE || is_long_window(l, full))) return FV_OK;
    return check_fixed(l, known, 0);
}

fv_status fv_load_check_keys(fv_load *l) {
    size_t prefix = strlen(l->row->name) + 1;
    for (size_t i = 0; i < fv_gguf_entries(l->gguf); i++) {
        fv_gguf_text key = fv_gguf_entry_at(l->gguf, i)->key;
        if (key.length < prefix || memcmp(key.bytes, l->row->name, prefix - 1) != 0 || key.bytes[prefix - 1] != '.')
            continue;
        fv_status status = check_key(l, key, (fv_gguf_text){key.bytes + prefix, key.length - prefix});
        if (status != FV_OK) return status;
    }
    return FV_OK;
}
