/* index_search.c - the calls: arguments in, sorted results out. */
#include "index/index_search.h"
#include "index/index_choice.h"
#include "index/index_graph.h"
#include "platform/array.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void fv_index_search_default(uint32_t dimension, fv_index_search *search) {
    *search = (fv_index_search){.dimension = dimension, .k = 10, .confidence = FV_INDEX_CONFIDENCE};
}

static fv_status check_search(const fv_index *index, const fv_index_search *search, const fv_index_report *report,
                              fv_message *message) {
    if (!index || !search || (search->count && !search->queries))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    bool reserved = false;
    for (size_t i = 0; i < sizeof search->reserved / sizeof search->reserved[0]; i++)
        reserved |= search->reserved[i] != 0;
    if (reserved) return fv_message_set(message, FV_ERROR_ARGUMENT, "a reserved field of the search is not 0");
    if (report && report->struct_bytes < sizeof *report)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the report does not say how long it is: set struct_bytes");
    if (!(search->confidence > 0 && search->confidence <= 100))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "confidence is %g: above 0 and up to 100 is allowed",
                              (double)search->confidence);
    if (search->beam && (!index->degree || search->beam > FV_INDEX_BEAM))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "beam is %" PRIu32 ": %s", search->beam,
                              index->degree ? "at most 65536 is allowed" : "the index has no graph; link it first");
    if (!(search->recall >= 0 && search->recall <= 1) || (search->recall > 0 && search->beam))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "recall is %g, beam %" PRIu32 ": %s", (double)search->recall,
                              search->beam, search->beam ? "one of them has to be 0" : "0 to 1 is allowed");
    if (search->dimension != index->config.dimension)
        return fv_message_set(message, FV_ERROR_SHAPE, "the queries have dimension %" PRIu32 ", the index has %" PRIu32,
                              search->dimension, index->config.dimension);
    return fv_index_inspect(search->count, search->dimension, search->queries, FV_INDEX_LARGEST, "query", message);
}

static void add_counts(const fv_index *index, const fv_index_search *search, const fv_search_counts *counts,
                       fv_index_report *report) {
    if (!report) return;
    report->isa = (uint32_t)index->kernels->isa;
    report->queries += search->count;
    report->codes += counts->codes;
    report->rows += counts->rows;
    report->bytes += counts->bytes;
    report->visits += counts->visits;
    report->walks += counts->walks;
    report->lists += counts->lists;
}

static void put_results(const fv_near_list *list, size_t k, uint64_t *labels, float *distances) {
    for (size_t i = 0; i < k; i++) {
        labels[i] = i < list->count ? list->entries[i].label : FV_INDEX_NO_LABEL;
        distances[i] = i < list->count ? list->entries[i].distance : INFINITY;
    }
}

fv_status fv_index_beam_for(const fv_index *index, const fv_index_search *search, double recall, uint32_t *beam,
                            fv_message *message) {
    if (!index || !search || !beam || !search->k || !(recall >= 0 && recall <= 1))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "an argument is NULL, k is 0, or the recall is not between 0 and 1");
    fv_turn_read_begin(index->lock);
    *beam = index->degree ? fv_chosen_beam(index, search->k, recall) : 0;
    fv_turn_read_end(index->lock);
    return FV_OK;
}

/* ---- a call ---- */

/* What fv_index_nearest() and fv_index_within() share, and what each has of its own. */
typedef struct call {
    const fv_index *index;
    const fv_index_search *search;
    fv_message *message;
    fv_near_list *lists; /* [search->count] */
    fv_search_counts counts;
    uint64_t *labels; /* nearest: [search->count][k] */
    float *distances;
    float radius; /* within */
    fv_index_hits *hits;
} call;

typedef fv_status step(call *made);

