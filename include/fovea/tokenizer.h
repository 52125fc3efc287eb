/* tokenizer.h - text to token ids and back, as the model file prescribes. Hosted. */
#ifndef FOVEA_TOKENIZER_H
#define FOVEA_TOKENIZER_H

#include "fovea/api.h"
#include "fovea/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Vocabulary and rules of one model. Borrows the file's strings: the fv_gguf must outlive it. Read-only once open,
 *  hence thread-safe. */
typedef struct fv_tokenizer fv_tokenizer;

/** Growing arrays that the calls below fill; start from {0}, drop with the _free calls. `capacity` is ours. */
typedef struct fv_tokens {
    int32_t *ids;
    size_t count, capacity;
} fv_tokens;
typedef struct fv_text {
    char *bytes; /* zero-terminated after `length` bytes once anything was written; may hold any byte */
    size_t length, capacity;
} fv_text;
/** Parts [begin, end) of a text, bytes; rising, none overlaps. */
typedef struct fv_text_span {
    size_t begin, end;
} fv_text_span;
typedef struct fv_text_spans {
    fv_text_span *spans;
    size_t count, capacity;
} fv_text_spans;
FV_API void fv_text_spans_free(fv_text_spans *spans);
FV_API fv_status fv_text_spans_append(fv_text_spans *spans, size_t begin, size_t end); /* FV_OK or FV_ERROR_MEMORY */
FV_API void fv_tokens_free(fv_tokens *tokens);
FV_API void fv_text_free(fv_text *text);
FV_API fv_status fv_tokens_append(fv_tokens *tokens, const int32_t *ids, size_t count); /* FV_OK or FV_ERROR_MEMORY */
FV_API fv_status fv_text_append(fv_text *text, const char *bytes, size_t length);       /* FV_OK or FV_ERROR_MEMORY */

/**
 * Reads tokenizer.ggml.* : model "gpt2" (BPE; pre-tokenizers gpt2, smollm, llama-bpe, qwen2, …) and "llama"
 * (SentencePiece-style, byte fallback; Llama 2, Mistral, Gemma).
 * returns FV_OK, FV_ERROR_UNSUPPORTED (model or pre-tokenizer, named, with the supported ones), FV_ERROR_CORRUPT,
 *         FV_ERROR_MEMORY. *tokenizer untouched on error.
 */
FV_API fv_status fv_tokenizer_open(fv_tokenizer **tokenizer, const fv_gguf *gguf, fv_message *message);
FV_API void fv_tokenizer_close(fv_tokenizer *tokenizer);

/** How to read the text. */
typedef enum fv_tokenize_flags {
    FV_TOKENIZE_ADD_SPECIAL = 1,  /* BOS/EOS where the metadata says so */
    FV_TOKENIZE_PARSE_SPECIAL = 2 /* text of control tokens ("<|im_start|>") becomes that token */
} fv_tokenize_flags;

/**
 * Appends the ids of `text` to `tokens`. Same ids as llama.cpp's llama_tokenize with the same two switches.
 * Bytes that are not UTF-8 are no error here: each is taken as llama.cpp takes it (see docs/tokenizer.md).
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL, or more than 2^31-1 bytes), FV_ERROR_MEMORY; tokens as before the call on
 *         error. O(n log n).
 */
FV_API fv_status fv_tokenizer_encode(const fv_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                     fv_tokens *tokens);

/**
 * The same for a text of several writers: in its parts `plain` (NULL: none) the text of a control token is text, and so
 * it is across their ends, whatever FV_TOKENIZE_PARSE_SPECIAL says. What people write can't forge a turn then.
 * User-defined tokens, which are words of a vocabulary, are found everywhere.
 * returns the same; FV_ERROR_ARGUMENT also for parts that overlap, fall or leave the text.
 */
FV_API fv_status fv_tokenizer_encode_spans(const fv_tokenizer *tokenizer, const char *text, size_t length,
                                           const fv_text_spans *plain, uint32_t flags, fv_tokens *tokens);

/**
 * Appends the bytes of one token, as llama.cpp's token_to_piece: no leading-space trimming. A token may hold a part
 * of a UTF-8 sequence. Control tokens give their text if `special`, nothing otherwise.
 * returns FV_OK, FV_ERROR_ARGUMENT (id out of range), FV_ERROR_MEMORY.
 */
