/* jinja_eval.c - expressions: names, members, calls. What is asked of something that is not there is a fault, with the
 * name of what is not there. */
#include "jinja/jinja_run.h"
#include <string.h>

/* ---- names ---- */

static fv_value find_name(fv_run *run, const char *name) {
    for (const fv_scope *scope = run->scope; scope; scope = scope->parent)
        for (size_t i = 0; i < scope->count; i++)
            if (scope->bindings[i].name == name) return scope->bindings[i].value;
    if (fv_function_known(name)) return (fv_value){.kind = FV_VALUE_FUNCTION, .name = name};
    return fv_value_undefined(name);
}

static fv_value eval_item(fv_run *run, const fv_node *node) {
    fv_value of = fv_eval(run, node->a);
    if (node->b->kind != FV_NODE_SLICE) {
        fv_value key = fv_eval(run, node->b);
        return fv_value_item(run, &of, &key);
    }
    const fv_node *parts[3] = {node->b->a, node->b->b, node->b->c};
    fv_value bounds[3];
    for (int i = 0; i < 3; i++) bounds[i] = parts[i] ? fv_eval(run, parts[i]) : fv_value_none();
    if (of.kind == FV_VALUE_UNDEFINED) fv_fail_undefined(run, &of);
    return fv_slice(run, &of, bounds);
}

/* ---- calls ---- */

static fv_arguments eval_arguments(fv_run *run, const fv_node *first) {
    fv_arguments made = {0};
    size_t count = 0;
    for (const fv_node *one = first; one; one = one->next) count++;
    fv_value *items = fv_jinja_take(run->room, count, sizeof *items);
    const char **names = fv_jinja_take(run->room, count, sizeof *names);
    for (const fv_node *one = first; one; one = one->next, made.count++) {
        items[made.count] = fv_eval(run, one->a);
        names[made.count] = one->name;
        if (!one->name && made.placed < made.count)
            fv_jinja_fail(run->room, FV_ERROR_CORRUPT, "an argument by its place after one by its name");
        made.placed += one->name == NULL;
    }
    made.items = items;
    made.names = names;
    return made;
}

static fv_value eval_call(fv_run *run, const fv_node *node) {
    fv_value called = fv_eval(run, node->a);
    fv_arguments arguments = eval_arguments(run, node->b);
    run->room->line = node->line;
    if (called.kind == FV_VALUE_MACRO) return run->call_macro(run, &called, &arguments);
    if (called.kind == FV_VALUE_FUNCTION) return fv_call_function(run, called.name, &arguments);
    if (called.kind == FV_VALUE_METHOD) return fv_call_method(run, called.self, called.name, &arguments);
    if (called.kind == FV_VALUE_UNDEFINED && node->a->kind == FV_NODE_ATTRIBUTE)
        fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "the method %.80s() is not in this version", called.name);
    if (called.kind == FV_VALUE_UNDEFINED) fv_fail_undefined(run, &called);
    fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "a %s can't be called", fv_value_type(&called));
}

static fv_value eval_filter(fv_run *run, const fv_node *node, fv_value input) {
    fv_arguments arguments = eval_arguments(run, node->b);
    run->room->line = node->line;
    return fv_call_filter(run, node->name, &input, &arguments);
}

fv_value fv_eval_filters(fv_run *run, const fv_node *filter, fv_value input) {
    fv_jinja_enter(run->room);
    if (filter->a) input = fv_eval_filters(run, filter->a, input);
    fv_jinja_leave(run->room);
    return eval_filter(run, filter, input);
}

static fv_value eval_test(fv_run *run, const fv_node *node) {
    fv_value input = fv_eval(run, node->a);
    fv_arguments arguments = eval_arguments(run, node->b);
    return fv_value_bool(fv_call_test(run, node->name, &input, &arguments) != node->flag);
}

/* ---- the rest ---- */

