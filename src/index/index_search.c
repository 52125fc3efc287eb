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

static fv_status nearest(const fv_index *index, const fv_index_search *search, uint64_t *labels, float *distances,
                         fv_index_report *report, fv_message *message) {
    fv_status status = check_search(index, search, report, message);
    if (status != FV_OK) return status;
    if (!search->k) return fv_message_set(message, FV_ERROR_ARGUMENT, "k is 0: at least 1 is allowed");
    if (search->count && (!labels || !distances))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    size_t most = search->k < fv_index_live(index) ? search->k : fv_index_live(index);
    fv_search_counts counts = {0};
    fv_near_list *lists = fv_array_new(search->count, sizeof *lists);
    fv_near *entries = fv_array_new(search->count, (most ? most : 1) * sizeof *entries);
    if (!lists || !entries) status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the results");
    for (size_t i = 0; status == FV_OK && i < search->count; i++)
        lists[i] = (fv_near_list){.entries = entries + i * most, .most = most, .radius = INFINITY};
    if (status == FV_OK && search->recall > 0)
        status = fv_index_choose(index, search, lists, &counts, message);
    else if (status == FV_OK && search->beam && search->beam < index->rows)
        status = fv_graph_search(index, search, NULL, lists, &counts, message);
    else if (status == FV_OK)
        status = fv_index_flat(index, search, NULL, lists, &counts, message);
    for (size_t i = 0; status == FV_OK && i < search->count; i++) {
        fv_near_sort(lists + i);
        put_results(lists + i, search->k, labels + i * search->k, distances + i * search->k);
    }
    free(lists);
    free(entries);
    if (status != FV_OK) return status;
    add_counts(index, search, &counts, report);
    if (search->k > fv_index_live(index))
        fv_message_set(message, FV_OK, "k is %" PRIu32 " and the index holds %zu: the rest of the results is empty",
                       search->k, fv_index_live(index));
    return FV_OK;
}

fv_status fv_index_nearest(const fv_index *index, const fv_index_search *search, uint64_t *labels, float *distances,
                           fv_index_report *report, fv_message *message) {
    if (!index) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_read_begin(index->lock);
    fv_status status = nearest(index, search, labels, distances, report, message);
    fv_turn_read_end(index->lock);
    return status;
}

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

static fv_status make_all(const fv_index *index, const fv_index_search *search, fv_near_list *lists,
                          fv_index_hits *made, fv_search_counts *counts, fv_message *message) {
    fv_status status = fv_index_flat(index, search, NULL, lists, counts, message);
    size_t done = 0;
    while (status == FV_OK && done < search->count) {
        if (make_hits(lists + done, made + done))
            done++;
        else
            status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the results");
    }
    for (size_t i = 0; i < search->count; i++) free(lists[i].entries);
    while (status != FV_OK && done > 0) fv_index_hits_free(made + --done);
    return status;
}

static fv_status within(const fv_index *index, const fv_index_search *search, float radius, fv_index_hits *hits,
                        fv_index_report *report, fv_message *message) {
    fv_status status = check_search(index, search, report, message);
    if (status != FV_OK) return status;
    if (search->beam || search->recall > 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "beam is %" PRIu32 ", recall is %g: a radius wants 0 of both, the scan of all codes",
                              search->beam, (double)search->recall);
    if (isnan(radius)) return fv_message_set(message, FV_ERROR_ARGUMENT, "the radius is no number");
    if (search->count && !hits) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_search_counts counts = {0};
    fv_near_list *lists = fv_array_new(search->count, sizeof *lists);
    fv_index_hits *made = fv_array_new(search->count, sizeof *made);
    if (!lists || !made) status = fv_message_set(message, FV_ERROR_MEMORY, "no memory for the results");
    for (size_t i = 0; lists && i < search->count; i++) lists[i] = (fv_near_list){.most = SIZE_MAX, .radius = radius};
    if (status == FV_OK) status = make_all(index, search, lists, made, &counts, message);
    for (size_t i = 0; status == FV_OK && i < search->count; i++) {
        fv_index_hits_free(hits + i);
        hits[i] = made[i];
    }
    free(lists);
    free(made);
    if (status == FV_OK) add_counts(index, search, &counts, report);
    return status;
}

fv_status fv_index_within(const fv_index *index, const fv_index_search *search, float radius, fv_index_hits *hits,
                          fv_index_report *report, fv_message *message) {
    if (!index) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_read_begin(index->lock);
    fv_status status = within(index, search, radius, hits, report, message);
    fv_turn_read_end(index->lock);
    return status;
}
