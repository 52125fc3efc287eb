/* jinja_run.c - statements, one after the other; a body that is called writes into a text of its own. */
#include "jinja/jinja_run.h"
#include <string.h>

typedef enum flow { GO_ON, BREAK, CONTINUE } flow;

static flow run_list(fv_run *run, const fv_node *first);

/* ---- scopes ---- */

fv_scope *fv_scope_open(fv_run *run, const fv_scope *parent) {
    fv_scope *before = run->scope;
    run->scope = fv_jinja_take(run->room, 1, sizeof *run->scope);
    run->scope->parent = parent;
    return before;
}

void fv_scope_set(fv_run *run, const char *name, fv_value value) {
    fv_scope *scope = run->scope;
    if (!name) return;
    for (size_t i = 0; i < scope->count; i++) {
        if (scope->bindings[i].name != name) continue;
        scope->bindings[i].value = value;
        return;
    }
    scope->bindings =
        fv_jinja_grow(run->room, scope->bindings, scope->count, &scope->capacity, sizeof *scope->bindings);
    scope->bindings[scope->count++] = (fv_binding){name, value};
}

static void set_member(fv_run *run, const fv_node *target, fv_value value) {
    fv_value space = fv_eval(run, target->a);
    if (space.kind != FV_VALUE_SPACE)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%s.%s can be set in a namespace only, not in a %s",
                      target->a->name, target->name, fv_value_type(&space));
    fv_dict_set(run->room, space.dict, fv_value_text(target->name), value);
}

static void assign(fv_run *run, const fv_node *target, fv_value value) {
    if (target->kind == FV_NODE_NAME) {
        fv_scope_set(run, target->name, value);
    } else if (target->kind == FV_NODE_ATTRIBUTE) {
        set_member(run, target, value);
    } else {
        fv_value items = fv_value_items(run->room, &value);
        size_t wanted = 0;
        for (const fv_node *one = target->a; one; one = one->next) wanted++;
        if (wanted != items.list->count)
            fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%zu names for %zu values", wanted, items.list->count);
        fv_jinja_enter(run->room);
        const fv_value *next = items.list->items;
        for (const fv_node *one = target->a; one; one = one->next) assign(run, one, *next++);
        fv_jinja_leave(run->room);
    }
}

/* ---- bodies that write elsewhere ---- */

static fv_value capture(fv_run *run, const fv_node *body) {
    fv_builder text = {.room = run->room}, *out = run->out;
    fv_scope *before = fv_scope_open(run, run->scope);
    run->out = &text;
    (void)run_list(run, body);
    run->out = out;
    run->scope = before;
    return fv_builder_value(&text);
}

static void bind_parameters(fv_run *run, const fv_macro *macro, const fv_arguments *arguments) {
    size_t place = 0, used = 0;
    for (const fv_node *one = macro->parameters; one; one = one->next, place++) {
        const fv_value *given = place < arguments->placed ? &arguments->items[place] : NULL;
        used += given != NULL;
        for (size_t i = arguments->placed; i < arguments->count; i++) {
            if (strcmp(arguments->names[i], one->name) != 0) continue;
            if (given)
                fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%s() has two values for %s", macro->name, one->name);
            given = &arguments->items[i];
            used++;
        }
        if (!given && one->a)
            fv_scope_set(run, one->name, fv_eval(run, one->a));
        else
            fv_scope_set(run, one->name, given ? *given : fv_value_undefined(one->name));
    }
    for (size_t i = arguments->placed; i < arguments->count; i++) {
        if (!run->caller_name || strcmp(arguments->names[i], "caller") != 0) continue;
        fv_scope_set(run, run->caller_name, arguments->items[i]);
        used++;
    }
    if (used < arguments->count)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%s() is called with an argument that it does not have",
                      macro->name);
}

fv_value fv_run_macro(fv_run *run, const fv_value *value, const fv_arguments *arguments) {
    const fv_macro *macro = value->thing;
    fv_builder text = {.room = run->room}, *out = run->out;
    fv_jinja_enter(run->room);
    fv_scope *before = fv_scope_open(run, value->closure);
    bind_parameters(run, macro, arguments);
    run->out = &text;
    (void)run_list(run, macro->body);
    run->out = out;
    run->scope = before;
    fv_jinja_leave(run->room);
    return fv_builder_value(&text);
}

static fv_value make_macro(fv_run *run, const char *name, const fv_node *parameters, const fv_node *body) {
    fv_macro *macro = fv_jinja_take(run->room, 1, sizeof *macro);
    *macro = (fv_macro){parameters, body, name};
    return (fv_value){.kind = FV_VALUE_MACRO, .thing = macro, .closure = run->scope};
}

/* ---- for ---- */

static fv_value filter_items(fv_run *run, const fv_node *node, const fv_value *all) {
    fv_value kept = fv_value_list(run->room);
    for (size_t i = 0; i < all->list->count; i++) {
        fv_scope *before = fv_scope_open(run, run->scope);
        assign(run, node->a, all->list->items[i]);
        fv_value wanted = fv_eval(run, node->e);
        run->scope = before;
        if (fv_value_truth(&wanted)) fv_list_add(run->room, kept.list, all->list->items[i]);
    }
    return kept;
}

