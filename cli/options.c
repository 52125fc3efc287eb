/* options.c - reads command lines by tables and prints their help. Nothing here knows a single flag but --help, and the
 * flags of llama.cpp that this version refuses. */
#include "options.h"
#include "cli.h"
#include "fovea/words.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64 /* longest flag that is looked at, with its closing zero */
#define FLAGS_MAX 128 /* of a verb */

/* What a flag's target holds before anything is read, as the help says it; "" for none. */
typedef char default_text[24];

/* llama.cpp's flags that would change the result if they were dropped silently. */
static const struct {
    const char *names, *reason;
} refused_flags[] = {
    {"-hf -hfr --hf-repo -hff --hf-file -hft --hf-token -mu --model-url -dr --docker-repo",
     "fovea never downloads: fetch the model file and name it with -m"},
    {"--grammar --grammar-file -j --json-schema -jf --json-schema-file", "this version has no grammars"},
    {"--lora --lora-scaled --control-vector --override-kv", "this version runs a model file as it is"},
    {"--mirostat --mirostat-lr --mirostat-ent --typical --typical-p --xtc-probability --xtc-threshold --dry-multiplier "
     "--dry-base --dry-allowed-length --dry-penalty-last-n --dynatemp-range --dynatemp-exp --top-nsigma --top-n-sigma "
     "--samplers --sampler-seq --sampling-seq -l --logit-bias --adaptive-target --adaptive-decay",
     "this version has llama.cpp's default samplers only (see --temp, --top-k, --top-p, --min-p, --repeat-penalty)"},
    {"--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor "
     "--yarn-attn-factor --yarn-beta-slow --yarn-beta-fast",
     "rotary positions come from the model file only"},
    {"--prompt-cache --prompt-cache-all --prompt-cache-ro", "only run keeps prompts"},
    {"-r --reverse-prompt -i --interactive -if --interactive-first --in-prefix --in-suffix -bf --binary-file",
     "not in this version"},
    {"--context-shift", "fovea never shifts a context: it stops when the context is full, and says so"},
    {"--chat-template-file --jinja", "only run and serve run chat templates"},
    {"--kl-divergence --kl-divergence-base --save-all-logits --hellaswag --winogrande --multiple-choice --ppl-stride",
     "not in this version"},
};

/* ---- values ---- */

static int value_error(const cli_syntax *syntax, const char *flag, const char *wanted, const char *text) {
    return cli_usage_error(syntax->verb, "%s takes %s, not '%s'", flag, wanted, text);
}

/* Of the help; NULL: the flag takes no value. */
static const char *value_name(const cli_option *option) {
    if (option->value) return option->value;
    if (option->kind == CLI_REAL || option->kind == CLI_F32) return "X";
    return option->kind == CLI_INTEGER || option->kind == CLI_U32 || option->kind == CLI_I32 ? "N" : NULL;
}

static int set_integer(const cli_syntax *syntax, const cli_option *option, const char *flag, const char *text,
                       void *target) {
    char *end, wanted[96];
    errno = 0;
    long long number = strtoll(text, &end, 10);
    bool whole = end != text && *end == 0 && errno == 0 && !isspace((unsigned char)text[0]);
    if (!whole || (double)number < option->low || (double)number > option->high) {
        snprintf(wanted, sizeof wanted, "a whole number from %.0f to %.0f", option->low, option->high);
        return value_error(syntax, flag, wanted, text);
    }
    if (option->kind == CLI_INTEGER) *(int64_t *)target = number;
    if (option->kind == CLI_U32) *(uint32_t *)target = (uint32_t)number;
    if (option->kind == CLI_I32) *(int32_t *)target = (int32_t)number;
    return CLI_GO_ON;
}

static int set_real(const cli_syntax *syntax, const cli_option *option, const char *flag, const char *text,
                    void *target) {
    char *end, wanted[96];
    double number = strtod(text, &end);
    bool good = end != text && *end == 0 && !isspace((unsigned char)text[0]);
    if (!good || !(number >= option->low && number <= option->high)) { /* a NaN fails both */
        snprintf(wanted, sizeof wanted, "a number from %g to %g", option->low, option->high);
        return value_error(syntax, flag, wanted, text);
    }
    if (option->kind == CLI_REAL) *(double *)target = number;
    if (option->kind == CLI_F32) *(float *)target = (float)number;
    return CLI_GO_ON;
}

