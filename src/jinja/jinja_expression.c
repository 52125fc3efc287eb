/* jinja_expression.c - expressions, from the weakest binding to the strongest, as jinja2's parser has them. */
#include "jinja/jinja_node.h"
#include <string.h>

/* ---- small things ---- */

static fv_node *binary(fv_parser *parser, fv_node_kind kind, fv_node *a, fv_node *b, uint32_t sign) {
    fv_node *node = fv_parse_node(parser, kind);
    node->a = a;
    node->b = b;
    node->sign = sign;
    return node;
}

static fv_node *constant(fv_parser *parser, fv_value value) {
    fv_node *node = fv_parse_node(parser, FV_NODE_CONSTANT);
    node->value = value;
    return node;
}

/* Adds at the end of a list that `end` points to the end of. */
static fv_node **append(fv_node **end, fv_node *node) {
    *end = node;
    return &node->next;
}

/* ---- primaries ---- */

static bool is_word(const fv_token *token, const char *a, const char *b) {
    return token->kind == FV_TOKEN_NAME &&
           ((strlen(a) == token->length && memcmp(a, token->bytes, token->length) == 0) ||
            (strlen(b) == token->length && memcmp(b, token->bytes, token->length) == 0));
}

static fv_node *parse_name(fv_parser *parser) {
    const fv_token *token = parser->token++;
    if (is_word(token, "true", "True")) return constant(parser, fv_value_bool(true));
    if (is_word(token, "false", "False")) return constant(parser, fv_value_bool(false));
    if (is_word(token, "none", "None")) return constant(parser, fv_value_none());
    fv_node *node = fv_parse_node(parser, FV_NODE_NAME);
    node->name = fv_parse_intern(parser, token->bytes, token->length);
    return node;
}

/* Strings beside each other are one. */
static fv_node *parse_string(fv_parser *parser) {
    const fv_token *first = parser->token;
    size_t length = 0;
    while (parser->token->kind == FV_TOKEN_STRING) length += parser->token++->value.length;
    if (parser->token == first + 1) return constant(parser, first->value);
    char *bytes = fv_jinja_take(parser->room, length, 1);
    size_t done = 0;
    for (const fv_token *token = first; token < parser->token; token++) {
        memcpy(bytes + done, token->value.bytes, token->value.length);
        done += token->value.length;
    }
    return constant(parser, fv_value_string(bytes, length, FV_BY_TEMPLATE));
}

static fv_node *parse_list(fv_parser *parser) {
    fv_node *list = fv_parse_node(parser, FV_NODE_LIST), **end = &list->a;
    while (!fv_parse_is_sign(parser, ']')) {
        if (list->a) fv_parse_want_sign(parser, ',');
        if (fv_parse_is_sign(parser, ']')) break;
        end = append(end, fv_parse_expression(parser, true));
    }
    fv_parse_want_sign(parser, ']');
    return list;
}

static fv_node *parse_dict(fv_parser *parser) {
    fv_node *dict = fv_parse_node(parser, FV_NODE_DICT), **end = &dict->a;
    while (!fv_parse_is_sign(parser, '}')) {
        if (dict->a) fv_parse_want_sign(parser, ',');
        if (fv_parse_is_sign(parser, '}')) break;
        fv_node *key = fv_parse_expression(parser, true);
        fv_parse_want_sign(parser, ':');
        end = append(end, binary(parser, FV_NODE_PAIR, key, fv_parse_expression(parser, true), 0));
    }
    fv_parse_want_sign(parser, '}');
    return dict;
}

static fv_node *parse_brackets(fv_parser *parser) {
    fv_node *node;
    if (fv_parse_skip_sign(parser, ')')) {
        node = fv_parse_node(parser, FV_NODE_LIST);
        node->flag = true;
        return node;
    }
    node = fv_parse_tuple(parser, true);
    fv_parse_want_sign(parser, ')');
    return node;
}

static fv_node *parse_primary(fv_parser *parser) {
    const fv_token *token = parser->token;
    if (token->kind == FV_TOKEN_NAME) return parse_name(parser);
    if (token->kind == FV_TOKEN_STRING) return parse_string(parser);
    if (token->kind == FV_TOKEN_NUMBER) {
        parser->token++;
        return constant(parser, token->value);
    }
    if (fv_parse_skip_sign(parser, '(')) return parse_brackets(parser);
    if (fv_parse_skip_sign(parser, '[')) return parse_list(parser);
    if (fv_parse_skip_sign(parser, '{')) return parse_dict(parser);
    fv_parse_fail_at(parser, "an expression");
}