static void run_for(fv_run *run, const fv_node *node) {
    fv_value through = fv_eval(run, node->b);
    fv_value items = fv_value_items(run->room, &through);
    if (node->e) items = filter_items(run, node, &items);
    fv_loop *loop = fv_jinja_take(run->room, 1, sizeof *loop);
    *loop = (fv_loop){.items = items.list, .last = fv_value_undefined(NULL)};
    for (size_t i = 0; i < items.list->count; i++) {
        fv_scope *before = fv_scope_open(run, run->scope);
        loop->index = i;
        fv_scope_set(run, run->loop_name, (fv_value){.kind = FV_VALUE_LOOP, .thing = loop});
        assign(run, node->a, items.list->items[i]);
        flow next = run_list(run, node->c);
        run->scope = before;
        if (next == BREAK) break;
    }
    if (items.list->count == 0 && node->d) {
        fv_scope *before = fv_scope_open(run, run->scope);
        (void)run_list(run, node->d);
        run->scope = before;
    }
}

/* ---- the others ---- */

static flow run_if(fv_run *run, const fv_node *node) {
    for (;;) {
        run->room->line = node->line;
        fv_value condition = fv_eval(run, node->a);
        if (fv_value_truth(&condition)) return run_list(run, node->b);
        if (!node->c || node->c->kind != FV_NODE_IF || node->c->next) return run_list(run, node->c);
        node = node->c;
    }
}

static void run_call_block(fv_run *run, const fv_node *node) {
    const fv_node *call = node->a;
    fv_node *with = fv_jinja_take(run->room, 1, sizeof *with), *caller = fv_jinja_take(run->room, 1, sizeof *caller);
    fv_node *constant = fv_jinja_take(run->room, 1, sizeof *constant), **end = &with->b;
    *constant = (fv_node){.kind = FV_NODE_CONSTANT, .value = make_macro(run, "caller", node->c, node->b)};
    *caller = (fv_node){.kind = FV_NODE_ARGUMENT, .name = "caller", .a = constant};
    *with = *call;
    with->b = NULL;
    for (const fv_node *one = call->b; one; one = one->next) {
        *end = fv_jinja_take(run->room, 1, sizeof **end);
        **end = *one;
        (*end)->next = NULL;
        end = &(*end)->next;
    }
    *end = caller;
    fv_value made = fv_eval(run, with);
    fv_builder_value_text(run->out, &made);
}

static void run_with(fv_run *run, const fv_node *node) {
    fv_scope *outside = run->scope, *before = fv_scope_open(run, outside);
    fv_scope *inside = run->scope;
    for (const fv_node *set = node->a; set; set = set->next) {
        run->scope = outside;
        fv_value value = fv_eval(run, set->b);
        run->scope = inside;
        assign(run, set->a, value);
    }
    (void)run_list(run, node->b);
    run->scope = before;
}

static void run_writing(fv_run *run, const fv_node *node) {
    fv_value made = node->kind == FV_NODE_OUTPUT ? fv_eval(run, node->a) : capture(run, node->b);
    if (node->kind == FV_NODE_FILTER_BLOCK) made = fv_eval_filters(run, node->c, made);
    fv_builder_value_text(run->out, &made);
}

static void run_set(fv_run *run, const fv_node *node) {
    fv_value made = node->kind == FV_NODE_SET ? fv_eval(run, node->b) : capture(run, node->b);
    if (node->kind == FV_NODE_SET_BLOCK && node->c) made = fv_eval_filters(run, node->c, made);
    assign(run, node->a, made);
}

static flow run_statement(fv_run *run, const fv_node *node) {
    switch ((fv_node_kind)node->kind) {
    case FV_NODE_TEXT:
        fv_builder_string(run->out, &node->value);
        return GO_ON;
    case FV_NODE_IF:
        return run_if(run, node);
    case FV_NODE_FOR:
        run_for(run, node);
        return GO_ON;
    case FV_NODE_SET:
    case FV_NODE_SET_BLOCK:
        run_set(run, node);
        return GO_ON;
    case FV_NODE_MACRO:
        fv_scope_set(run, node->name, make_macro(run, node->name, node->a, node->b));
        return GO_ON;
    case FV_NODE_CALL_BLOCK:
        run_call_block(run, node);
        return GO_ON;
    case FV_NODE_WITH:
        run_with(run, node);
        return GO_ON;
    case FV_NODE_BREAK:
        return BREAK;
    case FV_NODE_CONTINUE:
        return CONTINUE;
    default:
        run_writing(run, node);
        return GO_ON;
    }
}

static flow run_list(fv_run *run, const fv_node *first) {
    flow next = GO_ON;
    fv_jinja_enter(run->room);
    for (const fv_node *node = first; node && next == GO_ON; node = node->next) {
        run->room->line = node->line;
        fv_jinja_work(run->room, 1);
        next = run_statement(run, node);
    }
    fv_jinja_leave(run->room);
    return next;
}

void fv_run_body(fv_run *run, const fv_node *first) { (void)run_list(run, first); }