static fv_value eval_list(fv_run *run, const fv_node *node) {
    fv_value list = fv_value_list(run->room);
    for (const fv_node *one = node->a; one; one = one->next) fv_list_add(run->room, list.list, fv_eval(run, one));
    list.is_tuple = node->flag;
    return list;
}

static fv_value eval_dict(fv_run *run, const fv_node *node) {
    fv_value dict = fv_value_dict(run->room);
    for (const fv_node *one = node->a; one; one = one->next) {
        fv_value key = fv_eval(run, one->a);
        fv_dict_set(run->room, dict.dict, key, fv_eval(run, one->b));
    }
    return dict;
}

static fv_value eval_concat(fv_run *run, const fv_node *node) {
    fv_builder text = {.room = run->room};
    for (const fv_node *one = node->a; one; one = one->next) {
        fv_value value = fv_eval(run, one);
        fv_builder_value_text(&text, &value);
    }
    return fv_builder_value(&text);
}

static fv_value eval_compare(fv_run *run, const fv_node *node) {
    fv_value left = fv_eval(run, node->a);
    for (const fv_node *operand = node->b; operand; operand = operand->next) {
        fv_value right = fv_eval(run, operand->a);
        if (!fv_compare(run, operand->sign, &left, &right)) return fv_value_bool(false);
        left = right;
    }
    return fv_value_bool(true);
}

static fv_value eval_choice(fv_run *run, const fv_node *node) {
    fv_value condition = fv_eval(run, node->a);
    if (fv_value_truth(&condition)) return fv_eval(run, node->b);
    return node->c ? fv_eval(run, node->c) : fv_value_undefined("an if without else");
}

static fv_value eval_logic(fv_run *run, const fv_node *node) {
    fv_value left = fv_eval(run, node->a);
    bool truth = fv_value_truth(&left);
    if (node->kind == FV_NODE_NOT) return fv_value_bool(!truth);
    return truth == (node->kind == FV_NODE_AND) ? fv_eval(run, node->b) : left;
}

static fv_value eval_operator(fv_run *run, const fv_node *node) {
    fv_value a = fv_eval(run, node->a);
    if (node->kind == FV_NODE_UNARY) return fv_negate(run, node->sign, &a);
    fv_value b = fv_eval(run, node->b);
    run->room->line = node->line;
    return fv_operate(run, node->sign, &a, &b);
}

static fv_value eval_attribute(fv_run *run, const fv_node *node) {
    fv_value of = fv_eval(run, node->a);
    return fv_value_attribute(run, &of, node->name);
}

static fv_value eval_node(fv_run *run, const fv_node *node) {
    switch ((fv_node_kind)node->kind) {
    case FV_NODE_CONSTANT:
        return node->value;
    case FV_NODE_NAME:
        return find_name(run, node->name);
    case FV_NODE_LIST:
        return eval_list(run, node);
    case FV_NODE_DICT:
        return eval_dict(run, node);
    case FV_NODE_ATTRIBUTE:
        return eval_attribute(run, node);
    case FV_NODE_ITEM:
        return eval_item(run, node);
    case FV_NODE_CALL:
        return eval_call(run, node);
    case FV_NODE_FILTER:
        return eval_filter(run, node, fv_eval(run, node->a));
    case FV_NODE_TEST:
        return eval_test(run, node);
    case FV_NODE_CONCAT:
        return eval_concat(run, node);
    case FV_NODE_COMPARE:
        return eval_compare(run, node);
    case FV_NODE_CHOICE:
        return eval_choice(run, node);
    case FV_NODE_UNARY:
    case FV_NODE_BINARY:
        return eval_operator(run, node);
    default:
        return eval_logic(run, node);
    }
}

fv_value fv_eval(fv_run *run, const fv_node *node) {
    fv_jinja_enter(run->room);
    fv_value value = eval_node(run, node);
    fv_jinja_leave(run->room);
    return value;
}
