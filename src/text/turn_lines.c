/* turn_lines.c - when a turn that is typed line by line is not at its end yet. */
#include "fovea/tokenizer.h"
#include <string.h>

/* Whether a line begins with a fence, after up to three blanks, as in Markdown. */
static bool is_fence(const char *line, const char *end) {
    for (int blanks = 0; line < end && *line == ' ' && blanks < 3; blanks++) line++;
    return end - line >= 3 && memcmp(line, "```", 3) == 0;
}

static bool is_in_block(const fv_text *turn) {
    bool inside = false;
    const char *line = turn->bytes, *end = turn->bytes + turn->length, *newline;
    for (; line < end; line = newline + 1) {
        newline = memchr(line, '\n', (size_t)(end - line));
        if (!newline) newline = end;
        if (is_fence(line, newline)) inside = !inside;
        if (newline == end) break;
    }
    return inside;
}

bool fv_text_goes_on(fv_text *turn) {
    if (turn->length == 0) return false;
    if (turn->bytes[turn->length - 1] == '\\') {
        turn->bytes[--turn->length] = 0;
        return true;
    }
    return is_in_block(turn);
}
