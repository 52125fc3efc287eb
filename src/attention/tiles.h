/* tiles.h - a prompt: tiles of rows x KV heads, each tile read by one worker. */
#ifndef FV_TILES_H
#define FV_TILES_H

#include "attention/attention_call.h"

/* All rows of the call; an error leaves its output untouched. */
fv_status fv_tiles_run(fv_attention_call *call);

#endif
