/* module.c - the extension module fovea._fovea: functions and a type that the package's Python files wrap. Its calls
 * are positional and check less than what people call; they are nobody's interface. */
#include "engine_object.h"
#include "fovea/version.h"
#include "index_object.h"
#include "tensor.h"

static PyObject *isa(PyObject *module, PyObject *arguments) {
    (void)module;
    (void)arguments;
    return PyUnicode_FromString(fv_isa_name(fv_kernels_isa(binding_kernels())));
}

/* ((name, value, text), ...) of every status. */
static PyObject *statuses(PyObject *module, PyObject *arguments) {
    (void)module;
    (void)arguments;
#define STATUS_FORMAT(name, value, text) "(sis)"
#define STATUS_VALUES(name, value, text) , #name, value, text
    return Py_BuildValue("(" FV_STATUS_LIST(STATUS_FORMAT) ")" FV_STATUS_LIST(STATUS_VALUES));
#undef STATUS_FORMAT
#undef STATUS_VALUES
}

static PyMethodDef methods[] = {{"attention", array_call, METH_VARARGS, NULL},
                                {"policy", policy_dict, METH_O, NULL},
                                {"set_exporter", tensor_set_exporter, METH_VARARGS, NULL},
                                {"set_threads", threads_set, METH_O, NULL},
                                {"get_threads", threads_get, METH_NOARGS, NULL},
                                {"forked", threads_forked, METH_NOARGS, NULL},
                                {"isa", isa, METH_NOARGS, NULL},
                                {"session_info", session_info, METH_O, NULL},
                                {"statuses", statuses, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "fovea._fovea", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fovea(void);

static bool add_types(PyObject *module) {
    static const struct {
        const char *name;
        PyObject *(*make)(void);
    } types[] = {{"Cache", cache_type_make},       {"Engine", engine_type_make}, {"Index", index_type_make},
                 {"Sequence", sequence_type_make}, {"Watch", watch_type_make},   {"Sampler", sampler_type_make}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        PyObject *type = types[i].make();
        if (type && PyModule_AddObject(module, types[i].name, type) == 0) continue;
        Py_XDECREF(type);
        return false;
    }
    return true;
}

PyMODINIT_FUNC PyInit__fovea(void) {
    fv_status status = binding_kernels_init();
    if (status != FV_OK) return binding_raise(status, NULL);
    PyObject *module = PyModule_Create(&definition);
    if (module && add_types(module) && PyModule_AddStringConstant(module, "version", fv_version()) == 0) return module;
    Py_XDECREF(module);
    return NULL;
}
