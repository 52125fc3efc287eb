#include "text/chat_date.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

uint32_t fv_chat_today(void) {
    time_t now = time(NULL);
    struct tm local;
    if (!localtime_r(&now, &local)) return (uint32_t)(now / 86400);
    return (uint32_t)((now + local.tm_gmtoff) / 86400);
}

/* --- dates ------------------------------------------------------------------------------------------------------- */

typedef struct civil_date {
    unsigned year, month, day, weekday; /* month and day from 1, weekday from 0, a Sunday */
} civil_date;

/* Years begin in March here, so that a leap day is the last (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
 */
static civil_date date_of(uint32_t days) {
    uint32_t shifted = days + 719468, era = shifted / 146097, of_era = shifted % 146097;
    uint32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    uint32_t turned = month < 10 ? month + 3 : month - 9;
    return (civil_date){era * 400 + year + (turned <= 2), turned, of_year - (153 * month + 2) / 5 + 1, (days + 4) % 7};
}

static bool put_field(char field, const civil_date *date, char bytes[16]) {
    static const char months[12][10] = {"January", "February", "March",     "April",   "May",      "June",
                                        "July",    "August",   "September", "October", "November", "December"};
    static const char weekdays[7][10] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    const char *month = months[date->month - 1], *weekday = weekdays[date->weekday];
    if (field == 'Y') return snprintf(bytes, 16, "%u", date->year) > 0;
    if (field == 'y') return snprintf(bytes, 16, "%02u", date->year % 100) > 0;
    if (field == 'm') return snprintf(bytes, 16, "%02u", date->month) > 0;
    if (field == 'd') return snprintf(bytes, 16, "%02u", date->day) > 0;
    if (field == 'B' || field == 'b') return snprintf(bytes, 16, "%.*s", field == 'B' ? 9 : 3, month) > 0;
    if (field == 'A' || field == 'a') return snprintf(bytes, 16, "%.*s", field == 'A' ? 9 : 3, weekday) > 0;
    return false;
}

size_t fv_chat_date(fv_gguf_text form, uint32_t day, char bytes[FV_CHAT_DATE_BYTES]) {
    civil_date date = date_of(day);
    size_t length = 0;
    for (size_t i = 0; i < form.length; i++) {
        char field[16] = {form.bytes[i], 0};
        if (field[0] == '\\') return 0;
        if (field[0] == '%' && (++i == form.length || !put_field(form.bytes[i], &date, field))) return 0;
        size_t more = strlen(field);
        if (more >= FV_CHAT_DATE_BYTES - length) return 0;
        memcpy(bytes + length, field, more + 1);
        length += more;
    }
    return length;
}

/* --- parts ------------------------------------------------------------------------------------------------------- */

#define DATE_CALL "strftime_now("

static size_t skip_blanks(fv_gguf_text text, size_t at) {
    while (at < text.length && (text.bytes[at] == ' ' || text.bytes[at] == '\n')) at++;
    return at;
}

static bool stands_at(fv_gguf_text text, size_t at, const char *wanted) {
    size_t length = strlen(wanted);
    return at <= text.length && length <= text.length - at && memcmp(text.bytes + at, wanted, length) == 0;
}

/* strftime_now('...'); *at moves beyond it. */
static bool read_call(fv_gguf_text text, size_t *at, fv_chat_part *part) {
    char bytes[FV_CHAT_DATE_BYTES];
    if (!stands_at(text, *at, DATE_CALL)) return false;
    size_t begin = *at + strlen(DATE_CALL);
    if (!fv_chat_read_literal(text, &begin, &part->text) || !stands_at(text, begin, ")")) return false;
    part->is_date = true;
    *at = begin + 1;
    return fv_chat_date(part->text, 1, bytes) > 0;
}

/* A name that was set to a date before: set NAME = strftime_now('...'). */
static bool read_name(fv_gguf_text text, size_t *at, fv_chat_part *part) {
    size_t end = *at, call;
    while (end < text.length && (text.bytes[end] == '_' || (text.bytes[end] >= 'a' && text.bytes[end] <= 'z'))) end++;
    size_t length = end - *at;
    for (size_t from = 0; length && fv_chat_find(text, DATE_CALL, from, &call) && call < *at; from = call + 1) {
        size_t before = call;
        while (before > 0 && (text.bytes[before - 1] == ' ' || text.bytes[before - 1] == '=')) before--;
        if (before < length + 4 || memcmp(text.bytes + before - length, text.bytes + *at, length) != 0) continue;
        if (!stands_at(text, before - length - 4, "set ") || !read_call(text, &call, part)) continue;
        *at = end;
        return true;
    }
    return false;
}

