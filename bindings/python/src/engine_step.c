/* engine_step.c - tokens evaluated: a sequence alone or in company, the GIL let go, Ctrl-C looked for. */
#include "engine_object.h"

bool engine_goes_on(void *context, size_t done, size_t total) {
    engine_pause *pause = context;
    (void)done;
    (void)total;
    PyEval_RestoreThread(pause->state);
    pause->raised = PyErr_CheckSignals() != 0;
    pause->state = PyEval_SaveThread();
    return !pause->raised;
}

PyObject *sequence_raise(const sequence_object *self, fv_status status, fv_message *message) {
    if (PyErr_Occurred()) return NULL; /* the signal's */
    (void)fv_sequence_explain(self->sequence, status, message);
    if (status == FV_ERROR_FULL && !message->text[0])
        (void)fv_message_set(message, status, "the context of %zu tokens is full, or so is the engine's memory_limit",
                             fv_sequence_context_tokens(self->sequence));
    if (status == FV_ERROR_ARGUMENT && !message->text[0])
        (void)fv_message_set(message, status, "an id outside the vocabulary, or no token at all");
    return binding_raise(status, message);
}

static size_t vocabulary_of(const engine_object *engine) {
    return fv_llm_config(fv_engine_llm(engine->engine))->vocabulary;
}

static float *rows_of(PyObject *array) { return (float *)(void *)PyByteArray_AsString(array); }

static PyObject *rows_make(const engine_object *engine, size_t rows) {
    return PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(rows * vocabulary_of(engine) * sizeof(float)));
}

/* ---- in company: whoever feeds at the same time is in the same steps ---- */

static bool schedule_ready(engine_object *engine) {
    fv_message message = {.text = ""};
    if (engine->schedule) return true;
    fv_status status = engine_stepper_open(engine, &engine->together, &message);
    if (status == FV_OK) status = fv_schedule_open(&engine->schedule, engine->together, 0, &message);
    if (status != FV_OK) {
        fv_stepper_close(engine->together);
        engine->together = NULL;
        binding_raise(status, &message);
    }
    return status == FV_OK;
}

static fv_status feed_scheduled(sequence_object *self, const int32_t *ids, size_t count, bool is_prompt,
                                float *logits) {
    engine_pause pause = {PyEval_SaveThread(), false};
    fv_status status = (is_prompt ? fv_schedule_feed_prompt : fv_schedule_feed)(
        self->engine->schedule, self->sequence, ids, count, logits, engine_goes_on, &pause);
    PyEval_RestoreThread(pause.state);
    return status;
}

/* ---- with the logits of every row ---- */

static bool stepper_ready(engine_object *engine) {
    fv_message message = {.text = ""};
    if (engine->stepper) return true;
    fv_status status = engine_stepper_open(engine, &engine->stepper, &message);
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK;
}

static fv_status logits_of_all(fv_stepper *stepper, size_t count, uint32_t *rows, float *logits) {
    for (size_t i = 0; i < count; i++) rows[i] = (uint32_t)i;
    return fv_stepper_logits(stepper, rows, count, logits);
}

static fv_status feed_all_rows(sequence_object *self, const int32_t *ids, size_t count, bool is_prompt, float *logits) {
    engine_object *engine = self->engine;
    size_t batch = fv_stepper_batch_tokens(engine->stepper), vocabulary = vocabulary_of(engine);
    uint32_t *rows = PyMem_Malloc(batch * sizeof *rows);
    fv_status status = rows ? FV_OK : FV_ERROR_MEMORY;
    engine_pause pause = {PyEval_SaveThread(), false};
    for (size_t done = 0, part; status == FV_OK && done < count; done += part) {
        part = count - done < batch ? count - done : batch;
        (void)pthread_mutex_lock(&engine->lock);
        fv_part_outcome outcome;
        fv_step_part step = {.sequence = self->sequence, .tokens = ids + done, .count = (uint32_t)part};
        if (is_prompt) fv_step_part_ask(&step, count - done);
        step.output_rows = 0; /* all have logits */
        status = fv_stepper_run_each(engine->stepper, &step, 1, &outcome);
        if (status == FV_OK) status = logits_of_all(engine->stepper, part, rows, logits + done * vocabulary);
        (void)pthread_mutex_unlock(&engine->lock);
        if (status == FV_OK && !engine_goes_on(&pause, done + part, count)) status = FV_ERROR_INTERRUPTED;
    }
    PyEval_RestoreThread(pause.state);
    PyMem_Free(rows);
    return status;
}