static int set_choice(const cli_syntax *syntax, const cli_option *option, const char *flag, const char *text,
                      int *value) {
    int index = fv_words_find(option->choices, text, strlen(text));
    if (index >= 0) {
        *value = index;
        return CLI_GO_ON;
    }
    char wanted[160];
    snprintf(wanted, sizeof wanted, "one of: %.*s", (int)(strlen(option->choices) - strspn(option->choices, " ")),
             option->choices);
    for (size_t i = strlen(wanted); i > 0 && wanted[i - 1] == ' '; i--) wanted[i - 1] = 0;
    return value_error(syntax, flag, wanted, text);
}

static int append_text(const cli_syntax *syntax, const char *flag, const char *text, cli_texts *texts) {
    if (texts->count == CLI_TEXTS_MOST)
        return cli_usage_error(syntax->verb, "%s can be given %d times", flag, CLI_TEXTS_MOST);
    texts->items[texts->count++] = text;
    return CLI_GO_ON;
}

static void set_mode(const cli_option_group *group, const cli_option *option, double mode) {
    *(int *)(void *)((char *)group->target + option->offset) = (int)mode;
}

static void mark_given(const cli_option_group *group, const cli_option *option) {
    if (group->given) *group->given |= 1u << (option - group->options);
}

static int set_value(const cli_syntax *syntax, const cli_option_group *group, const cli_option *option,
                     const char *flag, const char *text) {
    void *target = (char *)group->target + option->offset;
    mark_given(group, option);
    switch (option->kind) {
    case CLI_INTEGER:
    case CLI_U32:
    case CLI_I32:
        return set_integer(syntax, option, flag, text, target);
    case CLI_REAL:
    case CLI_F32:
        return set_real(syntax, option, flag, text, target);
    case CLI_CHOICE:
    case CLI_MODE:
        return set_choice(syntax, option, flag, text, target);
    case CLI_TEXTS:
        return append_text(syntax, flag, text, target);
    case CLI_TEXT:
        *(const char **)target = text;
        return CLI_GO_ON;
    case CLI_SWITCH:
    case CLI_IGNORED:
        break;
    }
    return CLI_GO_ON;
}

/* ---- the environment ---- */

static int set_switch_from_env(const cli_syntax *syntax, const cli_option *option, const char *text, bool *value) {
    static const char truths[] = "1 on true enabled", falsehoods[] = "0 off false disabled";
    if (fv_words_find(truths, text, strlen(text)) >= 0)
        *value = true;
    else if (fv_words_find(falsehoods, text, strlen(text)) >= 0)
        *value = false;
    else
        return value_error(syntax, option->env, "1, on, true, 0, off or false", text);
    return CLI_GO_ON;
}

/* A variable that is empty counts as one that is not set: compose files and unit files can't unset what they name. */
static const char *environment_value(const char *name) {
    const char *text = getenv(name);
    return text && text[0] ? text : NULL;
}

/* llama.cpp: LLAMA_ARG_NO_X, with any value, is the negated form of LLAMA_ARG_X. */
static bool env_has_negation(const char *env) {
    char name[NAME_BYTES + 8];
    static const char prefix[] = "LLAMA_ARG_";
    if (strncmp(env, prefix, strlen(prefix)) != 0) return false;
    snprintf(name, sizeof name, "%sNO_%s", prefix, env + strlen(prefix));
    return environment_value(name) != NULL;
}

static int read_environment(const cli_syntax *syntax) {
    for (size_t g = 0; g < syntax->group_count; g++) {
        const cli_option_group *group = &syntax->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            const cli_option *option = &group->options[i];
            if (!option->env) continue;
            const char *text = environment_value(option->env);
            int result = CLI_GO_ON;
            bool *flag = (bool *)((char *)group->target + option->offset);
            if (option->kind == CLI_SWITCH && env_has_negation(option->env))
                *flag = false;
            else if (option->kind == CLI_MODE && env_has_negation(option->env))
                set_mode(group, option, option->high);
            else if (option->kind == CLI_SWITCH && text)
                result = set_switch_from_env(syntax, option, text, flag);
            else if (text)
                result = set_value(syntax, group, option, option->env, text);
            if (result != CLI_GO_ON) return result;
        }
    }
    return CLI_GO_ON;
}

/* ---- arguments ---- */

