/* jinja_node.h - a template as a tree. Nodes lie in the template's room and do not change once it is parsed. */
#ifndef FV_JINJA_NODE_H
#define FV_JINJA_NODE_H

#include "jinja/jinja_token.h"

typedef enum fv_node_kind {
    /* statements */
    FV_NODE_TEXT,         /* value */
    FV_NODE_OUTPUT,       /* a: what */
    FV_NODE_IF,           /* a: condition; b: then; c: else */
    FV_NODE_FOR,          /* a: target; b: through; c: body; d: else; e: filter */
    FV_NODE_SET,          /* a: target; b: value */
    FV_NODE_SET_BLOCK,    /* a: target; b: body; c: filters around it */
    FV_NODE_MACRO,        /* name; a: PARAMETERs; b: body; flag: caller is among them */
    FV_NODE_CALL_BLOCK,   /* a: the call; b: body; c: PARAMETERs */
    FV_NODE_FILTER_BLOCK, /* b: body; c: filters */
    FV_NODE_WITH,         /* a: SETs; b: body */
    FV_NODE_GENERATION,   /* b: body */
    FV_NODE_BREAK,
    FV_NODE_CONTINUE,
    FV_NODE_PARAMETER, /* name; a: its default, or NULL */
    /* expressions */
    FV_NODE_CONSTANT, /* value */
    FV_NODE_NAME,
    FV_NODE_LIST,      /* a: items; flag: a tuple */
    FV_NODE_DICT,      /* a: PAIRs */
    FV_NODE_PAIR,      /* a, b */
    FV_NODE_ATTRIBUTE, /* a.name */
    FV_NODE_ITEM,      /* a[b] */
    FV_NODE_SLICE,     /* a:b:c, as the b of an ITEM */
    FV_NODE_CALL,      /* a(b: ARGUMENTs) */
    FV_NODE_ARGUMENT,  /* a; name, or NULL */
    FV_NODE_FILTER,    /* a | name(b); a NULL: what a block has */
    FV_NODE_TEST,      /* a is name(b); flag: is not */
    FV_NODE_UNARY,     /* sign a */
    FV_NODE_BINARY,    /* a sign b */
    FV_NODE_AND,
    FV_NODE_OR,
    FV_NODE_NOT,
    FV_NODE_COMPARE, /* a, b: OPERANDs */
    FV_NODE_OPERAND, /* sign a; sign 'i': in, 'n': not in */
    FV_NODE_CONCAT,  /* a: items */
    FV_NODE_CHOICE   /* b if a else c */
} fv_node_kind;

typedef struct fv_node fv_node;
struct fv_node {
    uint8_t kind;
    bool flag;
    uint32_t line, sign;
    const char *name; /* equal names are one pointer */
    fv_node *a, *b, *c, *d, *e;
    fv_node *next; /* in a list */
    fv_value value;
};

/* Names that a template uses. */
typedef struct fv_name_list {
    const char **names;
    size_t count, capacity;
} fv_name_list;

/* While a template is parsed. */
typedef struct fv_parser {
    fv_jinja_room *room;
    const fv_token *token; /* what comes next */
    fv_name_list *names;
    uint32_t loops; /* around what is parsed, inside one macro */
} fv_parser;

/* The template's statements. Fails with the line and the name of what it can't have. */
fv_node *fv_parse(fv_jinja_room *room, const char *text, size_t length, fv_name_list *names);

/* ---- between the files of the parser ---- */

fv_node *fv_parse_node(fv_parser *parser, fv_node_kind kind);
const char *fv_parse_intern(fv_parser *parser, const char *bytes, size_t length);
bool fv_parse_is_name(const fv_parser *parser, const char *name); /* whether that comes next */
bool fv_parse_skip_name(fv_parser *parser, const char *name);
bool fv_parse_is_sign(const fv_parser *parser, uint32_t sign);
bool fv_parse_skip_sign(fv_parser *parser, uint32_t sign);
void fv_parse_want_sign(fv_parser *parser, uint32_t sign);
const char *fv_parse_want_name(fv_parser *parser);
_Noreturn void fv_parse_fail_at(const fv_parser *parser, const char *wanted);

fv_node *fv_parse_expression(fv_parser *parser, bool with_choice);
fv_node *fv_parse_tuple(fv_parser *parser, bool with_choice); /* one expression, or several with commas */
fv_node *fv_parse_target(fv_parser *parser);
fv_node *fv_parse_filters(fv_parser *parser, fv_node *first); /* "| name(...)" any number of times */
fv_node *fv_parse_filter(fv_parser *parser, fv_node *first);  /* name(...) */
fv_node *fv_parse_postfix(fv_parser *parser, fv_node *node);
fv_node *fv_parse_unary(fv_parser *parser, bool with_filter);

#endif
