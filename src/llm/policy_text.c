/* policy_text.c - the text of a policy. One table of keys for each name: reading, writing and the lists in messages
 * have no other. */
#include "fovea/policy_text.h"
#include <stdio.h>
#include <string.h>

#define LARGEST 1073741824u /* 2^30: the most tokens that a cache can hold */

typedef enum key_kind {
    KEY_NUMBER,  /* low..high, a multiple of `multiple` */
    KEY_AUTO,    /* likewise, or auto */
    KEY_WORDS,   /* one of two words, 0 and 1 */
    KEY_GLOBALS, /* token positions joined by +, or none */
    KEY_SHARE,   /* a number above 0, at most `high` */
    KEY_SELECTOR /* by name */
} key_kind;

typedef struct text_key {
    const char *name;
    key_kind kind;
    size_t offset; /* in fv_policy, of a uint32_t; of SHARE, of a float */
    uint32_t low, high, multiple;
    const char *words[2];
} text_key;

#define FIELD(name) offsetof(fv_policy, name)
#define ON_OFF \
    { "off", "on" }
static const text_key window_keys[] = {
    {.name = "window", .kind = KEY_NUMBER, .offset = FIELD(window), .low = 1, .high = LARGEST, .multiple = 1},
    {.name = "sinks", .kind = KEY_NUMBER, .offset = FIELD(sinks), .high = LARGEST, .multiple = 1},
    {.name = "question", .kind = KEY_NUMBER, .offset = FIELD(question), .high = LARGEST, .multiple = 1},
};
static const text_key pattern_keys[] = {
    {.name = "window", .kind = KEY_NUMBER, .offset = FIELD(window), .high = LARGEST, .multiple = 1},
    {.name = "block", .kind = KEY_NUMBER, .offset = FIELD(block), .low = 16, .high = 1048576, .multiple = 16},
    {.name = "globals", .kind = KEY_GLOBALS, .offset = FIELD(globals_count), .high = LARGEST},
    {.name = "log-stride", .kind = KEY_WORDS, .offset = FIELD(log_stride), .words = ON_OFF},
    {.name = "landmarks", .kind = KEY_WORDS, .offset = FIELD(landmarks), .words = ON_OFF},
};
static const text_key fovea_keys[] = {
    {.name = "selector", .kind = KEY_SELECTOR, .offset = FIELD(selector)},
    {.name = "budget", .kind = KEY_SHARE, .offset = FIELD(budget), .high = 1},
    {.name = "pages", .kind = KEY_NUMBER, .offset = FIELD(pages), .low = 1, .high = LARGEST, .multiple = 1},
    {.name = "top-p", .kind = KEY_SHARE, .offset = FIELD(top_p), .high = 1},
    {.name = "floor", .kind = KEY_NUMBER, .offset = FIELD(floor), .high = LARGEST, .multiple = 1},
    {.name = "floor-share", .kind = KEY_SHARE, .offset = FIELD(floor_share), .high = 1},
    {.name = "cap", .kind = KEY_NUMBER, .offset = FIELD(cap), .low = 1, .high = LARGEST, .multiple = 1},
    {.name = "window", .kind = KEY_NUMBER, .offset = FIELD(window), .low = 1, .high = LARGEST, .multiple = 1},
    {.name = "sinks", .kind = KEY_NUMBER, .offset = FIELD(sinks), .high = LARGEST, .multiple = 1},
    {.name = "dense-below", .kind = KEY_AUTO, .offset = FIELD(dense_below), .high = LARGEST, .multiple = 1},
    {.name = "tail", .kind = KEY_WORDS, .offset = FIELD(tail), .words = {"off", "codes"}},
    {.name = "certificate", .kind = KEY_WORDS, .offset = FIELD(certificate), .words = ON_OFF},
    {.name = "quality", .kind = KEY_SHARE, .offset = FIELD(quality), .high = 1000000},
    {.name = "question", .kind = KEY_NUMBER, .offset = FIELD(question), .high = LARGEST, .multiple = 1},
};

/* The names, and the `selector` where one name has several. */
static const struct selector_text {
    const char *name, *selector;
} selectors[] = {
#define SELECTOR_TEXT(NAME, name, selector) {name, selector},
    FV_SELECTOR_LIST(SELECTOR_TEXT)
#undef SELECTOR_TEXT
};

