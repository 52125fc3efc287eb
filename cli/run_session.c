/* run_session.c - --session goes on after what a file holds; --prompt-cache keeps the beginning of prompts, as
 * llama.cpp's does: the longest common beginning is taken up, and the file brought up to date when a prompt was not in
 * it whole. */
#include "run_session.h"
#include "attention_option.h"
#include "fovea/policy_text.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CLI_TARGET cli_kept_options
const cli_option cli_kept_flags[] = {
    CLI_FLAG(TEXT, "--session", session, .value = "FILE",
             .help = "go on after what FILE holds (fovea read, --save); types and attention are the\nfile's, unless "
                     "--attention names another one that its caches serve; other types are an error"),
    CLI_FLAG(INTEGER, "--session-dither", dither, .value = "SEED", .low = -1, .high = CLI_SEED_MAX, .note = "off",
             .help =
                 "read the session's keys and values with noise of up to half a step of their types, the\nsame "
                 "for the same SEED, into caches of -ctk and -ctv: f32, or f16 (default) where it\nis q8_0 or q4_0"),
    CLI_FLAG(SWITCH, "--save", save, .help = "in the end the session with question and answer goes back to FILE"),
    CLI_FLAG(TEXT, "--prompt-cache", prompt_cache, .value = "FILE",
             .help = "take up from FILE what the prompt begins with; make it, or bring it up to date,\nonce the prompt "
                     "was read. Without a prompt: the one in FILE"),
    CLI_FLAG(SWITCH, "--prompt-cache-all", all, .help = "the answer is kept in it, too"),
    CLI_FLAG(SWITCH, "--prompt-cache-ro", read_only, .help = "FILE stays as it is"),
    CLI_FLAG(TEXT, "--session-dir", folder, .value = "DIR",
             .help =
                 "keep the beginnings of prompts, of 1,024 tokens and more, in files of this folder, and\ntake them up "
                 "from there. Several processes may share it"),
    CLI_FLAG(INTEGER, "--session-limit", limit, .value = "BYTES", .high = 9e18,
             .help = "of all files in DIR; the least recently used goes first"),
};
const size_t cli_kept_flags_count = sizeof cli_kept_flags / sizeof cli_kept_flags[0];

static int check(const cli_kept_options *options) {
    if (!!options->session + !!options->prompt_cache + !!options->folder > 1)
        return cli_usage_error("run", "--session, --prompt-cache and --session-dir exclude each other");
    if (options->dither >= 0 && !options->session)
        return cli_usage_error("run", "--session-dither needs --session FILE");
    if (options->save && !options->session) return cli_usage_error("run", "--save needs --session FILE");
    if ((options->all || options->read_only) && !options->prompt_cache)
        return cli_usage_error("run", "--prompt-cache-%s needs --prompt-cache FILE", options->all ? "all" : "ro");
    return CLI_GO_ON;
}

/* llama.cpp takes a file that is not there, or empty, for one that is to be made. */
static bool is_to_be_made(const char *path) {
    struct stat info;
    return stat(path, &info) != 0 || (S_ISREG(info.st_mode) && info.st_size == 0);
}

static const char *path_of(const cli_kept *kept) {
    if (kept->options->folder) return kept->options->folder;
    return kept->options->session ? kept->options->session : kept->options->prompt_cache;
}

static int open_file(cli_kept *kept) {
    const cli_kept_options *options = kept->options;
    fv_message message = {""};
    const char *path = path_of(kept);
    if (options->folder)
        return cli_outcome(fv_prefix_store_open(&kept->store, options->folder, (uint64_t)options->limit, &message),
                           &message);
    if (!path || (!options->session && is_to_be_made(path))) return CLI_GO_ON;
    return cli_outcome(fv_session_file_open(&kept->file, path, &message), &message);
}