/* ---- what follows a primary ---- */

static fv_node *parse_argument(fv_parser *parser) {
    fv_node *argument = fv_parse_node(parser, FV_NODE_ARGUMENT);
    const fv_token *token = parser->token;
    if (fv_parse_is_sign(parser, '*') || fv_parse_is_sign(parser, FV_SIGN('*', '*')))
        fv_jinja_fail(parser->room, FV_ERROR_UNSUPPORTED, "arguments by * and ** are not in this version");
    if (token->kind == FV_TOKEN_NAME && token[1].kind == FV_TOKEN_SIGN && token[1].sign == '=') {
        argument->name = fv_parse_want_name(parser);
        parser->token++;
    }
    argument->a = fv_parse_expression(parser, true);
    return argument;
}

/* After the opening bracket. */
static fv_node *parse_arguments(fv_parser *parser) {
    fv_node *first = NULL, **end = &first;
    while (!fv_parse_is_sign(parser, ')')) {
        if (first) fv_parse_want_sign(parser, ',');
        if (fv_parse_is_sign(parser, ')')) break;
        end = append(end, parse_argument(parser));
    }
    fv_parse_want_sign(parser, ')');
    return first;
}

static bool ends_slice(const fv_parser *parser) {
    return fv_parse_is_sign(parser, ']') || fv_parse_is_sign(parser, ':') || fv_parse_is_sign(parser, ',');
}

static fv_node *parse_index(fv_parser *parser) {
    fv_node *first = ends_slice(parser) ? NULL : fv_parse_expression(parser, true);
    if (fv_parse_is_sign(parser, ','))
        fv_jinja_fail(parser->room, FV_ERROR_UNSUPPORTED, "an index of several parts is not in this version");
    if (!fv_parse_skip_sign(parser, ':')) {
        if (!first) fv_parse_fail_at(parser, "an index");
        return first;
    }
    fv_node *slice = fv_parse_node(parser, FV_NODE_SLICE);
    slice->a = first;
    if (!ends_slice(parser)) slice->b = fv_parse_expression(parser, true);
    if (fv_parse_skip_sign(parser, ':') && !ends_slice(parser)) slice->c = fv_parse_expression(parser, true);
    return slice;
}

static fv_node *parse_dot(fv_parser *parser, fv_node *of) {
    const fv_token *token = parser->token;
    if (token->kind == FV_TOKEN_NUMBER && token->value.kind == FV_VALUE_INTEGER) {
        parser->token++;
        return binary(parser, FV_NODE_ITEM, of, constant(parser, token->value), 0);
    }
    fv_node *node = binary(parser, FV_NODE_ATTRIBUTE, of, NULL, 0);
    node->name = fv_parse_want_name(parser);
    return node;
}

static fv_node *parse_call(fv_parser *parser, fv_node *of) {
    fv_node *call = binary(parser, FV_NODE_CALL, of, NULL, 0);
    call->b = parse_arguments(parser);
    return call;
}

fv_node *fv_parse_postfix(fv_parser *parser, fv_node *node) {
    for (;;) {
        if (fv_parse_skip_sign(parser, '.')) {
            node = parse_dot(parser, node);
        } else if (fv_parse_skip_sign(parser, '[')) {
            node = binary(parser, FV_NODE_ITEM, node, NULL, 0);
            node->b = parse_index(parser);
            fv_parse_want_sign(parser, ']');
        } else if (fv_parse_skip_sign(parser, '(')) {
            node = parse_call(parser, node);
        } else {
            return node;
        }
    }
}

/* a.b.c as one name. */
static const char *parse_dotted(fv_parser *parser) {
    const fv_token *first = parser->token;
    const char *name = fv_parse_want_name(parser);
    while (fv_parse_skip_sign(parser, '.')) {
        (void)fv_parse_want_name(parser);
        const fv_token *last = parser->token - 1;
        name = fv_parse_intern(parser, first->bytes, (size_t)(last->bytes + last->length - first->bytes));
    }
    return name;
}