/* A name with its keys. */
typedef struct family {
    fv_selector selector; /* of the name alone */
    const text_key *keys;
    size_t key_count;
} family;

#define KEYS(list) list, sizeof list / sizeof list[0]
static const family families[] = {
    {FV_SELECTOR_DENSE, NULL, 0},
    {FV_SELECTOR_WINDOW, KEYS(window_keys)},
    {FV_SELECTOR_PATTERN, KEYS(pattern_keys)},
    {FV_SELECTOR_FOVEA, KEYS(fovea_keys)},
};
#define FAMILIES (sizeof families / sizeof families[0])

static const char *family_name(const family *of) { return selectors[of->selector].name; }

static uint32_t *number_of(fv_policy *policy, const text_key *key) {
    return (uint32_t *)(void *)((unsigned char *)policy + key->offset);
}

static float *share_of(fv_policy *policy, const text_key *key) {
    return (float *)(void *)((unsigned char *)policy + key->offset);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* A part of the text: not zero-terminated. */
typedef struct piece {
    const char *bytes;
    size_t length;
} piece;

/* A policy as far as it has been read. */
typedef struct reading {
    const family *family;
    fv_policy policy;
    uint32_t given; /* bit i: key i of the family */
    fv_message *message;
} reading;

#define PIECE(text) (int)((text).length < 64 ? (text).length : 64), (text).bytes /* for %.*s */

static bool piece_is(piece text, const char *word) {
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool piece_number(piece text, uint32_t low, uint32_t high, uint32_t *value) {
    uint64_t number = 0;
    if (text.length == 0 || text.length > 10) return false;
    for (size_t i = 0; i < text.length; i++) {
        if (!is_digit(text.bytes[i])) return false;
        number = number * 10 + (uint64_t)(text.bytes[i] - '0');
    }
    if (number < low || number > high) return false;
    *value = (uint32_t)number;
    return true;
}

/* Digits with at most one point; no sign, no exponent. strtod() would ask the locale what a point is. Exact as strtod()
 * up to 15 digits; of more, the first 18 count. */
static bool piece_real(piece text, double *value) {
    enum { MOST_DIGITS = 18 };
    uint64_t number = 0;
    size_t digits = 0, used = 0;
    int power = 0;
    bool point = false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(text.bytes[i])) return false;
        digits++;
        if (used < MOST_DIGITS) {
            number = number * 10 + (uint64_t)(text.bytes[i] - '0');
            used += number != 0; /* leading zeros are no digits of the number */
            power -= point;
        } else {
            power += !point;
        }
    }
    double scale = 1.0, whole = (double)number;
    for (int i = power < 0 ? -power : power; i > 0 && scale < 1e300; i--) scale *= 10.0; /* exact up to 10^22 */
    *value = power < 0 ? whole / scale : whole * scale;
    return digits > 0;
}

static fv_status refuse(const reading *to, const text_key *key, const char *allowed, piece value) {
    return fv_message_set(to->message, FV_ERROR_POLICY, "%s takes %s, not '%.*s'", key->name, allowed, PIECE(value));
}

static fv_status read_number(reading *to, const text_key *key, piece value) {
    uint32_t number;
    char allowed[96];
    uint32_t *field = number_of(&to->policy, key);
    if (key->kind == KEY_AUTO && piece_is(value, "auto")) {
        *field = FV_POLICY_AUTO;
        return FV_OK;
    }
    if (piece_number(value, key->low, key->high, &number) && number % key->multiple == 0) {
        *field = number;
        return FV_OK;
    }
    snprintf(allowed, sizeof allowed, "%sa whole number from %u to %u%s", key->kind == KEY_AUTO ? "auto or " : "",
             key->low, key->high, key->multiple == 16 ? ", a multiple of 16" : "");
    return refuse(to, key, allowed, value);
}

static fv_status read_words(reading *to, const text_key *key, piece value) {
    char allowed[32];
    for (uint32_t i = 0; i < 2; i++) {
        if (!piece_is(value, key->words[i])) continue;
        *number_of(&to->policy, key) = i;
        return FV_OK;
    }
    snprintf(allowed, sizeof allowed, "%s or %s", key->words[0], key->words[1]);
    return refuse(to, key, allowed, value);
}

static fv_status read_share(reading *to, const text_key *key, piece value) {
    double share;
    char allowed[48];
    if (piece_real(value, &share) && (float)share > 0.0f && share <= (double)key->high) {
        *share_of(&to->policy, key) = (float)share;
        return FV_OK;
    }
    snprintf(allowed, sizeof allowed, "a number above 0, at most %u", key->high);
    return refuse(to, key, allowed, value);
}