/* wants: 0 nothing, 1 the logits of the last token, 2 of all; whether it is a prompt. */
PyObject *sequence_feed(PyObject *object, PyObject *arguments) {
    sequence_object *self = (sequence_object *)object;
    PyObject *bytes, *logits = NULL;
    int wants, is_prompt;
    const int32_t *ids;
    size_t count;
    fv_message message = {.text = ""};
    if (!PyArg_ParseTuple(arguments, "Oip:feed", &bytes, &wants, &is_prompt) || !engine_ids(bytes, &ids, &count))
        return NULL;
    if (!sequence_begin(self)) return NULL;
    if (count == 0)
        PyErr_SetString(PyExc_ValueError, "there is no token to evaluate");
    else if (wants > 0)
        logits = rows_make(self->engine, wants == 1 ? 1 : count);
    bool ready = !PyErr_Occurred() && (wants == 2 ? stepper_ready(self->engine) : schedule_ready(self->engine));
    fv_status status = FV_OK;
    if (ready) {
        float *rows = logits ? rows_of(logits) : NULL;
        status = wants == 2 ? feed_all_rows(self, ids, count, is_prompt, rows)
                            : feed_scheduled(self, ids, count, is_prompt, rows);
        if (status != FV_OK) sequence_raise(self, status, &message);
    }
    sequence_end(self);
    if (ready && status == FV_OK) return logits ? logits : binding_none();
    Py_XDECREF(logits);
    return NULL;
}

/* ---- one step of several ---- */

#define PARTS_MOST 4096

static void end_parts(PyObject *parts, Py_ssize_t begun) {
    for (Py_ssize_t i = 0; i < begun; i++)
        sequence_end((sequence_object *)PyTuple_GetItem(PyTuple_GetItem(parts, i), 0));
}

/* Each sequence is taken; how many were, for end_parts(). */
static bool begin_parts(engine_object *self, PyObject *parts, fv_step_part *steps, Py_ssize_t *begun) {
    for (*begun = 0; *begun < PyTuple_Size(parts); (*begun)++) {
        PyObject *object, *bytes;
        size_t count;
        fv_step_part *step = &steps[*begun];
        if (!PyArg_ParseTuple(PyTuple_GetItem(parts, *begun), "OO", &object, &bytes)) return false;
        sequence_object *sequence = sequence_of(object, self);
        *step = (fv_step_part){0};
        if (!sequence || !engine_ids(bytes, &step->tokens, &count)) return false;
        if (count < 1 || count > fv_stepper_batch_tokens(self->stepper)) {
            PyErr_Format(PyExc_ValueError, "step: 1 to %zu tokens of a sequence, and as many in all, not %zu",
                         fv_stepper_batch_tokens(self->stepper), count);
            return false;
        }
        if (!sequence_begin(sequence)) return false;
        step->sequence = sequence->sequence;
        step->count = (uint32_t)count;
    }
    return true;
}

/* Logits of the last row of each part. All or nothing: a part that fails leaves every sequence as it was. */
static fv_status run_parts(engine_object *self, const fv_step_part *steps, size_t count, float *logits) {
    uint32_t *rows = PyMem_Malloc(count * sizeof *rows), row = 0;
    fv_status status = rows ? FV_OK : FV_ERROR_MEMORY;
    for (size_t i = 0; status == FV_OK && i < count; i++) rows[i] = (row += steps[i].count) - 1;
    if (status == FV_OK) {
        Py_BEGIN_ALLOW_THREADS;
        (void)pthread_mutex_lock(&self->lock);
        status = fv_stepper_run(self->stepper, steps, count);
        if (status == FV_OK) status = fv_stepper_logits(self->stepper, rows, count, logits);
        (void)pthread_mutex_unlock(&self->lock);
        Py_END_ALLOW_THREADS;
    }
    PyMem_Free(rows);
    return status;
}

static void raise_step(const engine_object *self, fv_status status) {
    fv_message message = {.text = ""};
    if (status == FV_ERROR_FULL)
        (void)fv_message_set(&message, status,
                             "the context of one of the sequences, or the engine's memory_limit, is full");
    if (status == FV_ERROR_ARGUMENT)
        (void)fv_message_set(&message, status, "more than %zu tokens in a step, or an id outside the vocabulary",
                             fv_stepper_batch_tokens(self->stepper));
    binding_raise(status, &message);
}

PyObject *engine_step(PyObject *object, PyObject *parts) {
    engine_object *self = (engine_object *)object;
    if (!engine_ready(self) || !stepper_ready(self)) return NULL;
    Py_ssize_t count = PyTuple_Size(parts), begun = 0;
    if (count < 1 || count > PARTS_MOST) return PyErr_Format(PyExc_ValueError, "step: 1 to %d sequences", PARTS_MOST);
    fv_step_part *steps = PyMem_Malloc((size_t)count * sizeof *steps);
    PyObject *logits = steps ? rows_make(self, (size_t)count) : PyErr_NoMemory();
    if (logits && begin_parts(self, parts, steps, &begun)) {
        fv_status status = run_parts(self, steps, (size_t)count, rows_of(logits));
        if (status != FV_OK) raise_step(self, status);
    }
    end_parts(parts, begun);
    PyMem_Free(steps);
    if (!PyErr_Occurred()) return logits;
    Py_XDECREF(logits);
    return NULL;
}