fv_node *fv_parse_filter(fv_parser *parser, fv_node *first) {
    fv_node *filter = binary(parser, FV_NODE_FILTER, first, NULL, 0);
    filter->name = parse_dotted(parser);
    if (fv_parse_skip_sign(parser, '(')) filter->b = parse_arguments(parser);
    return filter;
}

fv_node *fv_parse_filters(fv_parser *parser, fv_node *first) {
    while (fv_parse_skip_sign(parser, '|')) first = fv_parse_filter(parser, first);
    return first;
}

/* Whether a test's only argument stands there without brackets. */
static bool is_bare_argument(const fv_parser *parser) {
    const fv_token *token = parser->token;
    if (token->kind == FV_TOKEN_STRING || token->kind == FV_TOKEN_NUMBER) return true;
    if (token->kind == FV_TOKEN_SIGN) return token->sign == '[' || token->sign == '{';
    return token->kind == FV_TOKEN_NAME && !is_word(token, "else", "or") && !is_word(token, "and", "is");
}

static fv_node *parse_test(fv_parser *parser, fv_node *of) {
    fv_node *test = binary(parser, FV_NODE_TEST, of, NULL, 0);
    test->flag = fv_parse_skip_name(parser, "not");
    test->name = parse_dotted(parser);
    if (fv_parse_skip_sign(parser, '(')) {
        test->b = parse_arguments(parser);
    } else if (is_bare_argument(parser)) {
        test->b = fv_parse_node(parser, FV_NODE_ARGUMENT);
        test->b->a = fv_parse_postfix(parser, parse_primary(parser));
    }
    return test;
}

static fv_node *parse_filters_and_tests(fv_parser *parser, fv_node *node) {
    for (;;) {
        if (fv_parse_skip_sign(parser, '|'))
            node = fv_parse_filter(parser, node);
        else if (fv_parse_skip_name(parser, "is"))
            node = parse_test(parser, node);
        else if (fv_parse_skip_sign(parser, '('))
            node = parse_call(parser, node);
        else
            return node;
    }
}

/* ---- operators ---- */

fv_node *fv_parse_unary(fv_parser *parser, bool with_filter) {
    fv_node *node;
    uint32_t sign = fv_parse_is_sign(parser, '-') ? '-' : '+';
    fv_jinja_enter(parser->room);
    if (fv_parse_skip_sign(parser, sign))
        node = binary(parser, FV_NODE_UNARY, fv_parse_unary(parser, false), NULL, sign);
    else
        node = parse_primary(parser);
    node = fv_parse_postfix(parser, node);
    if (with_filter) node = parse_filters_and_tests(parser, node);
    fv_jinja_leave(parser->room);
    return node;
}

/* Operators that bind from left to right, the strongest level first. */
static const uint32_t levels[][4] = {{FV_SIGN('*', '*')}, {'*', '/', FV_SIGN('/', '/'), '%'}, {'~'}, {'+', '-'}};

static fv_node *parse_level(fv_parser *parser, int level);

static fv_node *parse_concat(fv_parser *parser) {
    fv_node *first = parse_level(parser, 1), *concat, **end;
    if (!fv_parse_is_sign(parser, '~')) return first;
    concat = binary(parser, FV_NODE_CONCAT, first, NULL, 0);
    end = &first->next;
    while (fv_parse_skip_sign(parser, '~')) end = append(end, parse_level(parser, 1));
    return concat;
}

static fv_node *parse_level(fv_parser *parser, int level) {
    if (level < 0) return fv_parse_unary(parser, true);
    if (level == 2) return parse_concat(parser);
    fv_node *node = parse_level(parser, level - 1);
    for (size_t i = 0; i < 4;) {
        uint32_t sign = levels[level][i++];
        if (sign == 0 || !fv_parse_skip_sign(parser, sign)) continue;
        node = binary(parser, FV_NODE_BINARY, node, parse_level(parser, level - 1), sign);
        i = 0;
    }
    return node;
}

