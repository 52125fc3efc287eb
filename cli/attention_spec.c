/* attention_spec.c - one table of keys per policy: the parser, the list in the error and nothing else reads it. */
#include "attention_spec.h"
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cli_attention_help[] =
    "what attention reads (default: dense):\n"
    "  dense\n"
    "  window:window=512,sinks=16\n"
    "  pattern:window=128,block=64,globals=0+7,log-stride=on,landmarks=on\n"
    "  fovea:selector=shadow,budget=0.16,floor=64,window=128,sinks=16,dense-below=auto,\n"
    "        tail=off,certificate=off,quality=X; in place of budget: pages=N, or\n"
    "        top-p=P,cap=N; selector: shadow, cascade (reads fewer bytes to choose) or window;\n"
    "        top-p, certificate and quality need shadow; tail=codes: an eighth of what may be\n"
    "        chosen is given up for a coarse look at as many pages as these bytes are enough for\n"
    "        (shadow, cascade; without certificate; docs/numbers.md)\n"
    "        fovea alone is this: 16 % of what is visible, at least 64 pages of 16 tokens;\n"
    "        with a budget of your own floor is 0 unless given (SmolLM2-135M, 8,192 tokens: KL 0.011 and 23 % of the "
    "bytes\n"
    "        of dense in decode, KL 0.015 and 16 % of the keys in prompts)\n"
    "keys may be left out; globals=none for no global token";

enum key_kind {
    KEY_NUMBER,
    KEY_SWITCH,
    KEY_GLOBALS,
    KEY_SHARE,    /* a number above 0, at most 1; one of the three budgets */
    KEY_PAGES,    /* a number of pages; likewise */
    KEY_SELECTOR, /* by name */
    KEY_AUTO,     /* a number, or auto */
    KEY_QUALITY,  /* a number above 0; asks for a certificate */
    KEY_TAIL      /* off or codes */
};

typedef struct spec_key {
    const char *name;
    enum key_kind kind;
    size_t offset; /* of a uint32_t in fv_policy */
    uint32_t low, high, multiple;
} spec_key;

#define FOVEA_FLOOR \
    64 /* pages: without a budget of its own, fovea reads at least 1,024 tokens, so that short contexts keep their \
          quality */
#define LARGEST 1073741824u /* 2^30: the most tokens that a cache can hold */
static const spec_key window_keys[] = {
    {"window", KEY_NUMBER, offsetof(fv_policy, window), 1, LARGEST, 1},
    {"sinks", KEY_NUMBER, offsetof(fv_policy, sinks), 0, LARGEST, 1},
};
static const spec_key pattern_keys[] = {
    {"window", KEY_NUMBER, offsetof(fv_policy, window), 0, LARGEST, 1},
    {"block", KEY_NUMBER, offsetof(fv_policy, block), 16, 1048576, 16},
    {"globals", KEY_GLOBALS, offsetof(fv_policy, globals_count), 0, LARGEST, 1},
    {"log-stride", KEY_SWITCH, offsetof(fv_policy, log_stride), 0, 1, 1},
    {"landmarks", KEY_SWITCH, offsetof(fv_policy, landmarks), 0, 1, 1},
};

static const spec_key fovea_keys[] = {
    {"selector", KEY_SELECTOR, offsetof(fv_policy, selector), 0, 0, 1},
    {"budget", KEY_SHARE, offsetof(fv_policy, budget), 0, 1, 1},
    {"pages", KEY_PAGES, offsetof(fv_policy, pages), 1, LARGEST, 1},
    {"top-p", KEY_SHARE, offsetof(fv_policy, top_p), 0, 1, 1},
    {"floor", KEY_NUMBER, offsetof(fv_policy, floor), 0, LARGEST, 1},
    {"cap", KEY_NUMBER, offsetof(fv_policy, cap), 1, LARGEST, 1},
    {"window", KEY_NUMBER, offsetof(fv_policy, window), 1, LARGEST, 1},
    {"sinks", KEY_NUMBER, offsetof(fv_policy, sinks), 0, LARGEST, 1},
    {"dense-below", KEY_AUTO, offsetof(fv_policy, dense_below), 0, LARGEST, 1},
    {"tail", KEY_TAIL, offsetof(fv_policy, tail), 0, 1, 1},
    {"certificate", KEY_SWITCH, offsetof(fv_policy, certificate), 0, 1, 1},
    {"quality", KEY_QUALITY, offsetof(fv_policy, quality), 0, 0, 1},
};