/* As llama.cpp: in long flags '_' is as good as '-'. Cuts "--name=value" at the sign; *value points after it. */
static void normalise_name(const char *argument, char *name, const char **value) {
    size_t length = strlen(argument);
    *value = NULL;
    if (strncmp(argument, "--", 2) == 0) {
        length = strcspn(argument, "=");
        if (argument[length] == '=') *value = argument + length + 1;
    }
    snprintf(name, NAME_BYTES, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1), argument);
    if (strncmp(name, "--", 2) != 0) return;
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
}

/* The table line that has `name`; *negated: by a name that switches it off. NULL if none has. */
static const cli_option *find_option(const cli_syntax *syntax, const char *name, const cli_option_group **group,
                                     bool *negated) {
    for (size_t g = 0; g < syntax->group_count; g++) {
        *group = &syntax->groups[g];
        for (size_t i = 0; i < (*group)->count; i++) {
            const cli_option *option = &(*group)->options[i];
            *negated = fv_words_find(option->negated, name, strlen(name)) >= 0;
            if (*negated || fv_words_find(option->names, name, strlen(name)) >= 0) return option;
        }
    }
    return NULL;
}

static int unknown_flag(const cli_syntax *syntax, const char *name) {
    for (size_t i = 0; i < sizeof refused_flags / sizeof refused_flags[0]; i++)
        if (fv_words_find(refused_flags[i].names, name, strlen(name)) >= 0)
            return cli_usage_error(syntax->verb, "%s: %s", name, refused_flags[i].reason);
    char nearest[NAME_BYTES];
    size_t best = SIZE_MAX;
    best = fv_words_nearest("--help", name, best, nearest, sizeof nearest);
    for (size_t g = 0; g < syntax->group_count; g++)
        for (size_t i = 0; i < syntax->groups[g].count; i++) {
            best = fv_words_nearest(syntax->groups[g].options[i].names, name, best, nearest, sizeof nearest);
            best = fv_words_nearest(syntax->groups[g].options[i].negated, name, best, nearest, sizeof nearest);
        }
    return cli_usage_error(syntax->verb, "unknown flag '%s'; did you mean '%s'?", name, nearest);
}

/* Whether `text` is one of the choices, or for a flag without effect a list of them, as llama-bench has lists. */
static bool is_choice(const cli_option *option, const char *text) {
    for (;; text++) {
        size_t length = option->kind == CLI_IGNORED ? strcspn(text, ",") : strlen(text);
        if (fv_words_find(option->choices, text, length) < 0) return false;
        text += length;
        if (!*text) return true;
    }
}

/* Takes the flag at argv[*index], and its value; *index is then the last argument used. */
static int take_flag(const cli_syntax *syntax, int argc, char **argv, int *index) {
    char name[NAME_BYTES];
    const char *value;
    const cli_option_group *group;
    bool negated;
    normalise_name(argv[*index], name, &value);
    const cli_option *option = find_option(syntax, name, &group, &negated);
    if (!option) return unknown_flag(syntax, name);
    if (option->kind == CLI_IGNORED) cli_note("%s has no effect here: %s", name, option->help);
    if (!value_name(option) || negated) {
        if (value) return cli_usage_error(syntax->verb, "%s takes no value", name);
        if (option->kind == CLI_SWITCH) *(bool *)((char *)group->target + option->offset) = !negated;
        if (option->kind == CLI_MODE) set_mode(group, option, option->high);
        return CLI_GO_ON;
    }
    const char *next = *index + 1 < argc ? argv[*index + 1] : NULL;
    bool optional = option->choices && (option->kind == CLI_IGNORED || option->kind == CLI_MODE);
    if (!value && optional && (!next || !is_choice(option, next))) {
        if (option->kind == CLI_MODE) set_mode(group, option, option->low);
        return CLI_GO_ON;
    }
    if (!value && !next) return cli_usage_error(syntax->verb, "%s needs a value: %s", name, value_name(option));
    if (!value) {
        value = next;
        (*index)++;
    }
    return set_value(syntax, group, option, name, value);
}

/* ---- help ---- */

