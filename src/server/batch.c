/* batch.c - parts of a step, and what is done with its logits. A part that fails, fails alone. While a step is in other
 * stages, slots that are in none go into the next one. */
#include "batch.h"
#include "fovea/machine.h"
#include <stdlib.h>

enum { CHUNK_TOKENS = 256 /* of prompts in a step that answers wait for */, ROWS_LEAST = 16 };

static fv_status flight_open(fv_flight *flight, fv_stepper *stepper, uint32_t slots) {
    flight->parts = calloc(slots, sizeof *flight->parts);
    flight->outcomes = calloc(slots, sizeof *flight->outcomes);
    flight->times = calloc(slots, sizeof *flight->times);
    flight->first_rows = calloc(slots, sizeof *flight->first_rows);
    flight->owners = calloc(slots, sizeof *flight->owners);
    if (!flight->parts || !flight->outcomes || !flight->times || !flight->first_rows || !flight->owners)
        return FV_ERROR_MEMORY;
    return fv_stepper_lane_open(&flight->lane, stepper);
}

static void flight_close(fv_flight *flight) {
    fv_stepper_lane_close(flight->lane);
    free(flight->parts);
    free(flight->outcomes);
    free(flight->times);
    free(flight->first_rows);
    free(flight->owners);
}

static fv_status flights_open(fv_batch *batch) {
    fv_status status = FV_OK;
    uint32_t lanes = fv_stepper_lanes(batch->stepper);
    batch->flights = calloc(lanes, sizeof *batch->flights);
    if (!batch->flights) return FV_ERROR_MEMORY;
    while (status == FV_OK && batch->lanes < lanes)
        status = flight_open(&batch->flights[batch->lanes++], batch->stepper, batch->slots);
    return status;
}

fv_status fv_batch_open(fv_batch *batch, const fv_server *server, fv_message *message) {
    fv_session_config config;
    fv_slots_session(server, &config);
    fv_policy_default(FV_SELECTOR_FOVEA, &config.policy); /* requests may ask for any */
    uint32_t slots = server->config->slots, rows = slots > ROWS_LEAST ? slots : ROWS_LEAST;
    *batch = (fv_batch){.vocabulary = fv_llm_config(server->llm)->vocabulary, .slots = slots, .logit_rows = rows};
    batch->flies = calloc(slots, sizeof *batch->flies);
    batch->statuses = calloc(slots, sizeof *batch->statuses);
    batch->wanted = calloc(slots, sizeof *batch->wanted);
    batch->rows = calloc(rows, sizeof *batch->rows);
    batch->logits = calloc((size_t)rows * batch->vocabulary, sizeof *batch->logits);
    batch->scratch = calloc(batch->vocabulary, sizeof *batch->scratch);
    batch->watched = calloc(slots, sizeof *batch->watched);
    if (!batch->flies || !batch->statuses || !batch->wanted || !batch->rows || !batch->logits || !batch->scratch ||
        !batch->watched)
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the logits of %u answers", slots);
    fv_status status = fv_stepper_open(&batch->stepper, server->llm, &config, fv_engine_pool(server->engine), message);
    if (status != FV_OK) return status;
    if (flights_open(batch) != FV_OK)
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the steps of %u answers", slots);
    return fv_read_watch_open(&batch->watch, batch->stepper, server->llm, server->slot_tokens,
                              fv_engine_threads(server->engine));
}

void fv_batch_close(fv_batch *batch) {
    fv_read_watch_close(batch->watch);
    for (uint32_t i = 0; i < batch->lanes; i++) flight_close(&batch->flights[i]);
    fv_stepper_close(batch->stepper);
    free(batch->flights);
    free(batch->flies);
    free(batch->statuses);
    free(batch->rows);
    free(batch->wanted);
    free(batch->logits);
    free(batch->scratch);
    free(batch->watched);
    *batch = (fv_batch){0};
}

/* ---- filling ---- */

static size_t prompt_left(const fv_choice *choice) { return choice->prompt->tokens.count - choice->read; }
static bool reads_prompt(const fv_choice *choice) { return prompt_left(choice) > 0; }

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

static size_t busy_slots(const fv_slots *slots) {
    size_t busy = 0;
    for (uint32_t i = 0; i < slots->count; i++) busy += slots->items[i].choice != NULL;
    return busy;
}

/* Guesses of each answer at most: few answers have many, many have none. A row of logits is kept for each slot at work.
 * Steps that are on their way together have last rows alone. */
static size_t share(const fv_batch *batch, const fv_slots *slots) {
    size_t busy = busy_slots(slots);
    return busy == 0 || (busy > 1 && batch->lanes > 1) ? 0 : (batch->logit_rows - busy) / busy;
}

