/* request.h - what one request asks of the model, and the answers to it as they grow: choices. A request belongs to the
 * thread that has it: first the one that reads it, then the one that steps the model. */
#ifndef FV_REQUEST_H
#define FV_REQUEST_H

#include "fovea/report.h"
#include "guesses.h"
#include "passages.h"
#include "prompt.h"
#include "settings.h"

/** Why an answer ended. */
typedef enum fv_finish {
    FV_FINISH_NOT, /* it did not */
    FV_FINISH_END,
    FV_FINISH_TEXT,
    FV_FINISH_LIMIT,
    FV_FINISH_CONTEXT,
    FV_FINISH_DROPPED /* its client is gone, or an error was told */
} fv_finish;

/** A token of the prompt or the answer, where log-probabilities are wanted. Its alternatives are in `tops`. */
typedef struct fv_entry {
    int32_t token;
    float logprob;   /* of the model's own distribution; a NaN for the first token of a prompt */
    uint64_t offset; /* characters of the prompt and the answer before it */
    size_t begin;    /* bytes of the answer before it */
} fv_entry;

typedef struct fv_alternative {
    int32_t token;
    float logprob;
} fv_alternative;

typedef struct fv_request fv_request;

/** One answer. */
typedef struct fv_choice {
    fv_request *request;
    const fv_prompt *prompt;
    uint32_t index;
    uint32_t finish;     /* fv_finish */
    int stop;            /* number of the stop text that ended it; -1 */
    size_t read;         /* tokens of the prompt that are evaluated or were reused */
    size_t cached;       /* of them, reused */
    int32_t pending;     /* chosen, to be evaluated when its successor is wanted */
    fv_guesses guesses;  /* that are evaluated with it */
    fv_sampler *sampler; /* from fv_choice_open() on */
    fv_answer_text *text;
    fv_tokens tokens;    /* of the answer, without an end token */
    size_t shown_tokens; /* that went out in a stream */
    fv_entry *entries;
    fv_alternative *tops; /* [entries][settings.logprobs] */
    size_t entry_count, entry_room, shown_entries;
    fv_passages passages;
    uint64_t characters;               /* so far, with the prompt's */
    bool told;                         /* its stream began */
    uint64_t open_ns, read_ns, end_ns; /* admitted, prompt read, ended */
    fv_report report;
    size_t cut;             /* tokens whose deadline came before all was read: what follows must not be reused */
    struct fv_choice *next; /* in line */
} fv_choice;

/** How an API words answers. All but `whole` may be NULL: there is no such event. */
typedef struct fv_shape {
    const char *type;      /* of a stream */
    const char *last_word; /* of a stream; NULL: none */
    json_t *(*begin)(const fv_choice *choice);
    json_t *(*piece)(const fv_choice *choice, const char *bytes, size_t length); /* entries from shown_entries on */
    json_t *(*end)(const fv_choice *choice);
    json_t *(*usage)(const fv_request *request);
    json_t *(*whole)(const fv_request *request);
} fv_shape;

struct fv_request {
    const fv_server *server;
    fv_reply *reply; /* held */
    const fv_shape *shape;
    fv_settings settings;
    fv_prompts prompts;
    char id[40];
    uint64_t created_s, came_ns;
    fv_choice *choices; /* of the first prompt, then the next */
    size_t choice_count, open_count;
    bool failed; /* an error was told */
};

/** With the settings of one that says nothing. FV_OK, FV_ERROR_MEMORY, FV_ERROR_CORRUPT. */
fv_status fv_request_new(fv_request **request, fv_call *call, const fv_shape *shape, const char *id_prefix,
                         fv_message *message);
void fv_request_free(fv_request *request);

/** Settings and prompts are complete: makes the choices. FV_OK, FV_ERROR_ARGUMENT (too many, a prompt that does not
 *  fit: the message has both numbers), FV_ERROR_MEMORY. */
fv_status fv_request_prepare(fv_request *request, fv_message *message);

bool fv_request_gone(fv_request *request); /* nobody waits for it */
void fv_request_fail(fv_request *request, unsigned status, const char *text);

/* ---- choices; of the thread that steps ---- */

fv_status fv_choice_open(fv_choice *choice); /* FV_OK, FV_ERROR_MEMORY, FV_ERROR_ARGUMENT */

/** Logits after token `place` of the prompt, for the log-probability of the one after it. */
fv_status fv_choice_prompt_row(fv_choice *choice, size_t place, const float *logits);
bool fv_choice_wants_rows(const fv_choice *choice);

/** The row that the next token is chosen from was watched: what it read. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_choice_read(fv_choice *choice, fv_read_watch *watch, size_t row);

/** Tokens of the answer whose passages can be told: those of a stop text are no part of it. */
size_t fv_choice_passages(const fv_choice *choice);

/** Chooses the next token from the logits of the last one, and tells what can be told. choice->finish says whether it
 *  was the last. scratch: [vocabulary]. */
fv_status fv_choice_next(fv_choice *choice, const float *logits, float *scratch, size_t room);

/** Tells the rest; where it is the request's last choice, all of it. Does not free anything. */
void fv_choice_end(fv_choice *choice, fv_finish finish);

#endif
