/* jinja_statement.c - statements: text, output, and blocks up to their ends. */
#include "jinja/jinja_node.h"
#include <string.h>

static void want_block_end(fv_parser *parser) {
    if (parser->token->kind != FV_TOKEN_BLOCK_END) fv_parse_fail_at(parser, "%}");
    parser->token++;
}

/* ---- bodies ---- */

static fv_node *parse_statement(fv_parser *parser);

static bool is_block(const fv_parser *parser, const char *words) {
    if (parser->token->kind != FV_TOKEN_BLOCK || parser->token[1].kind != FV_TOKEN_NAME) return false;
    const fv_token *name = parser->token + 1;
    for (const char *word = words; *word; word += strcspn(word, " "), word += strspn(word, " "))
        if (strcspn(word, " ") == name->length && memcmp(word, name->bytes, name->length) == 0) return true;
    return false;
}

/* Up to a block of one of `ends`, whose name is passed over; at the top "" and up to the end. */
static fv_node *parse_body(fv_parser *parser, const char *ends) {
    fv_node *first = NULL, **end = &first;
    fv_jinja_enter(parser->room);
    while (!is_block(parser, ends)) {
        parser->room->line = parser->token->line;
        if (parser->token->kind == FV_TOKEN_END) {
            if (ends[0]) fv_jinja_fail(parser->room, FV_ERROR_CORRUPT, "%s is missing at the end", ends);
            break;
        }
        *end = parse_statement(parser);
        end = &(*end)->next;
    }
    if (ends[0]) parser->token += 2;
    fv_jinja_leave(parser->room);
    return first;
}

static fv_node *parse_closed_body(fv_parser *parser, const char *end) {
    fv_node *body = parse_body(parser, end);
    want_block_end(parser);
    return body;
}

/* ---- blocks ---- */

static bool ended_by(const fv_parser *parser, const char *name) {
    const fv_token *token = parser->token - 1;
    return strlen(name) == token->length && memcmp(name, token->bytes, token->length) == 0;
}

static void parse_if(fv_parser *parser, fv_node *node) {
    for (;;) {
        node->a = fv_parse_tuple(parser, false);
        want_block_end(parser);
        node->b = parse_body(parser, "elif else endif");
        if (!ended_by(parser, "elif")) break;
        node->c = fv_parse_node(parser, FV_NODE_IF);
        node = node->c;
    }
    bool has_else = ended_by(parser, "else");
    want_block_end(parser);
    if (has_else) node->c = parse_closed_body(parser, "endif");
}

static void parse_for(fv_parser *parser, fv_node *node) {
    node->a = fv_parse_target(parser);
    if (!fv_parse_skip_name(parser, "in")) fv_parse_fail_at(parser, "in");
    node->b = fv_parse_tuple(parser, false);
    if (fv_parse_skip_name(parser, "if")) node->e = fv_parse_expression(parser, true);
    if (fv_parse_is_name(parser, "recursive"))
        fv_jinja_fail(parser->room, FV_ERROR_UNSUPPORTED, "for ... recursive is not in this version");
    want_block_end(parser);
    parser->loops++;
    node->c = parse_body(parser, "endfor else");
    parser->loops--;
    bool has_else = ended_by(parser, "else");
    want_block_end(parser);
    if (has_else) node->d = parse_closed_body(parser, "endfor");
}

static void parse_set(fv_parser *parser, fv_node *node) {
    node->a = fv_parse_target(parser);
    if (fv_parse_skip_sign(parser, '=')) {
        node->b = fv_parse_tuple(parser, true);
        want_block_end(parser);
        return;
    }
    node->kind = FV_NODE_SET_BLOCK;
    node->c = fv_parse_filters(parser, NULL);
    want_block_end(parser);
    node->b = parse_closed_body(parser, "endset");
}

static fv_node *parse_parameters(fv_parser *parser) {
    fv_node *first = NULL, **end = &first;
    fv_parse_want_sign(parser, '(');
    while (!fv_parse_is_sign(parser, ')')) {
        if (first) fv_parse_want_sign(parser, ',');
        if (fv_parse_is_sign(parser, ')')) break;
        fv_node *parameter = fv_parse_node(parser, FV_NODE_PARAMETER);
        parameter->name = fv_parse_want_name(parser);
        if (fv_parse_skip_sign(parser, '=')) parameter->a = fv_parse_expression(parser, true);
        *end = parameter;
        end = &parameter->next;
    }
    fv_parse_want_sign(parser, ')');
    return first;
}