/* Whether its step must be the only one: logits of all of its rows are wanted, or what it reads. */
static bool wants_all(const fv_choice *choice) {
    return choice->passages.most > 0 || (reads_prompt(choice) && fv_choice_wants_rows(choice));
}

/* Answers that are in one step: all, or where several steps are on their way a fair share of them. */
static size_t answers_most(const fv_batch *batch, const fv_slots *slots, bool alone) {
    size_t answers = 0;
    for (uint32_t i = 0; i < slots->count; i++)
        answers += slots->items[i].choice && !reads_prompt(slots->items[i].choice);
    return alone ? answers : (answers + batch->lanes - 1) / batch->lanes;
}

/* No more than can be of use, and none where something is asked of each step. */
static size_t most_guesses(const fv_slot *slot, size_t most) {
    const fv_choice *choice = slot->choice;
    const fv_settings *settings = &choice->request->settings;
    size_t room = fv_sequence_context_tokens(slot->sequence) - fv_sequence_tokens(slot->sequence) - 1;
    if (choice->passages.most > 0 || settings->deadline_ms > 0) return 0;
    if (settings->max_tokens >= 0 && (uint64_t)settings->max_tokens - choice->tokens.count - 1 < room)
        room = (size_t)settings->max_tokens - choice->tokens.count - 1;
    return room < most ? room : most;
}

/* A token of an answer has its sequence's deadline from now. */
static void add_part(fv_batch *batch, fv_flight *flight, const fv_slots *slots, uint32_t index, const int32_t *tokens,
                     size_t count) {
    const fv_slot *slot = &slots->items[index];
    size_t place = flight->part_count++;
    batch->flies[index] = true;
    flight->owners[place] = index;
    fv_step_part *part = &flight->parts[place];
    *part = (fv_step_part){.sequence = slot->sequence, .tokens = tokens, .count = (uint32_t)count};
    if (reads_prompt(slot->choice)) fv_step_part_ask(part, prompt_left(slot->choice));
    if (fv_choice_wants_rows(slot->choice)) part->output_rows = 0;
    fv_token_time_begin(&flight->times[place], slot->sequence, reads_prompt(slot->choice) ? 0 : count);
    fv_token_time_attach(&flight->times[place], part);
    watch_part(batch, slot, index, count);
}

/* The tokens that answers go on with, and their guesses, in what room there is. Rows in all. */
static size_t fill_answers(fv_batch *batch, fv_flight *flight, fv_slots *slots, size_t room, size_t answers) {
    size_t rows = 0, most = share(batch, slots);
    for (uint32_t i = 0; i < slots->count && rows < room && flight->part_count < answers; i++) {
        fv_choice *choice = slots->items[i].choice;
        if (!choice || reads_prompt(choice) || batch->flies[i]) continue;
        size_t left = room - rows - 1, wanted = most_guesses(&slots->items[i], most < left ? most : left);
        uint32_t count = fv_guesses_make(&choice->guesses, choice->pending, wanted);
        add_part(batch, flight, slots, i, choice->guesses.ahead, count);
        batch->guessed += count - 1;
        rows += count;
    }
    return rows;
}

/* Answers first; then prompts in turn, in what room there is. Rows in all. */
static size_t fill(fv_batch *batch, fv_flight *flight, fv_slots *slots, bool alone) {
    size_t room = fv_stepper_batch_tokens(batch->stepper);
    flight->part_count = 0;
    size_t rows = fill_answers(batch, flight, slots, room, answers_most(batch, slots, alone));
    if (rows > 0 && room > rows + CHUNK_TOKENS) room = rows + CHUNK_TOKENS;
    for (uint32_t n = 0; n < slots->count && rows < room; n++) {
        uint32_t i = (batch->turn + n) % slots->count;
        fv_choice *choice = slots->items[i].choice;
        if (!choice || !reads_prompt(choice) || batch->flies[i]) continue;
        size_t left = prompt_left(choice), most = left < room - rows ? left : room - rows;
        size_t count = fv_slot_piece(&slots->items[i], most);
        if (batch->flying == 0) fv_slot_keep_base(&slots->items[i]);
        add_part(batch, flight, slots, i, choice->prompt->tokens.ids + choice->read, count);
        rows += count;
        if (count < left) batch->turn = i + 1;
    }
    return rows;
}

/* ---- logits ---- */

