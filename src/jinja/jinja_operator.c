/* jinja_operator.c - arithmetic, comparisons and slices, as Python's; whole numbers have 64 bits and say so. */
#include "jinja/jinja_run.h"
#include <math.h>
#include <string.h>

static _Noreturn void fail_operands(fv_run *run, uint32_t sign, const fv_value *a, const fv_value *b) {
    const fv_value *missing = a->kind == FV_VALUE_UNDEFINED ? a : b->kind == FV_VALUE_UNDEFINED ? b : NULL;
    if (missing)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "'%.80s' is undefined", missing->name ? missing->name : "a value");
    fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%c%s of a %s and a %s", (char)(sign & 0xFF),
                  sign > 0xFF ? (sign >> 8 == '/' ? "/" : "*") : "", fv_value_type(a), fv_value_type(b));
}

static _Noreturn void fail_overflow(fv_run *run) {
    fv_jinja_fail(run->room, FV_ERROR_OVERFLOW, "a whole number of more than 64 bits");
}

/* ---- whole numbers ---- */

static int64_t add(fv_run *run, int64_t a, int64_t b) {
    if ((b > 0 && a > INT64_MAX - b) || (b < 0 && a < INT64_MIN - b)) fail_overflow(run);
    return a + b;
}

static int64_t multiply(fv_run *run, int64_t a, int64_t b) {
    if (a == 0 || b == 0) return 0;
    if (a == INT64_MIN || b == INT64_MIN) fail_overflow(run);
    uint64_t x = (uint64_t)(a < 0 ? -a : a), y = (uint64_t)(b < 0 ? -b : b);
    if (x > (uint64_t)INT64_MAX / y) fail_overflow(run);
    return a * b;
}

static int64_t power(fv_run *run, int64_t base, int64_t exponent) {
    int64_t made = 1;
    for (int64_t i = 0; i < exponent; i++) {
        if (base == 0 || base == 1) return base;
        if (base == -1) return exponent % 2 == 0 ? 1 : -1;
        made = multiply(run, made, base);
    }
    return made;
}

static int64_t divide(fv_run *run, int64_t a, int64_t b, bool rest) {
    if (b == -1) return rest ? 0 : multiply(run, a, -1);
    int64_t quotient = a / b, left = a % b;
    if (left != 0 && (left < 0) != (b < 0)) {
        quotient--;
        left += b;
    }
    return rest ? left : quotient;
}