FV_API fv_status fv_tokenizer_piece(const fv_tokenizer *tokenizer, int32_t id, bool special, fv_text *text);

/** Appends the text of many tokens; drops the one leading space that encode() added if the metadata prescribes one
 *  (as llama.cpp's llama_detokenize). detokenize(tokenize(x)) == x for valid UTF-8 without special-token text. */
FV_API fv_status fv_tokenizer_decode(const fv_tokenizer *tokenizer, const int32_t *ids, size_t count, bool special,
                                     fv_text *text);

/** What is odd in the file although it can be used, as a sentence that a person should see once: no pre-tokenizer
 *  named, an id beyond the vocabulary. NULL from the first index on that has none. */
FV_API const char *fv_tokenizer_remark(const fv_tokenizer *tokenizer, size_t index);

/** Whether ids begin with two beginning-of-text tokens: the metadata adds one and the text (a template, as a rule) has
 *  one. Few models were trained on that. */
FV_API bool fv_tokenizer_doubles_bos(const fv_tokenizer *tokenizer, const int32_t *ids, size_t count);

FV_API int32_t fv_tokenizer_tokens(const fv_tokenizer *tokenizer); /* vocabulary size */
FV_API int32_t fv_tokenizer_bos(const fv_tokenizer *tokenizer);    /* -1 if none; likewise below */
FV_API int32_t fv_tokenizer_eos(const fv_tokenizer *tokenizer);
FV_API bool fv_tokenizer_adds_bos(const fv_tokenizer *tokenizer);
FV_API bool fv_tokenizer_adds_eos(const fv_tokenizer *tokenizer);
FV_API bool fv_tokenizer_is_end(const fv_tokenizer *tokenizer,
                                int32_t id); /* any end-of-generation token: eos, eot, eom, and
                                         the well-known texts that llama.cpp counts */

/** Appends the bytes of the file `path`, as they are; "-": of standard input. FV_OK, FV_ERROR_FILE, FV_ERROR_MEMORY,
 *  FV_ERROR_INTERRUPTED (a signal came while it waited); the message names the file. On error `text` may have grown. */
FV_API fv_status fv_text_read(fv_text *text, const char *path, fv_message *message);

/** Replaces the escapes of llama.cpp's -e by their bytes, in place: \n \r \t \' \" \\ and \xHH; anything else stays as
 *  it is. O(n). */
FV_API void fv_text_unescape(fv_text *text);

/** Whether a turn that is typed line by line goes on: its last line ends with a backslash, which is taken off, or it is
 *  in a block that a line beginning with ``` opened and none closed yet. O(n). */
FV_API bool fv_text_goes_on(fv_text *turn);

/**
 * Appends ids that a text lists: digits, between blanks, commas and brackets.
 *
 * limit    ids are below it.
 * returns  FV_OK, FV_ERROR_ARGUMENT (another byte, an id that is too large: the message says where), FV_ERROR_MEMORY.
 * On error `tokens` may have grown.
 */
FV_API fv_status fv_tokens_parse(fv_tokens *tokens, const char *text, size_t length, int32_t limit,
                                 fv_message *message);

/** Length of the longest prefix of `bytes` that ends at a UTF-8 boundary: print that much, keep the rest for the next
 *  piece. Invalid bytes count as complete. */
FV_API size_t fv_utf8_complete(const char *bytes, size_t length);

/** Offset of the first byte that is not UTF-8 (no overlong forms, no surrogates); `length` if there is none. Pure. */
FV_API size_t fv_utf8_valid(const char *bytes, size_t length);

/** Appends `bytes`, each byte that is not UTF-8 replaced by U+FFFD: for JSON, which has no other way. FV_OK,
 *  FV_ERROR_MEMORY. */
FV_API fv_status fv_utf8_clean(const char *bytes, size_t length, fv_text *text);

/**
 * Appends `bytes` as a terminal may see them: control characters, which it would obey, become \x1B or \u009B, and so do
 * bytes that are not UTF-8. Everything else, a backslash included, stays.
 *
 * kept     control characters below 0x80 that stay, such as "\n\t"; "": none, so that one line comes out.
 * returns  FV_OK, FV_ERROR_MEMORY (text as before). O(n).
 */
FV_API fv_status fv_utf8_printable(const char *bytes, size_t length, const char *kept, fv_text *text);

#ifdef __cplusplus
}
#endif

#endif