/* Log-probabilities of a chunk of a prompt, whose first row in the step is `row`. */
static fv_status prompt_rows(fv_batch *batch, fv_flight *flight, fv_choice *choice, uint32_t row, uint32_t count) {
    fv_status status = FV_OK;
    for (uint32_t done = 0; done < count && status == FV_OK; done += batch->logit_rows) {
        uint32_t some = count - done < batch->logit_rows ? count - done : batch->logit_rows;
        for (uint32_t i = 0; i < some; i++) batch->rows[i] = row + done + i;
        status = fv_stepper_lane_logits(flight->lane, batch->rows, some, batch->logits);
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

/* later: rows of the slot that its sequence holds after the one that the logits are of. */
static fv_status choose(fv_batch *batch, const fv_slots *slots, uint32_t index, const float *logits, size_t later) {
    const fv_slot *slot = &slots->items[index];
    size_t room = fv_sequence_context_tokens(slot->sequence) - (fv_sequence_tokens(slot->sequence) - later);
    size_t row = batch->watched[index];
    fv_status status = row == SIZE_MAX ? FV_OK : fv_choice_read(slot->choice, batch->watch, row);
    return status != FV_OK ? status : fv_choice_next(slot->choice, logits, batch->scratch, room);
}

/* The next tokens of one slot: from a row after the other, as long as what is chosen is what was guessed; the guesses
 * after that are taken back. logits: NULL where each row's are still to be had. */
static fv_status take(fv_batch *batch, fv_flight *flight, fv_slots *slots, const fv_wanted *wanted,
                      const float *logits) {
    fv_slot *slot = &slots->items[wanted->slot];
    fv_choice *choice = slot->choice;
    fv_status status = FV_OK;
    uint32_t place = 0;
    for (;; place++) {
        uint32_t row = wanted->row + place;
        const float *own = logits ? logits + (size_t)place * batch->vocabulary : batch->logits;
        if (!logits) status = fv_stepper_lane_logits(flight->lane, &row, 1, batch->logits);
        if (status == FV_OK) status = choose(batch, slots, wanted->slot, own, wanted->rows - 1 - place);
        if (status != FV_OK) return status;
        if (choice->finish != FV_FINISH_NOT || !fv_guesses_right(&choice->guesses, place, choice->pending)) break;
    }
    fv_guesses_learn(&choice->guesses, place);
    batch->right += place;
    size_t wrong = wanted->rows - 1 - place;
    return wrong > 0 ? fv_sequence_truncate(slot->sequence, fv_sequence_tokens(slot->sequence) - wrong) : FV_OK;
}

/* Which rows' logits are wanted: of an answer all, of a prompt the last. Slots that want any. */
static uint32_t find_wanted(fv_batch *batch, fv_flight *flight, fv_slots *slots) {
    uint32_t count = 0;
    for (size_t i = 0; i < flight->part_count; i++) {
        uint32_t slot = flight->owners[i], rows = flight->parts[i].count, row = flight->first_rows[i];
        fv_choice *choice = slots->items[slot].choice;
        if (row == UINT32_MAX || batch->statuses[slot] != FV_OK || choice->guesses.pause) continue;
        bool prompt = reads_prompt(choice);
        if (prompt && fv_choice_wants_rows(choice))
            batch->statuses[slot] = prompt_rows(batch, flight, choice, row, rows);
        if (batch->statuses[slot] != FV_OK || !advance(choice, rows)) continue;
        uint32_t skipped = prompt ? rows - 1 : 0;
        batch->wanted[count++] = (fv_wanted){.slot = slot, .row = row + skipped, .rows = rows - skipped};
    }
    return count;
}

/* Next tokens of the parts that came through; where a number is no number, each part alone, so that it is one answer's
 * fault. */
static void settle(fv_batch *batch, fv_flight *flight, fv_slots *slots) {
    uint32_t count = find_wanted(batch, flight, slots), rows = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t place = 0; place < batch->wanted[i].rows; place++)
            batch->rows[rows++] = batch->wanted[i].row + place;
    if (count == 0) return;
    bool sound = fv_stepper_lane_logits(flight->lane, batch->rows, rows, batch->logits) == FV_OK;
    const float *logits = batch->logits;
    for (uint32_t i = 0; i < count; i++) {
        const fv_wanted *wanted = &batch->wanted[i];
        batch->statuses[wanted->slot] = take(batch, flight, slots, wanted, sound ? logits : NULL);
        logits += (size_t)wanted->rows * batch->vocabulary;
    }
}

/* ---- the step ---- */

/* What became of a part. Where it failed with guesses, or memory for contexts was short and an idle one could be given
 * up, it is tried again in the next step. */
static void note(fv_batch *batch, const fv_flight *flight, fv_slots *slots, size_t place) {
    uint32_t index = flight->owners[place];
    fv_status *status = &batch->statuses[index], became = (fv_status)flight->outcomes[place].status;
    fv_slot *slot = &slots->items[index];
    batch->flies[index] = false;
    fv_token_time_end(&flight->times[place], slot->sequence, became);
    slot->choice->cut = fv_sequence_deadline_counts(slot->sequence)->cut;
    if (became != FV_OK && fv_guesses_blamed(&slot->choice->guesses)) became = FV_OK;
    if (became == FV_ERROR_FULL && fv_slots_forget(slots)) became = FV_OK;
    if (*status == FV_OK) *status = became;
}

/* false: there is nothing to begin, or one must be alone that others are in the way of. */
static bool begin(fv_batch *batch, fv_slots *slots, bool *alone) {
    *alone = false;
    for (uint32_t i = 0; i < slots->count; i++)
        *alone = *alone || (slots->items[i].choice && !batch->flies[i] && wants_all(slots->items[i].choice));
    if (*alone && batch->flying > 0) return false;
    fv_flight *flight = &batch->flights[(batch->oldest + batch->flying) % batch->lanes];
    fv_read_watch_begin(batch->watch);
    size_t rows = fill(batch, flight, slots, *alone);
    if (flight->part_count == 0) return false;
    batch->flying++;
    batch->steps++;
    batch->rows_run += rows;
    flight->status =
        fv_stepper_lane_begin(flight->lane, flight->parts, flight->part_count, flight->outcomes, flight->first_rows);
    return true;
}

static bool end(fv_batch *batch, fv_slots *slots) {
    fv_flight *flight = &batch->flights[batch->oldest];
    if (batch->flying == 0) return false;
    fv_status status = flight->status;
    if (status == FV_OK) status = fv_stepper_lane_end(flight->lane, flight->outcomes);
    batch->oldest = (batch->oldest + 1) % batch->lanes;
    batch->flying--;
    for (size_t i = 0; i < flight->part_count; i++) note(batch, flight, slots, i);
    if (status == FV_OK) settle(batch, flight, slots);
    return true;
}

/* ---- a prompt alone ---- */

/* Its slot, where all stages are free for it and it has more than one step; NULL: there is none. */
static fv_slot *lone_prompt(const fv_batch *batch, fv_slots *slots) {
    if (batch->lanes == 1 || batch->flying > 0 || busy_slots(slots) != 1) return NULL;
    fv_slot *slot = slots->items;
    while (!slot->choice) slot++;
    const fv_choice *choice = slot->choice;
    bool is_long = prompt_left(choice) > fv_stepper_batch_tokens(batch->stepper);
    return is_long && !wants_all(choice) ? slot : NULL;
}

static bool goes_on(void *context, size_t done, size_t total) {
    fv_batch *batch = context;
    (void)done, (void)total;
    batch->steps++;
    return !batch->is_wanted(batch->context);
}

/* All but its last step, whose logits are wanted. */
static void feed(fv_batch *batch, fv_slots *slots, fv_slot *slot) {
    fv_choice *choice = slot->choice;
    size_t most = fv_stepper_batch_tokens(batch->stepper), before = fv_sequence_tokens(slot->sequence);
    size_t left = prompt_left(choice), count = fv_slot_piece(slot, (left - 1) / most * most);
    fv_slot_keep_base(slot);
    const int32_t *tokens = choice->prompt->tokens.ids + choice->read;
    fv_status status =
        fv_sequence_feed_prompt(slot->sequence, batch->stepper, tokens, count, left - count, goes_on, batch);
    size_t fed = fv_sequence_tokens(slot->sequence) - before;
    choice->read += fed;
    batch->rows_run += fed;
    if (status == FV_ERROR_INTERRUPTED || (status == FV_ERROR_FULL && fv_slots_forget(slots))) status = FV_OK;
    batch->statuses[slot - slots->items] = status;
}

static void statuses_clear(fv_batch *batch) {
    for (uint32_t i = 0; i < batch->slots; i++) batch->statuses[i] = FV_OK;
}

void fv_batch_step(fv_batch *batch, fv_slots *slots) {
    bool alone = false;
    statuses_clear(batch);
    fv_slot *lone = lone_prompt(batch, slots);
    if (lone) {
        feed(batch, slots, lone);
        return;
    }
    bool has_begun = begin(batch, slots, &alone);
    if (!has_begun || alone || batch->flying == batch->lanes) (void)end(batch, slots);
}

bool fv_batch_end(fv_batch *batch, fv_slots *slots) {
    statuses_clear(batch);
    return end(batch, slots);
}
