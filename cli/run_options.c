/* run_options.c - the flags of `fovea run`. */
#include "run_options.h"
#include "attention_option.h"
#include "fovea/chat.h"
#include "fovea/generate.h"

#define FAMILY_NAME(NAME, name) name " "
#define FAMILIES FV_CHAT_LIST(FAMILY_NAME)

#define CLI_TARGET run_options
const cli_option run_text_flags[] = {
    CLI_FLAG(TEXT, "-p --prompt", prompt, .value = "TEXT", .help = "the prompt"),
    CLI_FLAG(TEXT, "-f --file", file, .value = "FILE",
             .help = "the prompt from a file (- is standard input); one newline at its end is dropped"),
    CLI_FLAG(SWITCH, "-e --escape", escape, .negated = "--no-escape",
             .help = "process \\n \\t \\xHH ... in -p and -sys (default: off; never in files)"),
    CLI_FLAG(TEXT, "-sys --system-prompt", system, .value = "TEXT", .help = "the system turn of a conversation"),
    CLI_FLAG(SWITCH, "-cnv --conversation", chat, .help = "converse (default: if the model has a chat template)"),
    CLI_FLAG(SWITCH, "-no-cnv --no-conversation", plain, .help = "complete the prompt as plain text"),
    CLI_FLAG(SWITCH, "-st --single-turn", single_turn,
             .help =
                 "end after one answer (always so with --json, and with -p or -f when standard\ninput is no terminal)"),
    CLI_FLAG(TEXT, "--chat-template", chat_template, .value = "NAME", .env = "LLAMA_ARG_CHAT_TEMPLATE",
             .help = FAMILIES " (default: recognised from the model file)"),
    CLI_FLAG(TEXT, "--chat-template-file", template_file, .value = "FILE", .env = "LLAMA_ARG_CHAT_TEMPLATE_FILE",
             .help = "a Jinja template that is used in place of the model file's"),
    CLI_FLAG(SWITCH, "--jinja", jinja, .help = "run the model file's template (default: where it is of no known kind)"),
    CLI_FLAG(SWITCH, "--no-jinja", no_jinja, .help = "never run it"),
    CLI_FLAG(CHOICE, "--reasoning -rea", reasoning, .value = "auto|off", .env = "LLAMA_ARG_REASONING",
             .choices = "auto off",
             .help = "auto: think if the template does; off: don't, where the template has a switch for it"),
    CLI_FLAG(
        SWITCH, "--special", special,
        .help = "read the text of control tokens in turns as these tokens, as llama.cpp does: a text\ncan end its turn "
                "then and forge another (default: off; a plain prompt is always read so)"),
    CLI_FLAG(SWITCH, "--display-prompt", display_prompt, .negated = "--no-display-prompt",
             .help = "repeat the prompt before its completion (default: on; a conversation\nnever repeats it)"),
    CLI_FLAG(SWITCH, "--show-reads", show_reads,
             .help = "after the answer: the passages that each of its words read most (slow)"),
    CLI_FLAG(SWITCH, "--verbose-prompt", verbose_prompt, .help = "print the prompt's tokens, control tokens too"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document with text and figures, when all is done"),
};
const size_t run_text_flags_count = sizeof run_text_flags / sizeof run_text_flags[0];
const cli_option run_limit_flags[] = {
    CLI_FLAG(
        INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .high = CLI_CONTEXT_MAX, .standard = "",
        .help =
            "tokens that the context holds; 0: as many as the model was trained on\n(default: prompt + n, n "
            "being 4096 without -n and at least 4096 in a conversation\nof several turns, but no more than "
            "the model was trained on and memory holds). A full context\nends the text: nothing is ever shifted out"),
    CLI_FLAG(INTEGER, "-n --predict --n-predict", predict, .env = "LLAMA_ARG_N_PREDICT", .low = -2,
             .high = CLI_CONTEXT_MAX, .note = "until the model or the context ends", .help = "most tokens to generate"),
    CLI_FLAG(INTEGER, "--lookup", lookup, .high = FV_GENERATE_GUESSES,
             .help = "most tokens that are guessed at a time, from where the last ones stood before in the text,\n"
                     "and kept if they are right: same answer, sooner where it repeats its prompt; 0: none"),
    CLI_FLAG(SWITCH, "--ignore-eos", ignore_eos, .help = "forbid end-of-generation tokens"),
    CLI_FLAG(TEXT, "--attention", attention, .value = "SPEC", .help = cli_attention_help),
};
const size_t run_limit_flags_count = sizeof run_limit_flags / sizeof run_limit_flags[0];
/* The first ones in the order of fv_sampling: their bits in sampling_given are its bits. */
const cli_option run_sampler_flags[] = {
    CLI_FLAG(F32, "--temp --temperature", sampler.temperature, .env = "LLAMA_ARG_TEMPERATURE", .low = -1e9, .high = 1e9,
             .help = "temperature; 0: always the likeliest token"),
    CLI_FLAG(I32, "--top-k", sampler.top_k, .env = "LLAMA_ARG_TOP_K", .low = -1, .high = CLI_COUNT_MAX,
             .help = "keep the N likeliest; 0: off"),
    CLI_FLAG(F32, "--top-p", sampler.top_p, .env = "LLAMA_ARG_TOP_P", .high = 1e9,
             .help = "keep a share of the probability; 1: off"),
    CLI_FLAG(F32, "--min-p", sampler.min_p, .env = "LLAMA_ARG_MIN_P", .high = 1e9,
             .help = "drop what is less likely than X times the likeliest; 0: off"),
    CLI_FLAG(F32, "--repeat-penalty", sampler.repeat_penalty, .env = "LLAMA_ARG_REPEAT_PENALTY", .low = 1e-9,
             .high = 1e9, .help = "1: off"),
    CLI_FLAG(I32, "--repeat-last-n", sampler.repeat_last_tokens, .low = -1, .high = CLI_COUNT_MAX,
             .help = "tokens that penalties look back; 0: off, -1: all"),
    CLI_FLAG(INTEGER, "-s --seed", seed, .low = -1, .high = CLI_SEED_MAX, .note = "random; the report names it",
             .help = "seed"),
    CLI_FLAG(F32, "--presence-penalty", sampler.presence_penalty, .env = "LLAMA_ARG_PRESENCE_PENALTY", .low = -1e9,
             .high = 1e9, .help = "0: off"),
    CLI_FLAG(F32, "--frequency-penalty", sampler.frequency_penalty, .env = "LLAMA_ARG_FREQUENCY_PENALTY", .low = -1e9,
             .high = 1e9, .help = "0: off"),
};
const size_t run_sampler_flags_count = sizeof run_sampler_flags / sizeof run_sampler_flags[0];