static fv_value operate_integers(fv_run *run, uint32_t sign, int64_t a, int64_t b) {
    bool divides = sign == '/' || sign == '%' || sign == FV_SIGN('/', '/');
    if (divides && b == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a division by zero");
    switch (sign) {
    case '+':
        return fv_value_integer(add(run, a, b));
    case '-':
        if (b == INT64_MIN) fail_overflow(run);
        return fv_value_integer(add(run, a, -b));
    case '*':
        return fv_value_integer(multiply(run, a, b));
    case '/':
        return fv_value_real((double)a / (double)b);
    case '%':
        return fv_value_integer(divide(run, a, b, true));
    case FV_SIGN('/', '/'):
        return fv_value_integer(divide(run, a, b, false));
    default:
        return b < 0 ? fv_value_real(pow((double)a, (double)b)) : fv_value_integer(power(run, a, b));
    }
}

static fv_value operate_reals(fv_run *run, uint32_t sign, double a, double b) {
    bool divides = sign == '/' || sign == '%' || sign == FV_SIGN('/', '/');
    if (divides && !(b < 0) && !(b > 0)) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a division by zero");
    switch (sign) {
    case '+':
        return fv_value_real(a + b);
    case '-':
        return fv_value_real(a - b);
    case '*':
        return fv_value_real(a * b);
    case '/':
        return fv_value_real(a / b);
    case '%':
        return fv_value_real(a - floor(a / b) * b);
    case FV_SIGN('/', '/'):
        return fv_value_real(floor(a / b));
    default:
        return fv_value_real(pow(a, b));
    }
}

/* ---- texts and lists ---- */

fv_value fv_escape(fv_run *run, const fv_value *value) {
    static const char signs[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    fv_value text = fv_value_to_string(run->room, value), part;
    fv_builder builder = {.room = run->room};
    if (text.is_safe) return text;
    for (size_t i = 0, next; i < text.length; i = next) {
        const char *found = text.bytes[i] ? strchr(signs, text.bytes[i]) : NULL;
        for (next = i + 1; !found && next < text.length && !strchr(signs, text.bytes[next]); next++) {
        }
        part = fv_value_part(&text, i, next);
        if (found)
            fv_builder_add(&builder, names[found - signs], strlen(names[found - signs]), fv_string_origin(&text, i));
        else
            fv_builder_string(&builder, &part);
    }
    text = fv_builder_value(&builder);
    text.is_safe = true;
    return text;
}

static fv_value add_strings(fv_run *run, const fv_value *a, const fv_value *b) {
    bool safe = a->is_safe || b->is_safe;
    fv_value first = safe ? fv_escape(run, a) : *a, second = safe ? fv_escape(run, b) : *b;
    fv_builder builder = {.room = run->room};
    fv_builder_string(&builder, &first);
    fv_builder_string(&builder, &second);
    fv_value made = fv_builder_value(&builder);
    made.is_safe = safe;
    return made;
}

static fv_value add_lists(fv_run *run, const fv_value *a, const fv_value *b) {
    fv_value made = fv_value_items(run->room, a);
    made.is_tuple = a->is_tuple;
    for (size_t i = 0; i < b->list->count; i++) fv_list_add(run->room, made.list, b->list->items[i]);
    return made;
}

static fv_value repeat(fv_run *run, const fv_value *value, int64_t times) {
    fv_value made = fv_value_list(run->room);
    fv_builder builder = {.room = run->room};
    made.is_tuple = value->is_tuple;
    for (int64_t i = 0; i < times; i++) {
        fv_jinja_work(run->room, 1);
        if (value->kind == FV_VALUE_STRING) fv_builder_string(&builder, value);
        for (size_t k = 0; value->kind == FV_VALUE_LIST && k < value->list->count; k++)
            fv_list_add(run->room, made.list, value->list->items[k]);
    }
    return value->kind == FV_VALUE_STRING ? fv_builder_value(&builder) : made;
}

static bool is_whole(const fv_value *value) { return value->kind == FV_VALUE_INTEGER || value->kind == FV_VALUE_BOOL; }

fv_value fv_operate(fv_run *run, uint32_t sign, const fv_value *a, const fv_value *b) {
    if (is_whole(a) && is_whole(b)) return operate_integers(run, sign, fv_value_as_integer(a), fv_value_as_integer(b));
    if (fv_value_is_number(a) && fv_value_is_number(b))
        return operate_reals(run, sign, fv_value_as_real(a), fv_value_as_real(b));
    bool strings = a->kind == FV_VALUE_STRING && b->kind == FV_VALUE_STRING;
    bool lists = a->kind == FV_VALUE_LIST && b->kind == FV_VALUE_LIST && a->is_tuple == b->is_tuple;
    if (sign == '+' && strings) return add_strings(run, a, b);
    if (sign == '+' && lists) return add_lists(run, a, b);
    if (sign == '*' && is_whole(b) && (a->kind == FV_VALUE_STRING || a->kind == FV_VALUE_LIST))
        return repeat(run, a, fv_value_as_integer(b));
    if (sign == '*' && is_whole(a) && (b->kind == FV_VALUE_STRING || b->kind == FV_VALUE_LIST))
        return repeat(run, b, fv_value_as_integer(a));
    if (sign == '%' && a->kind == FV_VALUE_STRING) return fv_string_percent(run, a, b);
    fail_operands(run, sign, a, b);
}

fv_value fv_negate(fv_run *run, uint32_t sign, const fv_value *a) {
    if (!fv_value_is_number(a)) fail_operands(run, sign, a, a);
    if (a->kind == FV_VALUE_REAL) return fv_value_real(sign == '-' ? -a->real : a->real);
    return fv_value_integer(sign == '-' ? multiply(run, fv_value_as_integer(a), -1) : fv_value_as_integer(a));
}

/* ---- comparisons ---- */

static bool contains(fv_run *run, const fv_value *in, const fv_value *wanted) {
    if (in->kind == FV_VALUE_STRING && wanted->kind == FV_VALUE_STRING) {
        fv_jinja_work(run->room, in->length / 64);
        return fv_string_find(in, wanted, 0) != SIZE_MAX;
    }
    if (in->kind == FV_VALUE_DICT) return fv_dict_find(run->room, in->dict, wanted) != NULL;
    if (in->kind == FV_VALUE_UNDEFINED) return false;
    if (in->kind != FV_VALUE_LIST)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a %s can't be in a %s", fv_value_type(wanted), fv_value_type(in));
    fv_jinja_work(run->room, in->list->count / 16);
    for (size_t i = 0; i < in->list->count; i++)
        if (fv_value_equal(run->room, &in->list->items[i], wanted)) return true;
    return false;
}

bool fv_compare(fv_run *run, uint32_t sign, const fv_value *a, const fv_value *b) {
    if (sign == 'i') return contains(run, b, a);
    if (sign == 'n') return !contains(run, b, a);
    if (sign == FV_SIGN('=', '=')) return fv_value_equal(run->room, a, b);
    if (sign == FV_SIGN('!', '=')) return !fv_value_equal(run->room, a, b);
    if (a->kind == FV_VALUE_UNDEFINED || b->kind == FV_VALUE_UNDEFINED) fail_operands(run, sign, a, b);
    bool nan = (a->kind == FV_VALUE_REAL && isnan(a->real)) || (b->kind == FV_VALUE_REAL && isnan(b->real));
    int order = fv_value_order(run->room, a, b);
    if (nan) return false;
    if (sign == '<') return order < 0;
    if (sign == '>') return order > 0;
    return sign == FV_SIGN('<', '=') ? order <= 0 : order >= 0;
}

/* ---- slices ---- */

static int64_t bound(fv_run *run, const fv_value *value, int64_t count, int64_t otherwise, int64_t low, int64_t high) {
    if (value->kind == FV_VALUE_NONE) return otherwise;
    int64_t place = fv_want_integer(run, value, "the bound of a slice");
    if (place < 0) place = place < -count ? low : place + count;
    return place < low ? low : place > high ? high : place;
}

/* Where each character begins, and the end. */
static const size_t *character_places(fv_run *run, const fv_value *string, size_t count) {
    size_t *places = fv_jinja_take(run->room, count + 1, sizeof *places), place = 0;
    uint32_t code;
    for (size_t i = 0; i <= count; i++) {
        places[i] = place;
        if (place < string->length) place += fv_string_read(string, place, &code);
    }
    return places;
}

fv_value fv_slice(fv_run *run, const fv_value *of, const fv_value bounds[3]) {
    bool string = of->kind == FV_VALUE_STRING;
    if (!string && of->kind != FV_VALUE_LIST)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a %s has no slices", fv_value_type(of));
    int64_t count = string ? (int64_t)fv_string_characters(of) : (int64_t)of->list->count;
    int64_t step = bounds[2].kind == FV_VALUE_NONE ? 1 : fv_want_integer(run, &bounds[2], "the step of a slice");
    if (step == 0) fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a slice with a step of zero");
    if (step > count + 1) step = count + 1;
    if (step < -count - 1) step = -count - 1;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
    int64_t begin = bound(run, &bounds[0], count, step > 0 ? 0 : count - 1, low, high);
    int64_t end = bound(run, &bounds[1], count, step > 0 ? count : -1, low, high);
    if (string && step == 1) {
        size_t first = fv_string_place(of, (size_t)begin), last = fv_string_place(of, (size_t)end);
        return fv_value_part(of, first, last > first ? last : first);
    }
    fv_value made = fv_value_list(run->room);
    fv_builder text = {.room = run->room};
    const size_t *places = string ? character_places(run, of, (size_t)count) : NULL;
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
        fv_value part = string ? fv_value_part(of, places[i], places[i + 1]) : of->list->items[i];
        if (string)
            fv_builder_string(&text, &part);
        else
            fv_list_add(run->room, made.list, part);
    }
    made.is_tuple = of->is_tuple;
    return string ? fv_builder_value(&text) : made;
}
