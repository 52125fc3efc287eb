/* batch.c - parts of a step, and what is done with its logits. A part that fails, fails alone. */
#include "batch.h"
#include "fovea/machine.h"
#include <stdlib.h>

enum { CHUNK_TOKENS = 256 /* of prompts in a step that answers wait for */, ROWS_LEAST = 16 };

fv_status fv_batch_open(fv_batch *batch, const fv_server *server, fv_message *message) {
    fv_session_config config;
    fv_slots_session(server, &config);
    fv_policy_default(FV_SELECTOR_FOVEA, &config.policy); /* requests may ask for any */
    uint32_t slots = server->config->slots, rows = slots > ROWS_LEAST ? slots : ROWS_LEAST;
    *batch = (fv_batch){.vocabulary = fv_llm_config(server->llm)->vocabulary, .slots = slots, .logit_rows = rows};
    batch->parts = calloc(slots, sizeof *batch->parts);
    batch->outcomes = calloc(slots, sizeof *batch->outcomes);
    batch->deadlines = calloc(slots, sizeof *batch->deadlines);
    batch->progress = calloc(slots, sizeof *batch->progress);
    batch->owners = calloc(slots, sizeof *batch->owners);
    batch->statuses = calloc(slots, sizeof *batch->statuses);
    batch->last_rows = calloc(slots, sizeof *batch->last_rows);
    batch->rows = calloc(rows, sizeof *batch->rows);
    batch->logits = calloc((size_t)rows * batch->vocabulary, sizeof *batch->logits);
    batch->scratch = calloc(batch->vocabulary, sizeof *batch->scratch);
    batch->watched = calloc(slots, sizeof *batch->watched);
    if (!batch->parts || !batch->outcomes || !batch->deadlines || !batch->progress || !batch->owners ||
        !batch->statuses || !batch->last_rows || !batch->rows || !batch->logits || !batch->scratch || !batch->watched)
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the logits of %u answers", slots);
    fv_status status = fv_stepper_open(&batch->stepper, server->llm, &config, fv_engine_pool(server->engine), message);
    if (status != FV_OK) return status;
    return fv_read_watch_open(&batch->watch, batch->stepper, server->llm, server->slot_tokens,
                              fv_engine_threads(server->engine));
}

void fv_batch_close(fv_batch *batch) {
    fv_read_watch_close(batch->watch);
    fv_stepper_close(batch->stepper);
    free(batch->parts);
    free(batch->outcomes);
    free(batch->deadlines);
    free(batch->progress);
    free(batch->owners);
    free(batch->statuses);
    free(batch->rows);
    free(batch->last_rows);
    free(batch->logits);
    free(batch->scratch);
    free(batch->watched);
    *batch = (fv_batch){0};
}

/* ---- filling ---- */

static bool reads_prompt(const fv_choice *choice) { return choice->read < choice->prompt->tokens.count; }

/* The row that the next token will be chosen from, where it is wanted to know what it reads. */
static void watch_part(fv_batch *batch, const fv_slot *slot, uint32_t index, size_t count) {
    const fv_choice *choice = slot->choice;
    batch->watched[index] = SIZE_MAX;
    if (choice->passages.most == 0 || (reads_prompt(choice) && choice->read + count < choice->prompt->tokens.count))
        return;
    batch->statuses[index] =
        fv_read_watch_add(batch->watch, slot->sequence, (uint32_t)(fv_sequence_tokens(slot->sequence) + count - 1),
                          &batch->watched[index]);
}

static void add_part(fv_batch *batch, const fv_slots *slots, uint32_t index, const int32_t *tokens, size_t count) {
    batch->owners[batch->part_count] = index;
    batch->parts[batch->part_count++] =
        (fv_step_part){.sequence = slots->items[index].sequence, .tokens = tokens, .count = (uint32_t)count};
    watch_part(batch, &slots->items[index], index, count);
}

/* A token of an answer, and how soon it is wanted. */
static void add_answer(fv_batch *batch, const fv_slots *slots, uint32_t index) {
    fv_choice *choice = slots->items[index].choice;
    uint64_t ns = (uint64_t)choice->request->settings.deadline_ms * 1000000;
    size_t place = batch->part_count;
    add_part(batch, slots, index, &choice->pending, 1);
    if (ns == 0) return;
    batch->deadlines[place] =
        (fv_deadline){.clock = fv_machine_clock, .end_ns = fv_machine_clock_ns() + ns, .on_deadline = FV_DEADLINE_BEST};
    batch->progress[place] = (fv_progress){0};
    batch->parts[place].deadline = &batch->deadlines[place];
    batch->parts[place].progress = &batch->progress[place];
}

/* Answers first; then prompts in turn, in what room there is. Rows in all. */
static size_t fill(fv_batch *batch, fv_slots *slots) {
    size_t rows = 0, room = fv_stepper_batch_tokens(batch->stepper);
    batch->part_count = 0;
    for (uint32_t i = 0; i < slots->count && rows < room; i++) {
        fv_choice *choice = slots->items[i].choice;
        if (!choice || reads_prompt(choice)) continue;
        add_answer(batch, slots, i);
        rows++;
    }
    if (rows > 0 && room > rows + CHUNK_TOKENS) room = rows + CHUNK_TOKENS;
    for (uint32_t n = 0; n < slots->count && rows < room; n++) {
        uint32_t i = (batch->turn + n) % slots->count;
        fv_choice *choice = slots->items[i].choice;
        if (!choice || !reads_prompt(choice)) continue;
        size_t left = choice->prompt->tokens.count - choice->read, count = left < room - rows ? left : room - rows;
        add_part(batch, slots, i, choice->prompt->tokens.ids + choice->read, count);
        rows += count;
        if (count < left) batch->turn = i + 1;
    }
    return rows;
}

