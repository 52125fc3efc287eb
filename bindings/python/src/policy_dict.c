/* policy_dict.c - a policy's text made canonical, and what it says. */
#include "binding.h"
#include "fovea/policy_text.h"

PyObject *policy_dict(PyObject *module, PyObject *arguments) {
    (void)module;
    binding_call call;
    char text[FV_POLICY_TEXT_BYTES];
    PyObject *all = Py_BuildValue("(OOddiOO)", arguments, Py_True, 0.0, 0.0, 0, Py_False, Py_False);
    bool read = all && binding_call_read(&call, all, 0);
    Py_XDECREF(all);
    if (!read) return NULL;
    fv_status status = fv_policy_format(&call.policy, text, sizeof text);
    if (status != FV_OK) return binding_raise(status, NULL);
    const fv_policy *p = &call.policy;
    fv_cache_config cache;
    fv_cache_config_default(&cache);
    fv_policy_needs(p, &cache);
    return Py_BuildValue("{s:s,s:O,s:I,s:I,s:d,s:I,s:d,s:d,s:O,s:O,s:O}", "text", text, "chooses",
                         fv_policy_is_dynamic(p) ? Py_True : Py_False, "window", p->window, "sinks", p->sinks, "budget",
                         (double)p->budget, "pages", p->pages, "top_p", (double)p->top_p, "quality", (double)p->quality,
                         "certificate", p->certificate ? Py_True : Py_False, "tail", p->tail ? Py_True : Py_False,
                         "shadow", cache.shadow ? Py_True : Py_False);
}