static const struct policy {
    const char *name;
    fv_selector selector;
    const spec_key *keys;
    size_t key_count;
} policies[] = {
    {"dense", FV_SELECTOR_DENSE, NULL, 0},
    {"window", FV_SELECTOR_WINDOW, window_keys, sizeof window_keys / sizeof window_keys[0]},
    {"pattern", FV_SELECTOR_PATTERN, pattern_keys, sizeof pattern_keys / sizeof pattern_keys[0]},
    {"fovea", FV_SELECTOR_FOVEA, fovea_keys, sizeof fovea_keys / sizeof fovea_keys[0]},
};
#define POLICIES (sizeof policies / sizeof policies[0])

/* A part of the specification: not zero-terminated. */
typedef struct piece {
    const char *bytes;
    size_t length;
} piece;

static bool piece_is(piece text, const char *word) {
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

static bool piece_number(piece text, uint32_t low, uint32_t high, uint32_t *value) {
    uint64_t number = 0;
    if (text.length == 0 || text.length > 10) return false;
    for (size_t i = 0; i < text.length; i++) {
        if (!isdigit((unsigned char)text.bytes[i])) return false;
        number = number * 10 + (uint64_t)(text.bytes[i] - '0');
    }
    if (number < low || number > high) return false;
    *value = (uint32_t)number;
    return true;
}

static fv_status set_number(const spec_key *key, piece value, uint32_t *field, fv_message *message) {
    uint32_t number;
    if (piece_number(value, key->low, key->high, &number) && number % key->multiple == 0) {
        *field = number;
        return FV_OK;
    }
    return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes a whole number from %u to %u%s, not '%.*s'", key->name,
                          key->low, key->high, key->multiple == 16 ? ", a multiple of 16" : "", (int)value.length,
                          value.bytes);
}

static fv_status set_switch(const spec_key *key, piece value, uint32_t *field, fv_message *message) {
    bool on = piece_is(value, "on"), off = piece_is(value, "off");
    if (!on && !off)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes on or off, not '%.*s'", key->name,
                              (int)value.length, value.bytes);
    *field = on;
    return FV_OK;
}

/* "0+7" or "none". */
static fv_status set_globals(const spec_key *key, piece value, fv_policy *config, fv_message *message) {
    config->globals_count = 0;
    if (piece_is(value, "none")) return FV_OK;
    for (piece rest = value;;) {
        const char *plus = memchr(rest.bytes, '+', rest.length);
        piece item = {rest.bytes, plus ? (size_t)(plus - rest.bytes) : rest.length};
        if (config->globals_count == FV_POLICY_GLOBALS)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "globals takes at most %d tokens", FV_POLICY_GLOBALS);
        if (!piece_number(item, key->low, key->high, &config->globals[config->globals_count]))
            return fv_message_set(message, FV_ERROR_ARGUMENT,
                                  "globals takes token positions joined by + (0+7), or none; not '%.*s'",
                                  (int)value.length, value.bytes);
        config->globals_count++;
        if (!plus) return FV_OK;
        rest = (piece){plus + 1, rest.length - item.length - 1};
    }
}

/* Digits and a point; what strtod() takes besides (signs, exponents, nan) is refused. */
static bool piece_real(piece text, double *value) {
    char copy[32], *end = copy;
    if (text.length == 0 || text.length >= sizeof copy || strspn(text.bytes, "0123456789.") < text.length) return false;
    memcpy(copy, text.bytes, text.length);
    copy[text.length] = 0;
    *value = strtod(copy, &end);
    return *end == 0;
}

