/* jinja_parser.c - what every part of the parser does: nodes, names, and looking at what comes next. */
#include "jinja/jinja_node.h"
#include <string.h>

fv_node *fv_parse_node(fv_parser *parser, fv_node_kind kind) {
    fv_node *node = fv_jinja_take(parser->room, 1, sizeof *node);
    node->kind = (uint8_t)kind;
    node->line = parser->room->line = parser->token->line;
    return node;
}

const char *fv_parse_intern(fv_parser *parser, const char *bytes, size_t length) {
    fv_name_list *list = parser->names;
    fv_jinja_work(parser->room, list->count / 64);
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->names[i]) == length && memcmp(list->names[i], bytes, length) == 0) return list->names[i];
    char *name = fv_jinja_take(parser->room, length + 1, 1);
    memcpy(name, bytes, length);
    list->names = fv_jinja_grow(parser->room, list->names, list->count, &list->capacity, sizeof *list->names);
    list->names[list->count++] = name;
    return name;
}

bool fv_parse_is_name(const fv_parser *parser, const char *name) {
    const fv_token *token = parser->token;
    return token->kind == FV_TOKEN_NAME && strlen(name) == token->length &&
           memcmp(name, token->bytes, token->length) == 0;
}

bool fv_parse_skip_name(fv_parser *parser, const char *name) {
    bool is = fv_parse_is_name(parser, name);
    parser->token += is;
    return is;
}

bool fv_parse_is_sign(const fv_parser *parser, uint32_t sign) {
    return parser->token->kind == FV_TOKEN_SIGN && parser->token->sign == sign;
}

bool fv_parse_skip_sign(fv_parser *parser, uint32_t sign) {
    bool is = fv_parse_is_sign(parser, sign);
    parser->token += is;
    return is;
}

_Noreturn void fv_parse_fail_at(const fv_parser *parser, const char *wanted) {
    const fv_token *token = parser->token;
    parser->room->line = token->line;
    if (token->kind == FV_TOKEN_END) fv_jinja_fail(parser->room, FV_ERROR_CORRUPT, "%s is missing at the end", wanted);
    int shown = (int)(token->length < 40 ? token->length : 40);
    fv_jinja_fail(parser->room, FV_ERROR_CORRUPT, "%s is missing before '%.*s'", wanted, shown, token->bytes);
}

void fv_parse_want_sign(fv_parser *parser, uint32_t sign) {
    const char text[] = {'\'', (char)(sign & 0xFF), '\'', 0};
    if (!fv_parse_skip_sign(parser, sign)) fv_parse_fail_at(parser, text);
}

const char *fv_parse_want_name(fv_parser *parser) {
    const fv_token *token = parser->token;
    if (token->kind != FV_TOKEN_NAME) fv_parse_fail_at(parser, "a name");
    parser->token++;
    return fv_parse_intern(parser, token->bytes, token->length);
}
