/* run_session.h - what `fovea run` takes up from files of sessions and leaves in them. */
#ifndef FOVEA_RUN_SESSION_H
#define FOVEA_RUN_SESSION_H

#include "fovea/conversation.h"
#include "fovea/generate.h"
#include "fovea/measure/reads.h"
#include "fovea/prefix_store.h"
#include "model_options.h"

typedef struct cli_kept_options {
    const char *session, *prompt_cache, *folder;
    int64_t dither; /* seed; -1: none */
    int64_t limit;  /* bytes of the folder */
    bool save, all, read_only;
} cli_kept_options;

extern const cli_option cli_kept_flags[]; /* a group whose target is a cli_kept_options */
extern const size_t cli_kept_flags_count;

/* Start from {.options = …}. */
typedef struct cli_kept {
    const cli_kept_options *options;
    fv_prefix_store *store; /* NULL: none */
    fv_session_file *file;  /* NULL: none, or not there yet */
    uint32_t reused;        /* tokens of it that the session holds */
    uint32_t skip;          /* of them, those that the next prompt begins with */
    bool is_known;          /* the whole prompt is in the file */
    bool is_read;           /* the first prompt was */
} cli_kept;

/** Opens the file or folder that is named, if there is one, and sets the types of the caches to its. *attention: what
 * was asked for; NULL: becomes the file's, or dense. *caches: the policy that caches are made for. CLI_GO_ON,
 * CLI_USAGE, CLI_FAILED. */
int cli_kept_open(cli_kept *kept, cli_model_options *model, const char **attention, fv_policy *caches);
void cli_kept_close(cli_kept *kept);

/** A conversation goes on after the session of --session. */
int cli_kept_resume(const cli_kept *kept, fv_conversation *conversation);

/** Tokens of --session, which come before the prompt. */
uint32_t cli_kept_before(const cli_kept *kept);

/** No prompt: the last token of --session again, or the prompt that --prompt-cache holds. CLI_GO_ON or CLI_FAILED. */
int cli_kept_prompt(const cli_kept *kept, fv_tokens *prompt);

/** Another policy than the one that the file was read with, from now on. CLI_GO_ON or CLI_FAILED. */
int cli_kept_attend(const cli_kept *kept, const fv_engine *engine, fv_session *session, const char *attention,
                    fv_policy *policy);

/** cli_kept_wake() for the first prompt: sampler and reads (NULL: nobody asked) know what was taken up. */
int cli_kept_begin(cli_kept *kept, fv_session *session, const fv_tokens *prompt, fv_generator *generator,
                   fv_reads *reads);

/** The session takes up what it can of the file; kept->skip tokens of the prompt need not be read. Again before each
 *  prompt until one was read. CLI_GO_ON or CLI_FAILED. */
int cli_kept_wake(cli_kept *kept, fv_session *session, const fv_tokens *prompt);

/** After a prompt was read, before its answer. */
int cli_kept_read(cli_kept *kept, fv_session *session);

/** At the end. chat: after an answer of a conversation. */
int cli_kept_end(cli_kept *kept, fv_session *session, fv_generator *generator, bool chat);

#endif