/* The three ways to say how much put each other out, but only a default: two that were given are refused. */
static fv_status set_budget(const spec_key *key, piece value, fv_policy *config, uint32_t *given, fv_message *message) {
    double share = 0;
    uint32_t pages = 0;
    if ((*given)++) return fv_message_set(message, FV_ERROR_ARGUMENT, "give one of budget, pages and top-p");
    if (key->kind == KEY_PAGES && !piece_number(value, key->low, key->high, &pages))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes a whole number from %u to %u, not '%.*s'",
                              key->name, key->low, key->high, (int)value.length, value.bytes);
    if (key->kind == KEY_SHARE && !(piece_real(value, &share) && (float)share > 0.0f && share <= 1.0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes a number above 0, at most 1, not '%.*s'", key->name,
                              (int)value.length, value.bytes);
    config->budget = config->top_p = 0.0f;
    config->pages = pages;
    if (config->floor == FOVEA_FLOOR) config->floor = 0;
    if (key->kind == KEY_SHARE) *(float *)(void *)((char *)config + key->offset) = (float)share;
    return FV_OK;
}

/* Names of `fovea:selector=`. */
static const struct selector_name {
    const char *name;
    fv_selector selector;
} selectors[] = {{"shadow", FV_SELECTOR_FOVEA}, {"cascade", FV_SELECTOR_CASCADE}, {"window", FV_SELECTOR_WINDOW}};
#define SELECTORS (sizeof selectors / sizeof selectors[0])

static fv_status set_selector(piece value, uint32_t *field, fv_message *message) {
    char names[128];
    size_t used = 0;
    for (size_t i = 0; i < SELECTORS; i++) {
        if (piece_is(value, selectors[i].name)) {
            *field = selectors[i].selector;
            return FV_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", selectors[i].name);
    }
    return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no selector '%.*s'; there are: %s", (int)value.length,
                          value.bytes, names);
}

static fv_status set_quality(const spec_key *key, piece value, fv_policy *config, fv_message *message) {
    double quality;
    if (!(piece_real(value, &quality) && (float)quality > 0.0f && quality <= 1e6))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes a number above 0, not '%.*s'", key->name,
                              (int)value.length, value.bytes);
    config->quality = (float)quality;
    config->certificate = 1;
    return FV_OK;
}

static fv_status set_auto(const spec_key *key, piece value, uint32_t *field, fv_message *message) {
    if (piece_is(value, "auto")) {
        *field = FV_POLICY_AUTO;
        return FV_OK;
    }
    if (piece_number(value, key->low, key->high, field)) return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes auto or a whole number from %u to %u, not '%.*s'",
                          key->name, key->low, key->high, (int)value.length, value.bytes);
}

static fv_status set_tail(const spec_key *key, piece value, uint32_t *field, fv_message *message) {
    bool codes = piece_is(value, "codes"), off = piece_is(value, "off");
    if (!codes && !off)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes off or codes, not '%.*s'", key->name,
                              (int)value.length, value.bytes);
    *field = codes;
    return FV_OK;
}

static fv_status unknown_key(const struct policy *policy, piece name, fv_message *message) {
    char keys[192];
    size_t used = 0;
    if (policy->key_count == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s takes no keys, not '%.*s'", policy->name,
                              (int)name.length, name.bytes);
    for (size_t i = 0; i < policy->key_count; i++)
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", i ? ", " : "", policy->keys[i].name);
    return fv_message_set(message, FV_ERROR_ARGUMENT, "%s has no key '%.*s'; its keys: %s", policy->name,
                          (int)name.length, name.bytes, keys);
}