/* The comparison that comes next; 0: none. */
static uint32_t skip_comparison(fv_parser *parser) {
    static const uint32_t signs[] = {FV_SIGN('=', '='), FV_SIGN('!', '='), '<', '>',
                                     FV_SIGN('<', '='), FV_SIGN('>', '=')};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (fv_parse_skip_sign(parser, signs[i])) return signs[i];
    if (fv_parse_skip_name(parser, "in")) return 'i';
    if (!fv_parse_is_name(parser, "not") || !is_word(parser->token + 1, "in", "in")) return 0;
    parser->token += 2;
    return 'n';
}

static fv_node *parse_compare(fv_parser *parser) {
    fv_node *first = parse_level(parser, 3);
    uint32_t sign = skip_comparison(parser);
    if (sign == 0) return first;
    fv_node *compare = binary(parser, FV_NODE_COMPARE, first, NULL, 0), **end = &compare->b;
    for (; sign != 0; sign = skip_comparison(parser))
        end = append(end, binary(parser, FV_NODE_OPERAND, parse_level(parser, 3), NULL, sign));
    return compare;
}

static fv_node *parse_not(fv_parser *parser) {
    if (!fv_parse_skip_name(parser, "not")) return parse_compare(parser);
    fv_jinja_enter(parser->room);
    fv_node *node = binary(parser, FV_NODE_NOT, parse_not(parser), NULL, 0);
    fv_jinja_leave(parser->room);
    return node;
}

static fv_node *parse_and(fv_parser *parser) {
    fv_node *node = parse_not(parser);
    while (fv_parse_skip_name(parser, "and")) node = binary(parser, FV_NODE_AND, node, parse_not(parser), 0);
    return node;
}

static fv_node *parse_or(fv_parser *parser) {
    fv_node *node = parse_and(parser);
    while (fv_parse_skip_name(parser, "or")) node = binary(parser, FV_NODE_OR, node, parse_and(parser), 0);
    return node;
}

fv_node *fv_parse_expression(fv_parser *parser, bool with_choice) {
    fv_jinja_enter(parser->room);
    fv_node *node = parse_or(parser);
    while (with_choice && fv_parse_skip_name(parser, "if")) {
        fv_node *choice = binary(parser, FV_NODE_CHOICE, NULL, node, 0);
        choice->a = parse_or(parser);
        if (fv_parse_skip_name(parser, "else")) choice->c = fv_parse_expression(parser, true);
        node = choice;
    }
    fv_jinja_leave(parser->room);
    return node;
}

fv_node *fv_parse_tuple(fv_parser *parser, bool with_choice) {
    fv_node *first = fv_parse_expression(parser, with_choice), *tuple, **end;
    if (!fv_parse_is_sign(parser, ',')) return first;
    tuple = binary(parser, FV_NODE_LIST, first, NULL, 0);
    tuple->flag = true;
    end = &first->next;
    while (fv_parse_skip_sign(parser, ',')) {
        uint8_t kind = parser->token->kind;
        bool over = kind == FV_TOKEN_OUTPUT_END || kind == FV_TOKEN_BLOCK_END || fv_parse_is_sign(parser, ')');
        if (over) break;
        end = append(end, fv_parse_expression(parser, with_choice));
    }
    return tuple;
}

static fv_node *parse_one_target(fv_parser *parser) {
    if (fv_parse_skip_sign(parser, '(')) {
        fv_node *inner = fv_parse_target(parser);
        fv_parse_want_sign(parser, ')');
        return inner;
    }
    fv_node *name = fv_parse_node(parser, FV_NODE_NAME);
    name->name = fv_parse_want_name(parser);
    if (!fv_parse_skip_sign(parser, '.')) return name;
    fv_node *member = binary(parser, FV_NODE_ATTRIBUTE, name, NULL, 0);
    member->name = fv_parse_want_name(parser);
    return member;
}

fv_node *fv_parse_target(fv_parser *parser) {
    fv_jinja_enter(parser->room);
    fv_node *first = parse_one_target(parser), **end = &first->next, *tuple = first;
    if (fv_parse_is_sign(parser, ',')) {
        tuple = binary(parser, FV_NODE_LIST, first, NULL, 0);
        tuple->flag = true;
        while (fv_parse_skip_sign(parser, ','))
            if (parser->token->kind == FV_TOKEN_NAME || fv_parse_is_sign(parser, '('))
                end = append(end, parse_one_target(parser));
    }
    fv_jinja_leave(parser->room);
    return tuple;
}
