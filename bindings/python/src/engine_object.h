/* engine_object.h - what Engine, Sequence and the others of Python's are in C: a model that is open, what steps need,
 * and conversations with it. */
#ifndef FV_ENGINE_OBJECT_H
#define FV_ENGINE_OBJECT_H

#include "binding.h"
#include "fovea/engine.h"
#include "fovea/measure/read_watch.h"
#include "fovea/sampler.h"
#include "fovea/schedule.h"
#include "fovea/session_file.h"
#include <pthread.h>

/** A model file and what all its sequences share. Any number of threads. */
typedef struct engine_object {
    PyObject ob_base;
    fv_engine *engine; /* NULL until __init__() has run */
    fv_segments *segments;
    fv_session_config config; /* of steppers, and of sequences that ask for nothing else */
    fv_stepper *together;     /* the schedule's; made when it is first needed, under the GIL, as the next */
    fv_schedule *schedule;
    fv_stepper *stepper;  /* of steps whose rows are asked for */
    pthread_mutex_t lock; /* of `stepper`; never waited for with the GIL */
} engine_object;

/** What one conversation has in the cache. One call at a time: `busy` is looked at and set under the GIL. */
typedef struct sequence_object {
    PyObject ob_base;
    engine_object *engine; /* a reference */
    fv_sequence *sequence; /* NULL until it is made */
    bool busy;
} sequence_object;

/** Watches what the rows of one sequence read: steps of its own. One call at a time. */
typedef struct watch_object {
    PyObject ob_base;
    engine_object *engine; /* a reference */
    fv_stepper *stepper;
    fv_read_watch *watch;
    bool busy;
} watch_object;

/* ---- engine_type.c ---- */
PyObject *engine_type_make(void);
/** False: __init__() has not run: raised. */
bool engine_ready(const engine_object *self);
engine_object *engine_of(PyObject *object); /* as an Engine that was made; NULL: raised. Borrowed */
/** A stepper for the engine's sequences, also for those that choose by the queries where the engine's own policy does
 * not. */
fv_status engine_stepper_open(const engine_object *self, fv_stepper **stepper, fv_message *message);
/** The engine's policy from its text, with the shares that were tuned for the model. False: raised. */
bool engine_policy(const engine_object *self, PyObject *text, fv_policy *policy);

/* ---- engine_text.c: methods of Engine ---- */
PyObject *engine_encode(PyObject *self, PyObject *arguments);   /* (text bytes, flags) -> ids as bytes of int32 */
PyObject *engine_decode(PyObject *self, PyObject *arguments);   /* (ids, special) -> bytes */
PyObject *engine_piece(PyObject *self, PyObject *arguments);    /* (id, special) -> bytes */
PyObject *engine_is_end(PyObject *self, PyObject *argument);    /* (id) -> bool */
PyObject *engine_metadata(PyObject *self, PyObject *arguments); /* () -> {key: number, truth value or bytes} */
PyObject *engine_chat(PyObject *self, PyObject *arguments);     /* (family or None, ((role, content), ...)) -> ids */
PyObject *engine_template(PyObject *self, PyObject *json);      /* (JSON: what the file's template may name) -> ids */
/** The ids in `bytes`, int32. False: no bytes of whole ids: raised. Borrowed from `bytes`. */
bool engine_ids(PyObject *bytes, const int32_t **ids, size_t *count);
PyObject *engine_ids_bytes(const int32_t *ids, size_t count);

/* ---- engine_step.c ---- */
PyObject *engine_step(PyObject *self, PyObject *arguments);   /* Engine: ((sequence, ids), ...) -> logits */
PyObject *sequence_feed(PyObject *self, PyObject *arguments); /* Sequence: (ids, wants) -> logits or None */

/** Goes on until a signal came; `context` is an engine_pause. Of fv_session_progress_fn. */
typedef struct engine_pause {
    PyThreadState *state; /* of the thread, while it has let the GIL go */
    bool raised;
} engine_pause;
bool engine_goes_on(void *context, size_t done, size_t total);

/** Raises what `status` is of that sequence: where numbers went wrong, too. Always NULL. */
PyObject *sequence_raise(const sequence_object *self, fv_status status, fv_message *message);

/* ---- sequence_type.c ---- */
PyObject *sequence_type_make(void);
bool sequence_begin(sequence_object *self); /* false: in use, or never made: raised */
void sequence_end(sequence_object *self);
/** `object` as a Sequence of this engine; NULL: raised. Borrowed. */
sequence_object *sequence_of(PyObject *object, const engine_object *engine);

/* ---- sequence_store.c: methods of Sequence, and of the module ---- */
PyObject *sequence_save(PyObject *self, PyObject *arguments); /* (path, end) */
PyObject *sequence_wake(PyObject *self, PyObject *arguments); /* (path, ids: how they begin decides) -> tokens */
PyObject *session_info(PyObject *module, PyObject *path);     /* -> {...} */

/* ---- watch_type.c, sampler_type.c ---- */
PyObject *watch_type_make(void);
PyObject *sampler_type_make(void);

#endif