/* Literals, calls and names with + or ~ between, up to the end of the statement. */
static bool read_sum(fv_gguf_text text, size_t *at, fv_chat_part parts[FV_CHAT_PARTS], size_t *count) {
    for (;;) {
        if (*count == FV_CHAT_PARTS) return false;
        fv_chat_part part = {{NULL, 0}, false};
        *at = skip_blanks(text, *at);
        if (!fv_chat_read_literal(text, at, &part.text) && !read_call(text, at, &part) && !read_name(text, at, &part))
            return false;
        parts[(*count)++] = part;
        *at = skip_blanks(text, *at);
        if (stands_at(text, *at, "%}") || stands_at(text, *at, "-%}")) return true;
        if (stands_at(text, *at, "}}") || stands_at(text, *at, "-}}")) return true;
        if (!stands_at(text, *at, "+") && !stands_at(text, *at, "~")) return false;
        ++*at;
    }
}

/* Granite's says more in the last branch of what follows: where there are neither tools nor documents. */
static bool read_more(fv_gguf_text text, size_t at, fv_chat_part parts[FV_CHAT_PARTS], size_t *count) {
    static const char MORE[] = "set system_message = system_message +";
    size_t end, last, more;
    if (!fv_chat_find(text, "endif", at, &end) || !fv_chat_find(text, "else %}", at, &last) || last > end) return true;
    if (!fv_chat_find(text, MORE, last, &more) || more > end) return true;
    more += strlen(MORE);
    return read_sum(text, &more, parts, count);
}

/* The sum that begins with a literal that begins with `begin`, a quote and what follows it. */
static bool read_sum_of(fv_gguf_text text, const char *begin, fv_chat_part parts[FV_CHAT_PARTS], size_t *count) {
    size_t at;
    return fv_chat_find(text, begin, 0, &at) && read_sum(text, &at, parts, count);
}

/* The literal that stands after the first `before` from `from` on. */
static bool read_after(fv_gguf_text text, const char *before, size_t from, fv_chat_part parts[FV_CHAT_PARTS],
                       size_t *count) {
    size_t at = from;
    if (*count == FV_CHAT_PARTS || (*before && !fv_chat_find(text, before, from, &at))) return false;
    at += strlen(before);
    parts[*count] = (fv_chat_part){{NULL, 0}, false};
    return fv_chat_read_literal(text, &at, &parts[(*count)++].text);
}

/* SmolLM3's, written line by line, with the date or without; thinking is on where nobody says otherwise. 0: it is
 * another template. */
static size_t find_smollm3(fv_gguf_text text, fv_chat_part parts[FV_CHAT_PARTS]) {
    size_t count = 0, mode;
    if (!fv_chat_find(text, "\"Reasoning Mode: \"", 0, &mode)) return 0;
    bool whole = read_sum_of(text, "\"## Metadata", parts, &count) &&
                 read_sum_of(text, "\"Knowledge Cutoff Date: ", parts, &count) &&
                 (!fv_chat_has(text, "\"Today Date: \"") || read_sum_of(text, "\"Today Date: \"", parts, &count)) &&
                 read_after(text, "", mode, parts, &count) &&
                 read_after(text, "set reasoning_mode = ", 0, parts, &count) &&
                 read_after(text, "reasoning_mode + ", mode, parts, &count) &&
                 read_sum_of(text, "\"## Custom Instructions", parts, &count) &&
                 read_sum_of(text, "\"You are a helpful AI assistant named SmolLM", parts, &count);
    return whole ? count : 0;
}

size_t fv_chat_find_dated_system(fv_gguf_text text, fv_chat_part parts[FV_CHAT_PARTS]) {
    static const char *const names[] = {"set default_system_message =", "set system_message ="};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t from = 0, at; fv_chat_find(text, names[n], from, &at); from = at) {
            size_t count = 0, dates = 0;
            at += strlen(names[n]);
            size_t end = at;
            if (!read_sum(text, &end, parts, &count) || !read_more(text, end, parts, &count)) continue;
            for (size_t i = 0; i < count; i++) dates += parts[i].is_date;
            if (dates) return count;
        }
    return find_smollm3(text, parts);
}
