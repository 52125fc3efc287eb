/* report_dict.c - a report as a dict: the fields of fv_report by their names. */
#include "binding.h"

/* X(kind, field): the one list; report.py has the same names. */
#define REPORT_FIELDS(X) \
    X(COUNT, isa) \
    X(COUNT, keys_visible) \
    X(COUNT, keys_read) \
    X(COUNT, bytes_read) \
    X(COUNT, local_keys) \
    X(FLOAT, error_bound) \
    X(COUNT, selected_keys) \
    X(FLOAT, relative_bound) \
    X(FLOAT, relative_estimate) \
    X(COUNT, certified_rows) \
    X(COUNT, vacuous_rows) \
    X(COUNT, whole_rows) \
    X(COUNT, sink_keys) \
    X(COUNT, window_keys) \
    X(COUNT, whole_keys)

#define VALUE_COUNT(field) PyLong_FromUnsignedLongLong(report->field)
#define VALUE_FLOAT(field) PyFloat_FromDouble((double)report->field)

/* The reference to `value` is taken, also on failure. */
static bool put(PyObject *dict, const char *name, PyObject *value) {
    bool done = value && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return done;
}

PyObject *report_dict(const fv_report *report) {
    PyObject *dict = PyDict_New();
#define PUT(kind, field) &&put(dict, #field, VALUE_##kind(field))
    if (dict REPORT_FIELDS(PUT)) return dict;
#undef PUT
    Py_XDECREF(dict);
    return NULL;
}