static void default_of(const cli_option *option, const void *target, char *text, size_t bytes) {
    const char *words = option->choices;
    int index = 0;
    text[0] = 0;
    if (option->kind == CLI_INTEGER) snprintf(text, bytes, "%lld", (long long)*(const int64_t *)target);
    if (option->kind == CLI_U32) snprintf(text, bytes, "%lu", (unsigned long)*(const uint32_t *)target);
    if (option->kind == CLI_I32) snprintf(text, bytes, "%ld", (long)*(const int32_t *)target);
    if (option->kind == CLI_REAL) snprintf(text, bytes, "%g", *(const double *)target);
    if (option->kind == CLI_F32) snprintf(text, bytes, "%g", (double)*(const float *)target);
    if (option->kind == CLI_CHOICE) index = *(const int *)target;
    for (size_t length; option->kind == CLI_CHOICE && (length = fv_words_next(&words)) > 0; words += length, index--)
        if (index == 0) snprintf(text, bytes, "%.*s", (int)length, words);
}

static void keep_defaults(const cli_syntax *syntax, default_text *defaults) {
    size_t flag = 0;
    for (size_t g = 0; g < syntax->group_count; g++)
        for (size_t i = 0; i < syntax->groups[g].count && flag < FLAGS_MAX; i++, flag++) {
            const cli_option *option = &syntax->groups[g].options[i];
            default_of(option, (const char *)syntax->groups[g].target + option->offset, defaults[flag],
                       sizeof defaults[flag]);
        }
}

static void print_padded(const char *text, const char *indent) {
    for (;;) {
        size_t length = strcspn(text, "\n");
        cli_print("%.*s", (int)length, text);
        if (!text[length]) return;
        text += length + 1;
        cli_print("\n%s", indent);
    }
}

static void print_option(const cli_option *option, const char *standard) {
    static const char indent[] = "                                "; /* 32 blanks */
    char left[256];
    size_t used = 0, length;
    for (const char *cursor = option->names; (length = fv_words_next(&cursor)) > 0; cursor += length)
        used += (size_t)snprintf(left + used, sizeof left - used, "%s%.*s", used ? ", " : "", (int)length, cursor);
    if (option->negated) used += (size_t)snprintf(left + used, sizeof left - used, " / %s", option->negated);
    if (value_name(option)) snprintf(left + used, sizeof left - used, " %s", value_name(option));
    if (strlen(left) + 4 > strlen(indent))
        cli_print("  %s\n%s", left, indent);
    else
        cli_print("  %-*s", (int)strlen(indent) - 2, left);
    if (option->kind == CLI_IGNORED) cli_print("accepted, has no effect: ");
    print_padded(option->help, indent);
    if (option->standard) standard = option->standard;
    if (standard[0])
        cli_print(" (default: %s%s%s)", standard, option->note ? ", " : "", option->note ? option->note : "");
    cli_print("\n");
    if (option->env) cli_print("%s(env: %s)\n", indent, option->env);
}

static void print_help(const cli_syntax *syntax, const default_text *defaults) {
    size_t flag = 0;
    cli_print("usage: fovea %s %s\n\n%s\n", syntax->verb, syntax->synopsis, syntax->about);
    for (size_t g = 0; g < syntax->group_count; g++) {
        cli_print("\n%s:\n", syntax->groups[g].title);
        for (size_t i = 0; i < syntax->groups[g].count && flag < FLAGS_MAX; i++)
            print_option(&syntax->groups[g].options[i], defaults[flag++]);
    }
    cli_print(
        "\n  -h, --help, --usage           this text\n"
        "\nAn argument wins over the environment. Results go to standard output, everything else to standard error.\n"
        "Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.\n");
}

int cli_options_parse(const cli_syntax *syntax, int argc, char **argv) {
    default_text defaults[FLAGS_MAX];
    keep_defaults(syntax, defaults);
    int result = read_environment(syntax);
    for (int i = 1; i < argc && result == CLI_GO_ON; i++) {
        if (fv_words_find("-h --help --usage", argv[i], strlen(argv[i])) >= 0) {
            print_help(syntax, (const default_text *)defaults);
            return CLI_DONE;
        }
        if (strcmp(argv[i], "--version") == 0) return cli_print("fovea " CLI_VERSION "\n") ? CLI_DONE : CLI_FAILED;
        if (argv[i][0] == '-' && argv[i][1])
            result = take_flag(syntax, argc, argv, &i);
        else if (syntax->operand && !*syntax->operand)
            *syntax->operand = argv[i];
        else if (syntax->second && !*syntax->second)
            *syntax->second = argv[i];
        else
            result = cli_usage_error(syntax->verb, "'%s' does not belong to any flag", argv[i]);
    }
    return result;
}
