/* attention_option.c - what --attention says about itself, and a list of its values. Their text is read by
 * fv_policy_parse(). */
#include "attention_option.h"
#include "cli.h"
#include "fovea/policy_text.h"

const char cli_attention_help[] =
    "what attention reads (default: dense; of run, read and serve, for contexts of more than\n4,096 "
    "tokens, " FV_ENGINE_ATTENTION "):\n"
    "  dense\n"
    "  window:window=512,sinks=16\n"
    "  pattern:window=128,block=64,globals=0+7,log-stride=on,landmarks=on\n"
    "  fovea:selector=shadow,budget=0.16,floor=64,window=128,sinks=16,dense-below=auto,\n"
    "        question=128,tail=off,certificate=off,quality=X; in place of budget: pages=N, or\n"
    "        top-p=P,cap=N; selector: shadow, or cascade (reads fewer bytes to choose);\n"
    "        top-p, certificate and quality need shadow; floor-share=X: a floor of more than 64\n"
    "        pages holds no more of the text than that; question=N (of window, too): the last N\n"
    "        tokens of a prompt read everything; tail=codes: an eighth of what may be\n"
    "        chosen is given up for a coarse look at as many pages as these bytes are enough for\n"
    "        (shadow, cascade; without certificate; docs/lab/tail.md)\n"
    "        fovea alone is this: 16 % of what is visible, at least 64 pages of 16 tokens;\n"
    "        with a budget of your own floor is 0 unless given (SmolLM2-135M, 8,192 tokens: KL 0.011 and 23 % of the "
    "bytes\n"
    "        of dense in decode, KL 0.015 and 16 % of the keys in prompts)\n"
    "keys may be left out; globals=none for no global token";

const char *cli_attention_default(const fv_engine *engine, const cli_model_options *model, uint32_t context,
                                  fv_policy *policy) {
    fv_session_config config = cli_session_config(model);
    config.context_tokens = context;
    const char *text = fv_engine_attention(engine, &config);
    (void)fv_policy_parse(policy, text, NULL); /* it can */
    return text;
}

int cli_policy_read(const char *verb, const char *text, fv_policy *policy) {
    fv_message message = {""};
    if (fv_policy_parse(policy, text, &message) == FV_OK) return CLI_GO_ON;
    return cli_usage_error(verb, "--attention: %s", message.text);
}

int cli_attention_read(const char *verb, const cli_texts *texts, size_t most, cli_attention_list *list) {
    list->texts[0] = "dense";
    fv_policy_default(FV_SELECTOR_DENSE, &list->policies[0]);
    list->count = 1;
    for (size_t i = 0; i < texts->count; i++) {
        fv_policy policy;
        int result = cli_policy_read(verb, texts->items[i], &policy);
        if (result != CLI_GO_ON) return result;
        if (policy.selector == FV_SELECTOR_DENSE) continue;
        if (list->count == most) return cli_usage_error(verb, "--attention can be given %zu times", most - 1);
        list->texts[list->count] = texts->items[i];
        list->policies[list->count++] = policy;
    }
    return CLI_GO_ON;
}