/* "0+7" or "none". */
static fv_status read_globals(reading *to, const text_key *key, piece value) {
    fv_policy *policy = &to->policy;
    policy->globals_count = 0;
    memset(policy->globals, 0, sizeof policy->globals);
    if (piece_is(value, "none")) return FV_OK;
    for (piece rest = value;;) {
        const char *plus = memchr(rest.bytes, '+', rest.length);
        piece item = {rest.bytes, plus ? (size_t)(plus - rest.bytes) : rest.length};
        if (policy->globals_count == FV_POLICY_GLOBALS)
            return fv_message_set(to->message, FV_ERROR_POLICY, "globals takes at most %d tokens, not '%.*s'",
                                  FV_POLICY_GLOBALS, PIECE(value));
        if (!piece_number(item, key->low, key->high, &policy->globals[policy->globals_count]))
            return refuse(to, key, "token positions joined by + (0+7), or none", value);
        policy->globals_count++;
        if (!plus) return FV_OK;
        rest = (piece){plus + 1, rest.length - item.length - 1};
    }
}

static fv_status read_selector(reading *to, const text_key *key, piece value) {
    char names[128];
    size_t used = 0;
    for (uint32_t i = 0; i < FV_SELECTOR_COUNT; i++) {
        if (strcmp(selectors[i].name, family_name(to->family)) != 0) continue;
        if (piece_is(value, selectors[i].selector)) {
            *number_of(&to->policy, key) = i;
            return FV_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", selectors[i].selector);
    }
    return fv_message_set(to->message, FV_ERROR_POLICY, "there is no selector '%.*s'; there are: %s", PIECE(value),
                          names);
}

static fv_status read_value(reading *to, const text_key *key, piece value) {
    switch (key->kind) {
    case KEY_NUMBER:
    case KEY_AUTO:
        return read_number(to, key, value);
    case KEY_WORDS:
        return read_words(to, key, value);
    case KEY_GLOBALS:
        return read_globals(to, key, value);
    case KEY_SHARE:
        return read_share(to, key, value);
    case KEY_SELECTOR:
        break;
    }
    return read_selector(to, key, value);
}

static bool is_given(const reading *from, const char *name) {
    for (size_t i = 0; i < from->family->key_count; i++)
        if (strcmp(from->family->keys[i].name, name) == 0) return from->given >> i & 1u;
    return false;
}

static fv_status refuse_key(const reading *to, piece name) {
    char keys[192];
    size_t used = 0;
    if (to->family->key_count == 0)
        return fv_message_set(to->message, FV_ERROR_POLICY, "%s takes no keys, not '%.*s'", family_name(to->family),
                              PIECE(name));
    for (size_t i = 0; i < to->family->key_count; i++)
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", i ? ", " : "", to->family->keys[i].name);
    return fv_message_set(to->message, FV_ERROR_POLICY, "%s has no key '%.*s'; its keys: %s", family_name(to->family),
                          PIECE(name), keys);
}

/* One "key=value". */
static fv_status read_key(reading *to, piece item) {
    const char *equals = memchr(item.bytes, '=', item.length);
    piece name = {item.bytes, equals ? (size_t)(equals - item.bytes) : item.length};
    for (size_t i = 0; i < to->family->key_count; i++) {
        const text_key *key = &to->family->keys[i];
        if (!piece_is(name, key->name)) continue;
        if (!equals)
            return fv_message_set(to->message, FV_ERROR_POLICY, "%s needs a value: %s=...", key->name, key->name);
        if (to->given >> i & 1u) return fv_message_set(to->message, FV_ERROR_POLICY, "%s is given twice", key->name);
        to->given |= 1u << i;
        return read_value(to, key, (piece){equals + 1, item.length - name.length - 1});
    }
    return refuse_key(to, name);
}

/* What one key means for another, once all are known: the order of keys has no say. */
static fv_status settle(reading *to) {
    fv_policy *policy = &to->policy;
    uint32_t floor = policy->floor;
    float floor_share = policy->floor_share;
    bool budget = is_given(to, "budget"), pages = is_given(to, "pages"), top_p = is_given(to, "top-p");
    if (budget + pages + top_p > 1)
        return fv_message_set(to->message, FV_ERROR_POLICY, "give one of budget, pages and top-p, not several");
    if (budget) fv_policy_set_budget(policy, policy->budget);
    if (pages) fv_policy_set_pages(policy, policy->pages);
    if (top_p) fv_policy_set_top_p(policy, policy->top_p);
    if (is_given(to, "floor")) policy->floor = floor;
    policy->floor_share = floor_share;
    if (!is_given(to, "quality")) return FV_OK;
    if (is_given(to, "certificate") && !policy->certificate)
        return fv_message_set(to->message, FV_ERROR_POLICY, "quality needs a certificate, not certificate=off");
    policy->certificate = 1;
    return FV_OK;
}

/* Each value is in its range; what is left is what they say together. */
static fv_status check_together(const reading *to) {
    const fv_policy *policy = &to->policy;
    fv_policy_fault fault = fv_policy_find_fault(policy);
    fv_status status = fv_policy_check(policy);
    switch (fault) {
    case FV_POLICY_FAULT_NONE:
        return FV_OK;
    case FV_POLICY_FAULT_PAGES:
        return fv_message_set(to->message, status,
                              "pages takes at least %u: those of %u sinks, a window of %u and the row's own, not '%u'",
                              fv_policy_min_pages(policy), policy->sinks, policy->window, policy->pages);
    case FV_POLICY_FAULT_FLOOR:
        return fv_message_set(to->message, status, "floor takes at most cap, which is %u, not '%u'", policy->cap,
                              policy->floor);
    case FV_POLICY_FAULT_TOP_P:
        return fv_message_set(to->message, status, "top-p needs selector=shadow");
    case FV_POLICY_FAULT_CERTIFICATE:
        return fv_message_set(to->message, status, "certificate and quality need selector=shadow");
    case FV_POLICY_FAULT_TAIL:
        return fv_message_set(to->message, status, "tail=codes has no certificate and no quality");
    default:
        return fv_message_set(to->message, status, "%s %s", fv_policy_fault_field(fault), fv_policy_fault_text(fault));
    }
}

static fv_status find_family(piece name, const family **found, fv_message *message) {
    char names[64];
    size_t used = 0;
    for (size_t i = 0; i < FAMILIES; i++) {
        if (piece_is(name, family_name(&families[i]))) {
            *found = &families[i];
            return FV_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", family_name(&families[i]));
    }
    return fv_message_set(message, FV_ERROR_POLICY, "there is no '%.*s'; there are: %s", PIECE(name), names);
}

fv_status fv_policy_parse(fv_policy *policy, const char *text, fv_message *message) {
    if (!policy || !text) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    const char *colon = strchr(text, ':');
    reading made = {.message = message};
    fv_status status = find_family((piece){text, colon ? (size_t)(colon - text) : strlen(text)}, &made.family, message);
    if (status != FV_OK) return status;
    fv_policy_default(made.family->selector, &made.policy);
    for (const char *rest = colon; rest && status == FV_OK;) {
        piece item = {rest + 1, strcspn(rest + 1, ",")};
        status = read_key(&made, item);
        rest = item.bytes[item.length] ? item.bytes + item.length : NULL;
    }
    if (status == FV_OK) status = settle(&made);
    if (status == FV_OK) status = check_together(&made);
    if (status == FV_OK) *policy = made.policy;
    return status;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Text as it grows; `length` counts on where there is no room. */
typedef struct writing {
    char text[FV_POLICY_TEXT_BYTES];
    size_t length, keys;
} writing;

static void put(writing *to, const char *text) {
    size_t length = strlen(text);
    if (length < sizeof to->text - to->length) memcpy(to->text + to->length, text, length + 1);
    to->length += length;
}

static void put_number(writing *to, uint32_t number) {
    char text[12];
    snprintf(text, sizeof text, "%u", number);
    put(to, text);
}

/* The fewest digits that are read as the same float, without an exponent; the locale's point is stepped over. */
static void put_real(writing *to, float number) {
    char plain[80];
    for (int digits = 1; digits <= 9; digits++) {
        char form[48], figure[10] = "";
        int power = 0, count = 0;
        size_t length = 0;
        double back;
        snprintf(form, sizeof form, "%.*e", digits - 1, (double)number);
        for (const char *byte = form; *byte && *byte != 'e'; byte++)
            if (is_digit(*byte)) figure[count++] = *byte;
        for (const char *byte = strchr(form, 'e') + 2; *byte; byte++) power = power * 10 + (*byte - '0');
        if (strchr(form, 'e')[1] == '-') power = -power;
        if (power < 0) plain[length++] = '0';
        for (int i = power < 0 ? -1 : 0; i < count || i <= power; i++) {
            if (i == (power < 0 ? -1 : power + 1)) {
                plain[length++] = '.';
                for (int zero = power + 1; zero < 0; zero++) plain[length++] = '0';
            }
            if (i >= 0) plain[length++] = i < count ? figure[i] : '0';
        }
        plain[length] = 0;
        if (piece_real((piece){plain, length}, &back) && (float)back == number) break;
    }
    put(to, plain);
}

static void put_globals(writing *to, const fv_policy *policy) {
    if (policy->globals_count == 0) put(to, "none");
    for (uint32_t i = 0; i < policy->globals_count; i++) {
        if (i) put(to, "+");
        put_number(to, policy->globals[i]);
    }
}

static void put_value(writing *to, const text_key *key, fv_policy *policy) {
    uint32_t *number = number_of(policy, key);
    switch (key->kind) {
    case KEY_NUMBER:
        put_number(to, *number);
        return;
    case KEY_AUTO:
        if (*number == FV_POLICY_AUTO) put(to, "auto");
        if (*number != FV_POLICY_AUTO) put_number(to, *number);
        return;
    case KEY_WORDS:
        put(to, key->words[*number]);
        return;
    case KEY_GLOBALS:
        put_globals(to, policy);
        return;
    case KEY_SHARE:
        put_real(to, *share_of(policy, key));
        return;
    case KEY_SELECTOR:
        break;
    }
    put(to, selectors[*number].selector);
}

static bool same_value(const text_key *key, fv_policy *a, fv_policy *b) {
    if (key->kind == KEY_SHARE) return *share_of(a, key) == *share_of(b, key);
    if (*number_of(a, key) != *number_of(b, key)) return false;
    return key->kind != KEY_GLOBALS || memcmp(a->globals, b->globals, a->globals_count * sizeof a->globals[0]) == 0;
}

/* Whether a value of `policy` is what its text would leave out. `usual` is the default with what the keys that are
 * written change in others. */
static bool is_usual(const text_key *key, fv_policy *policy, fv_policy *usual) {
    if (key->kind == KEY_SHARE && *share_of(policy, key) == 0.0f) return true; /* another of the three is set */
    if (key->offset == FIELD(pages) && policy->pages == 0) return true;
    return same_value(key, policy, usual);
}

/* What fv_policy_parse() makes of the budget and the quality of `policy` alone. */
static void usual_make(const fv_policy *policy, fv_selector selector, fv_policy *usual) {
    fv_policy_default(selector, usual);
    bool by_default = policy->budget == usual->budget && policy->floor == usual->floor;
    if (fv_policy_is_dynamic(policy) && !by_default) {
        usual->budget = 0.0f;
        usual->floor = 0;
    }
    usual->certificate = policy->quality > 0.0f;
}

fv_status fv_policy_format(const fv_policy *policy, char *text, size_t bytes) {
    if (!policy || !text) return FV_ERROR_ARGUMENT;
    fv_status status = fv_policy_check(policy);
    if (status != FV_OK) return status;
    if (policy->keep || policy->keep_until || policy->head_share || !policy->causal) return FV_ERROR_POLICY;
    fv_policy from = *policy, usual, back;
    writing made = {.text = ""};
    const family *of = families;
    while (strcmp(family_name(of), selectors[policy->selector].name) != 0) of++;
    usual_make(policy, of->selector, &usual);
    put(&made, family_name(of));
    for (size_t i = 0; i < of->key_count; i++) {
        if (is_usual(&of->keys[i], &from, &usual)) continue;
        put(&made, made.keys++ ? "," : ":");
        put(&made, of->keys[i].name);
        put(&made, "=");
        put_value(&made, &of->keys[i], &from);
    }
    if (made.length >= sizeof made.text || fv_policy_parse(&back, made.text, NULL) != FV_OK) return FV_ERROR_POLICY;
    for (size_t i = 0; i < of->key_count; i++)
        if (!same_value(&of->keys[i], &from, &back)) return FV_ERROR_POLICY;
    if (made.length >= bytes) return FV_ERROR_FULL;
    memcpy(text, made.text, made.length + 1);
    return FV_OK;
}