/* ---- logits ---- */

/* Log-probabilities of a chunk of a prompt, whose first row in the step is `row`. */
static fv_status prompt_rows(fv_batch *batch, fv_choice *choice, uint32_t row, uint32_t count) {
    fv_status status = FV_OK;
    for (uint32_t done = 0; done < count && status == FV_OK; done += batch->logit_rows) {
        uint32_t some = count - done < batch->logit_rows ? count - done : batch->logit_rows;
        for (uint32_t i = 0; i < some; i++) batch->rows[i] = row + done + i;
        status = fv_stepper_logits(batch->stepper, batch->rows, some, batch->logits);
        for (uint32_t i = 0; i < some && status == FV_OK; i++)
            status =
                fv_choice_prompt_row(choice, choice->read + done + i, batch->logits + (size_t)i * batch->vocabulary);
    }
    return status;
}

/* What the step evaluated of a slot is booked; whether the logits of its last row are wanted. */
static bool advance(fv_choice *choice, uint32_t count) {
    if (!reads_prompt(choice)) return true;
    choice->read += count;
    if (reads_prompt(choice)) return false;
    choice->read_ns = fv_machine_clock_ns();
    return true;
}

static fv_status choose(fv_batch *batch, const fv_slots *slots, uint32_t index, const float *logits) {
    const fv_slot *slot = &slots->items[index];
    size_t room = fv_sequence_context_tokens(slot->sequence) - fv_sequence_tokens(slot->sequence);
    size_t row = batch->watched[index];
    fv_status status = row == SIZE_MAX ? FV_OK : fv_choice_read(slot->choice, batch->watch, row);
    return status != FV_OK ? status : fv_choice_next(slot->choice, logits, batch->scratch, room);
}

/* Each alone, so that a number that is no number is one answer's fault. */
static void choose_each(fv_batch *batch, fv_slots *slots, const uint32_t *owners, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = owners[i];
        fv_status status = fv_stepper_logits(batch->stepper, &batch->last_rows[i], 1, batch->logits);
        batch->statuses[slot] = status == FV_OK ? choose(batch, slots, slot, batch->logits) : status;
    }
}

/* Next tokens of the parts first..first+count-1, whose rows are the step's. */
static void settle(fv_batch *batch, fv_slots *slots, size_t first, size_t count) {
    uint32_t wanted = 0, row = 0;
    uint32_t *owners = batch->owners + first; /* those that are done with make room for those that want logits */
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = owners[i], rows = batch->parts[first + i].count;
        fv_choice *choice = slots->items[slot].choice;
        if (batch->statuses[slot] == FV_OK && reads_prompt(choice) && fv_choice_wants_rows(choice))
            batch->statuses[slot] = prompt_rows(batch, choice, row, rows);
        const fv_progress *progress = batch->parts[first + i].progress;
        if (progress && progress->keys_read < progress->keys_planned) choice->cut++;
        row += rows;
        if (batch->statuses[slot] != FV_OK || !advance(choice, rows)) continue;
        batch->last_rows[wanted] = row - 1;
        owners[wanted++] = slot;
    }
    if (wanted == 0) return;
    if (fv_stepper_logits(batch->stepper, batch->last_rows, wanted, batch->logits) != FV_OK) {
        choose_each(batch, slots, owners, wanted);
        return;
    }
    for (uint32_t i = 0; i < wanted; i++)
        batch->statuses[owners[i]] = choose(batch, slots, owners[i], batch->logits + (size_t)i * batch->vocabulary);
}

/* ---- the step ---- */

/* Where the step as a whole was refused: each alone. */
static void run_alone(fv_batch *batch, fv_slots *slots) {
    for (size_t i = 0; i < batch->part_count; i++) {
        uint32_t slot = batch->owners[i];
        batch->statuses[slot] = fv_stepper_run(batch->stepper, &batch->parts[i], 1);
        if (batch->statuses[slot] == FV_OK) settle(batch, slots, i, 1);
    }
}

void fv_batch_step(fv_batch *batch, fv_slots *slots) {
    for (uint32_t i = 0; i < batch->slots; i++) batch->statuses[i] = FV_OK;
    fv_read_watch_begin(batch->watch);
    size_t rows = fill(batch, slots);
    if (batch->part_count == 0) return;
    batch->steps++;
    batch->rows_run += rows;
    fv_status status;
    do status = fv_stepper_run_each(batch->stepper, batch->parts, batch->part_count, batch->outcomes);
    while (status == FV_ERROR_FULL && fv_slots_forget(slots));
    if (status != FV_OK) {
        run_alone(batch, slots);
        return;
    }
    for (size_t i = 0; i < batch->part_count; i++)
        if (batch->statuses[batch->owners[i]] == FV_OK)
            batch->statuses[batch->owners[i]] = (fv_status)batch->outcomes[i].status;
    settle(batch, slots, 0, batch->part_count);
}