/* One "key=value". */
static fv_status set_key(const struct policy *policy, piece item, fv_policy *config, uint32_t *budgets,
                         fv_message *message) {
    const char *equals = memchr(item.bytes, '=', item.length);
    piece name = {item.bytes, equals ? (size_t)(equals - item.bytes) : item.length};
    for (size_t i = 0; i < policy->key_count; i++) {
        const spec_key *key = &policy->keys[i];
        if (!piece_is(name, key->name)) continue;
        if (!equals)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "%s needs a value: %s=...", key->name, key->name);
        piece value = {equals + 1, item.length - name.length - 1};
        uint32_t *field = (uint32_t *)(void *)((char *)config + key->offset);
        switch (key->kind) {
        case KEY_NUMBER:
            return set_number(key, value, field, message);
        case KEY_SWITCH:
            return set_switch(key, value, field, message);
        case KEY_GLOBALS:
            return set_globals(key, value, config, message);
        case KEY_SHARE:
        case KEY_PAGES:
            return set_budget(key, value, config, budgets, message);
        case KEY_SELECTOR:
            return set_selector(value, field, message);
        case KEY_AUTO:
            return set_auto(key, value, field, message);
        case KEY_QUALITY:
            return set_quality(key, value, config, message);
        case KEY_TAIL:
            return set_tail(key, value, field, message);
        }
    }
    return unknown_key(policy, name, message);
}

static fv_status find_policy(piece name, const struct policy **policy, fv_message *message) {
    for (size_t i = 0; i < POLICIES; i++)
        if (piece_is(name, policies[i].name)) {
            *policy = &policies[i];
            return FV_OK;
        }
    return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no '%.*s'; there are: dense, window, pattern, fovea",
                          (int)name.length, name.bytes);
}

fv_status cli_attention_parse(const char *text, fv_policy *config, fv_message *message) {
    const struct policy *policy = NULL;
    const char *colon = strchr(text, ':');
    piece name = {text, colon ? (size_t)(colon - text) : strlen(text)};
    fv_status status = find_policy(name, &policy, message);
    if (status != FV_OK) return status;
    fv_policy made = fv_policy_default(policy->selector);
    uint32_t budgets = 0;
    if (fv_policy_is_dynamic(&made)) made.floor = FOVEA_FLOOR;
    for (const char *rest = colon; rest && status == FV_OK;) {
        piece item = {rest + 1, strcspn(rest + 1, ",")};
        status = set_key(policy, item, &made, &budgets, message);
        rest = item.bytes[item.length] ? item.bytes + item.length : NULL;
    }
    if (status != FV_OK) return status;
    /* an estimate of all mass needs the codes of all pages */
    bool weighs_all = made.top_p != 0.0f || made.certificate;
    if (fv_policy_is_dynamic(&made) && made.certificate && made.selector != FV_SELECTOR_FOVEA)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "certificate and quality need selector=shadow");
    if (fv_policy_is_dynamic(&made) && made.tail && made.certificate)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "tail=codes has no certificate and no quality");
    if (fv_policy_is_dynamic(&made) && weighs_all && made.selector != FV_SELECTOR_FOVEA)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "top-p needs selector=shadow");
    if (fv_policy_is_dynamic(&made) && made.pages && made.pages < fv_policy_min_pages(&made))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "pages takes at least %u: those of %u sinks, a window of %u and the row's own",
                              fv_policy_min_pages(&made), made.sinks, made.window);
    if (fv_policy_check(&made) != FV_OK)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "'%s' is out of range (a global token given twice?)", text);
    *config = made;
    return FV_OK;
}

int cli_attention_list(const char *verb, const cli_texts *texts, cli_attention *list, size_t most, size_t *count) {
    fv_message message = {""};
    list[0] = (cli_attention){.text = "dense", .config = fv_policy_default(FV_SELECTOR_DENSE)};
    *count = 1;
    for (size_t i = 0; i < texts->count; i++) {
        fv_policy config;
        if (cli_attention_parse(texts->items[i], &config, &message) != FV_OK)
            return cli_usage_error(verb, "--attention: %s", message.text);
        if (config.selector == FV_SELECTOR_DENSE) continue;
        if (*count == most) return cli_usage_error(verb, "--attention can be given %zu times", most - 1);
        list[(*count)++] = (cli_attention){.text = texts->items[i], .config = config};
    }
    return CLI_GO_ON;
}