/* Outputs are written last, when all has gone well. */
static fv_status run(call *made, fv_index_report *report, step *check, step *answer) {
    const fv_index *index = made->index;
    if (!index) return fv_message_set(made->message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_read_begin(index->lock);
    fv_status status = check_search(index, made->search, report, made->message);
    if (status == FV_OK) status = check(made);
    if (status == FV_OK) made->lists = fv_array_new(made->search->count, sizeof *made->lists);
    if (status == FV_OK && !made->lists)
        status = fv_message_set(made->message, FV_ERROR_MEMORY, "no memory for the results");
    if (status == FV_OK) status = answer(made);
    free(made->lists);
    if (status == FV_OK) add_counts(index, made->search, &made->counts, report);
    fv_turn_read_end(index->lock);
    return status;
}

/* ---- the nearest ---- */

static fv_status check_nearest(call *made) {
    if (!made->search->k) return fv_message_set(made->message, FV_ERROR_ARGUMENT, "k is 0: at least 1 is allowed");
    if (made->search->count && (!made->labels || !made->distances))
        return fv_message_set(made->message, FV_ERROR_ARGUMENT, "an argument is NULL");
    return FV_OK;
}

static fv_status fill_nearest(call *made) {
    const fv_index *index = made->index;
    const fv_index_search *search = made->search;
    if (search->recall > 0) return fv_index_choose(index, search, made->lists, &made->counts, made->message);
    if (search->beam && search->beam < index->rows)
        return fv_graph_search(index, search, NULL, made->lists, &made->counts, made->message);
    return fv_index_flat(index, search, NULL, made->lists, &made->counts, made->message);
}

static fv_status answer_nearest(call *made) {
    size_t k = made->search->k, live = fv_index_live(made->index), most = k < live ? k : live;
    fv_near *entries = fv_array_new(made->search->count, (most ? most : 1) * sizeof *entries);
    if (!entries) return fv_message_set(made->message, FV_ERROR_MEMORY, "no memory for the results");
    for (size_t i = 0; i < made->search->count; i++)
        made->lists[i] = (fv_near_list){.entries = entries + i * most, .most = most, .radius = INFINITY};
    fv_status status = fill_nearest(made);
    for (size_t i = 0; status == FV_OK && i < made->search->count; i++) {
        fv_near_sort(made->lists + i);
        put_results(made->lists + i, k, made->labels + i * k, made->distances + i * k);
    }
    free(entries);
    if (status == FV_OK && k > live)
        fv_message_set(made->message, FV_OK, "k is %zu and the index holds %zu: the rest of the results is empty", k,
                       live);
    return status;
}

fv_status fv_index_nearest(const fv_index *index, const fv_index_search *search, uint64_t *labels, float *distances,
                           fv_index_report *report, fv_message *message) {
    call made = {.index = index, .search = search, .message = message, .labels = labels, .distances = distances};
    return run(&made, report, check_nearest, answer_nearest);
}

/* ---- all within a radius ---- */

void fv_index_hits_free(fv_index_hits *hits) {
    free(hits->labels);
    free(hits->distances);
    *hits = (fv_index_hits){0};
}

static bool make_hits(fv_near_list *list, fv_index_hits *hits) {
    *hits = (fv_index_hits){fv_array_new(list->count, sizeof *hits->labels),
                            fv_array_new(list->count, sizeof *hits->distances), list->count, list->count};
    if (!hits->labels || !hits->distances) {
        fv_index_hits_free(hits);
        return false;
    }
    fv_near_sort(list);
    put_results(list, list->count, hits->labels, hits->distances);
    return true;
}

static fv_status check_within(call *made) {
    if (made->search->beam || made->search->recall > 0)
        return fv_message_set(made->message, FV_ERROR_ARGUMENT,
                              "beam is %" PRIu32 ", recall is %g: a radius wants 0 of both, the scan of all codes",
                              made->search->beam, (double)made->search->recall);
    if (isnan(made->radius)) return fv_message_set(made->message, FV_ERROR_ARGUMENT, "the radius is no number");
    if (made->search->count && !made->hits)
        return fv_message_set(made->message, FV_ERROR_ARGUMENT, "an argument is NULL");
    return FV_OK;
}

static fv_status answer_within(call *made) {
    size_t count = made->search->count, done = 0;
    fv_index_hits *all = fv_array_new(count, sizeof *all);
    if (!all) return fv_message_set(made->message, FV_ERROR_MEMORY, "no memory for the results");
    for (size_t i = 0; i < count; i++) made->lists[i] = (fv_near_list){.most = SIZE_MAX, .radius = made->radius};
    fv_status status = fv_index_flat(made->index, made->search, NULL, made->lists, &made->counts, made->message);
    while (status == FV_OK && done < count) {
        if (make_hits(made->lists + done, all + done))
            done++;
        else
            status = fv_message_set(made->message, FV_ERROR_MEMORY, "no memory for the results");
    }
    for (size_t i = 0; i < count; i++) free(made->lists[i].entries);
    while (status != FV_OK && done > 0) fv_index_hits_free(all + --done);
    for (size_t i = 0; status == FV_OK && i < count; i++) {
        fv_index_hits_free(made->hits + i);
        made->hits[i] = all[i];
    }
    free(all);
    return status;
}

fv_status fv_index_within(const fv_index *index, const fv_index_search *search, float radius, fv_index_hits *hits,
                          fv_index_report *report, fv_message *message) {
    call made = {.index = index, .search = search, .message = message, .radius = radius, .hits = hits};
    return run(&made, report, check_within, answer_within);
}
