/* binding.h - what the files of the extension share: errors, numbers of a call, the threads that it runs on, reports.
 */
#ifndef FV_BINDING_H
#define FV_BINDING_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x03090000
#endif
#include <Python.h>

#include "fovea/isa.h"
#include "fovea/message.h"
#include "fovea/policy.h"
#include "fovea/pool.h"
#include "fovea/report.h"
#include <stdbool.h>

/** Raises the exception that fovea._errors has for `status`, with the message's text or, without one, the status's.
 * Always NULL. */
PyObject *binding_raise(fv_status status, const fv_message *message);

/** None, as a new reference. */
static inline PyObject *binding_none(void) {
    Py_INCREF(Py_None);
    return Py_None;
}

/** The kernels of this processor; made when the module is. */
const fv_kernels *binding_kernels(void);
fv_status binding_kernels_init(void);

/** How a call runs: what attention() and Cache.attend() have in common. */
typedef struct binding_call {
    fv_policy policy;
    char text[FV_MESSAGE_BYTES]; /* of the policy */
    float scale, softcap;
    uint32_t window;
    bool causal, heads_first, wants_report;
} binding_call;

/** The policy and its text alone. False: raised. */
bool binding_policy(binding_call *call, PyObject *text);

/** From (policy, causal, scale, softcap, window, heads_first, wants_report), from item `first` of `arguments` on.
 * False: raised. */
bool binding_call_read(binding_call *call, PyObject *arguments, Py_ssize_t first);

/* threads.c: the pool that all calls share. */
typedef struct shared_pool shared_pool;
/** The pool, if `work` (multiplications) is worth it; NULL: the calling thread. With the GIL. */
shared_pool *threads_take(double work);
const fv_parallel *threads_parallel(shared_pool *pool); /* NULL for NULL */
void threads_give(shared_pool *pool);                   /* NULL is allowed. With the GIL */
PyObject *threads_set(PyObject *module, PyObject *arguments);
PyObject *threads_get(PyObject *module, PyObject *arguments);
PyObject *threads_forked(PyObject *module, PyObject *arguments);

/* report_dict.c */
PyObject *report_dict(const fv_report *report); /* {field: number} */

/* policy_dict.c */
PyObject *policy_dict(PyObject *module, PyObject *arguments);

/* array_call.c */
PyObject *array_call(PyObject *module, PyObject *arguments);

/* cache_type.c */
PyObject *cache_type_make(void);

#endif