/* A type that nobody asked for is the file's; with noise, one that holds it. */
static int choose_type(const cli_kept *kept, bool is_key, uint32_t held, uint32_t *type) {
    bool dithers = kept->options->dither >= 0, narrow = held == FV_ELEMENT_Q8_0 || held == FV_ELEMENT_Q4_0;
    uint32_t noisy = narrow ? FV_ELEMENT_F16 : FV_ELEMENT_F32;
    if (*type == CLI_TYPE_AUTO) *type = dithers ? noisy : held;
    if (*type == held || dithers || !kept->options->session) return CLI_GO_ON;
    return cli_fail("%s: its %s are of type %s, so %s %s can't be had: leave it out, or read the document with it",
                    path_of(kept), is_key ? "keys" : "values", fv_element_name(held), is_key ? "-ctk" : "-ctv",
                    fv_element_name(*type));
}

int cli_kept_open(cli_kept *kept, cli_model_options *model, const char **attention, fv_policy *caches) {
    int result = check(kept->options);
    if (result == CLI_GO_ON) result = open_file(kept);
    if (result != CLI_GO_ON) return result;
    const fv_session_info *info = kept->file ? fv_session_file_info(kept->file) : NULL;
    fv_message message = {""};
    if (info) {
        if (fv_policy_parse(caches, info->attention, &message) != FV_OK)
            return cli_fail("%s: attention of the session: %s", path_of(kept), message.text);
        result = choose_type(kept, true, info->cache.key_type, &model->session.key_type);
        if (result == CLI_GO_ON) result = choose_type(kept, false, info->cache.value_type, &model->session.value_type);
        if (result != CLI_GO_ON) return result;
    }
    if (!*attention && info) *attention = info->attention;
    return info || !*attention ? CLI_GO_ON : cli_policy_read("run", *attention, caches);
}

void cli_kept_close(cli_kept *kept) {
    fv_session_file_close(kept->file);
    fv_prefix_store_close(kept->store);
}

int cli_kept_resume(const cli_kept *kept, fv_conversation *conversation) {
    if (!kept->options->session) return CLI_GO_ON;
    return cli_outcome(fv_conversation_resume(conversation, fv_session_file_info(kept->file)->end), NULL);
}

uint32_t cli_kept_before(const cli_kept *kept) {
    return kept->options->session ? fv_session_file_info(kept->file)->tokens : 0;
}

int cli_kept_prompt(const cli_kept *kept, fv_tokens *prompt) {
    if (!kept->file || prompt->count > 0) return CLI_GO_ON;
    uint32_t tokens = fv_session_file_info(kept->file)->tokens, first = kept->options->session ? tokens - 1 : 0;
    return cli_outcome(fv_tokens_append(prompt, fv_session_file_tokens(kept->file) + first, tokens - first), NULL);
}

/* How many tokens of the file to take up. The last one of a prompt is read in any case: it has the logits. */
static uint32_t tokens_wanted(const cli_kept *kept, const fv_tokens *prompt) {
    uint32_t tokens = fv_session_file_info(kept->file)->tokens;
    const int32_t *ids = fv_session_file_tokens(kept->file);
    if (kept->options->session) return prompt->count == 1 && prompt->ids[0] == ids[tokens - 1] ? tokens - 1 : tokens;
    uint32_t shared = prompt->count > 0 ? fv_session_file_shared(kept->file, prompt->ids, prompt->count - 1) : 0;
    uint32_t block = fv_session_file_info(kept->file)->cache.landmark_tokens; /* one that is cut would be another */
    return block && shared < tokens ? shared / block * block : shared;
}

static fv_status wake(const cli_kept *kept, fv_session *session, uint32_t tokens, fv_message *message) {
    int64_t seed = kept->options->dither;
    return seed < 0 ? fv_session_wake(session, kept->file, tokens, message)
                    : fv_session_wake_dithered(session, kept->file, tokens, (uint64_t)seed, message);
}

/* What the folder has of the first prompt. */
static int find_file(cli_kept *kept, fv_session *session, const fv_tokens *prompt) {
    fv_message message = {""};
    if (!kept->store || kept->file || prompt->count == 0) return CLI_GO_ON;
    return cli_outcome(fv_prefix_store_find(kept->store, fv_session_sequence(session), prompt->ids, prompt->count - 1,
                                            &kept->file, &message),
                       &message);
}

