/* slot_action.h - what can be done to a slot between two answers: keep it in a file, fill it from one, empty it. */
#ifndef FV_SLOT_ACTION_H
#define FV_SLOT_ACTION_H

#include "slot_table.h"

typedef enum fv_slot_verb { FV_SLOT_SAVE, FV_SLOT_RESTORE, FV_SLOT_ERASE } fv_slot_verb;

typedef struct fv_slot_action {
    fv_slot_verb verb;
    uint32_t slot;
    char file[128];  /* a name in config.slot_folder */
    fv_reply *reply; /* held */
    struct fv_slot_action *next;
} fv_slot_action;

/** Whether it may be a file's name: letters, digits, '.', '_' and '-', no '.' first. Pure. */
bool fv_slot_file_is_good(const char *name);

/** Does it and answers; the action is freed. Of the thread that steps. */
void fv_slot_act(fv_slots *slots, fv_slot_action *action);
void fv_slot_action_free(fv_slot_action *action);

#endif