/* A body that is called: loops around it are not its own. */
static fv_node *parse_called_body(fv_parser *parser, const char *end) {
    uint32_t loops = parser->loops;
    parser->loops = 0;
    fv_node *body = parse_closed_body(parser, end);
    parser->loops = loops;
    return body;
}

static void parse_macro(fv_parser *parser, fv_node *node) {
    node->name = fv_parse_want_name(parser);
    node->a = parse_parameters(parser);
    want_block_end(parser);
    node->b = parse_called_body(parser, "endmacro");
}

static void parse_call_block(fv_parser *parser, fv_node *node) {
    if (fv_parse_is_sign(parser, '(')) node->c = parse_parameters(parser);
    node->a = fv_parse_expression(parser, true);
    if (node->a->kind != FV_NODE_CALL) fv_parse_fail_at(parser, "a call");
    want_block_end(parser);
    node->b = parse_called_body(parser, "endcall");
}

static void parse_filter_block(fv_parser *parser, fv_node *node) {
    node->c = fv_parse_filters(parser, fv_parse_filter(parser, NULL));
    want_block_end(parser);
    node->b = parse_closed_body(parser, "endfilter");
}

static void parse_with(fv_parser *parser, fv_node *node) {
    fv_node **end = &node->a;
    while (parser->token->kind != FV_TOKEN_BLOCK_END) {
        if (node->a) fv_parse_want_sign(parser, ',');
        fv_node *set = fv_parse_node(parser, FV_NODE_SET);
        set->a = fv_parse_target(parser);
        fv_parse_want_sign(parser, '=');
        set->b = fv_parse_expression(parser, true);
        *end = set;
        end = &set->next;
    }
    want_block_end(parser);
    node->b = parse_closed_body(parser, "endwith");
}

static void parse_generation(fv_parser *parser, fv_node *node) {
    want_block_end(parser);
    node->b = parse_closed_body(parser, "endgeneration");
}

static void parse_leap(fv_parser *parser, fv_node *node) {
    if (parser->loops == 0)
        fv_jinja_fail(parser->room, FV_ERROR_CORRUPT, "%s outside of a loop",
                      node->kind == FV_NODE_BREAK ? "break" : "continue");
    want_block_end(parser);
}

static const struct {
    const char *name;
    fv_node_kind kind;
    void (*parse)(fv_parser *parser, fv_node *node);
} blocks[] = {
    {"if", FV_NODE_IF, parse_if},
    {"for", FV_NODE_FOR, parse_for},
    {"set", FV_NODE_SET, parse_set},
    {"macro", FV_NODE_MACRO, parse_macro},
    {"call", FV_NODE_CALL_BLOCK, parse_call_block},
    {"filter", FV_NODE_FILTER_BLOCK, parse_filter_block},
    {"with", FV_NODE_WITH, parse_with},
    {"generation", FV_NODE_GENERATION, parse_generation},
    {"break", FV_NODE_BREAK, parse_leap},
    {"continue", FV_NODE_CONTINUE, parse_leap},
};

static fv_node *parse_block(fv_parser *parser) {
    const fv_token *name = parser->token;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (!fv_parse_skip_name(parser, blocks[i].name)) continue;
        fv_node *node = fv_parse_node(parser, blocks[i].kind);
        blocks[i].parse(parser, node);
        return node;
    }
    if (name->kind != FV_TOKEN_NAME) fv_parse_fail_at(parser, "a statement");
    fv_jinja_fail(parser->room, FV_ERROR_UNSUPPORTED, "{%% %.*s %%} is not in this version",
                  (int)(name->length < 40 ? name->length : 40), name->bytes);
}

static fv_node *parse_statement(fv_parser *parser) {
    const fv_token *token = parser->token++;
    if (token->kind == FV_TOKEN_BLOCK) return parse_block(parser);
    fv_node *node = fv_parse_node(parser, token->kind == FV_TOKEN_TEXT ? FV_NODE_TEXT : FV_NODE_OUTPUT);
    node->line = token->line;
    if (token->kind == FV_TOKEN_TEXT) {
        node->value = token->value;
        return node;
    }
    node->a = fv_parse_tuple(parser, true);
    if (parser->token->kind != FV_TOKEN_OUTPUT_END) fv_parse_fail_at(parser, "}}");
    parser->token++;
    return node;
}

fv_node *fv_parse(fv_jinja_room *room, const char *text, size_t length, fv_name_list *names) {
    fv_token_list tokens = {0};
    fv_tokens_read(room, text, length, &tokens);
    fv_parser parser = {.room = room, .token = tokens.items, .names = names};
    room->line = 1;
    fv_node *first = parse_body(&parser, "");
    room->line = 0;
    return first;
}