int cli_kept_wake(cli_kept *kept, fv_session *session, const fv_tokens *prompt) {
    if (kept->is_read) return CLI_GO_ON;
    int result = find_file(kept, session, prompt);
    if (result != CLI_GO_ON || !kept->file) return result;
    fv_message message = {""};
    uint32_t wanted = tokens_wanted(kept, prompt);
    fv_status status = FV_OK;
    if (wanted == 0 || wanted != fv_session_tokens(session)) {
        status = wanted > 0 ? wake(kept, session, wanted, &message) : fv_session_truncate(session, 0);
        bool passed = status == FV_ERROR_RANGE; /* a sliding window has gone past it */
        if (kept->store && status == FV_ERROR_CORRUPT) {
            cli_warn("%s; it is not used", message.text);
            passed = true;
        }
        if (passed && !kept->options->session) {
            wanted = 0;
            status = fv_session_truncate(session, 0);
        }
    }
    if (status != FV_OK)
        return cli_fail("%s: %s", path_of(kept), message.text[0] ? message.text : fv_status_text(status));
    kept->reused = wanted;
    kept->is_known = fv_session_file_shared(kept->file, prompt->ids, prompt->count) >= prompt->count;
    kept->skip = kept->options->session ? 0 : wanted;
    return CLI_GO_ON;
}

int cli_kept_attend(const cli_kept *kept, const fv_engine *engine, fv_session *session, const char *attention,
                    fv_policy *policy) {
    fv_message message = {""};
    if (!kept->file || strcmp(fv_session_file_info(kept->file)->attention, attention) == 0) return CLI_GO_ON;
    int result = cli_attach_tune(engine, policy, 1);
    if (result != CLI_GO_ON) return result;
    return cli_outcome(fv_session_set_policy(session, policy, &message), &message);
}

int cli_kept_begin(cli_kept *kept, fv_session *session, const fv_tokens *prompt, fv_generator *generator,
                   fv_reads *reads) {
    int result = cli_kept_wake(kept, session, prompt);
    if (result != CLI_GO_ON || kept->reused == 0) return result;
    fv_generator_recall(generator, fv_session_file_tokens(kept->file), kept->reused);
    return reads ? cli_outcome(fv_reads_recall(reads, fv_session_file_tokens(kept->file), kept->reused), NULL) : result;
}

static int save(fv_session *session, const char *path, uint32_t end) {
    fv_message message = {""};
    return cli_outcome(fv_session_save(session, path, end, &message), &message);
}

int cli_kept_read(cli_kept *kept, fv_session *session) {
    const cli_kept_options *options = kept->options;
    bool is_first = !kept->is_read;
    kept->is_read = true;
    kept->skip = 0;
    if (is_first && kept->store) {
        fv_message message = {""};
        return cli_outcome(fv_prefix_store_keep(kept->store, fv_session_sequence(session), &message), &message);
    }
    if (!is_first || !options->prompt_cache || options->read_only || kept->is_known) return CLI_GO_ON;
    return save(session, options->prompt_cache, FV_SESSION_END_PLAIN);
}

int cli_kept_end(cli_kept *kept, fv_session *session, fv_generator *generator, bool chat) {
    const cli_kept_options *options = kept->options;
    bool keeps = options->save || (options->all && !options->read_only);
    if (!keeps || !kept->is_read) return CLI_GO_ON;
    bool cut = fv_session_deadline_counts(session)->cut > 0;
    if (cut && !options->save) {
        cli_warn("tokens of the answer were cut short by --deadline: it is not kept in %s", options->prompt_cache);
        return CLI_GO_ON;
    }
    if (cut) cli_warn("tokens of the answer were cut short by --deadline: %s keeps them as they are", options->session);
    if (fv_generator_pending(generator) >= 0 && fv_session_tokens(session) < fv_session_context_tokens(session)) {
        fv_status status = fv_generator_feed(generator, NULL, 0, NULL, NULL);
        if (status != FV_OK) return cli_outcome(status, NULL);
    }
    return save(session, options->save ? options->session : options->prompt_cache,
                chat ? FV_SESSION_END_ANSWER : FV_SESSION_END_PLAIN);
}
