/* Text to token ids and back, from the tokenizer.* metadata of a GGUF file.
 *
 * A tokenizer is immutable after tokenizer_new and may be used from several threads at once. */
#ifndef CORRAL_TOKENIZER_H
#define CORRAL_TOKENIZER_H

#include "base/base.h"
#include "base/buf.h"

struct gguf;
struct tokenizer;

/* AUTO: as the file says (tokenizer.ggml.add_bos_token), but no second one where the text begins with it. */
enum tok_bos { TOK_BOS_AUTO, TOK_BOS_ON, TOK_BOS_OFF };
enum tok_attr { /* of a token; tokenizer.ggml.token_type */
    TOK_NORMAL = 1, TOK_UNKNOWN = 2, TOK_CONTROL = 3, TOK_USER_DEFINED = 4, TOK_UNUSED = 5, TOK_BYTE = 6
};

struct tok_options {
    enum tok_bos bos;
    bool         parse_special; /* control tokens written in the text become their ids;
                                 * text from users: never */
    bool         no_prefix;     /* do not add the dummy leading space (continuing earlier text) */
};
struct tok_ids { int32_t *id; size_t n, cap; }; /* free with tok_ids_deinit; zeroed is ready */
void tok_ids_add(struct tok_ids *ids, int32_t id);
void tok_ids_deinit(struct tok_ids *ids);

status tokenizer_new(struct tokenizer **out, const struct gguf *g, struct error *e);
void   tokenizer_free(struct tokenizer *t); /* NULL is fine */

/* Append the ids of text to ids. Text that is not UTF-8 is tokenized byte by byte where it is not.
 * ERR_LIMIT over 1 GiB of text. */
status tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, const struct tok_options *o,
                        struct tok_ids *ids, struct error *e);
/* Text cut at the tokens that parse_special finds in it:
 * id >= 0 is that token, -1 is text. *out is to be freed. */
struct tok_stretch { size_t begin, end; int32_t id; };
status tokenizer_cut(const struct tokenizer *t, const char *text, size_t n, struct tok_stretch **out,
                     size_t *n_out, struct error *e);
/* Append the text of ids, taken as a whole text: the inverse of encode, the dummy spaces that llama
 * tokenizers put at the start and after special tokens are dropped.
 * A text that continues another keeps its leading space: use tokenizer_piece or a text_stream.
 * special: also write control tokens. Bytes as they are, even half a character. */
void tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool special, struct buf *out);

uint32_t      tokenizer_n_vocab(const struct tokenizer *t);
/* The bytes that token id stands for ("" for control tokens), not NUL-terminated. id must be in range. */
const char   *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *n);
const char   *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *n); /* as written in the file */
enum tok_attr tokenizer_attr(const struct tokenizer *t, int32_t id);
int32_t       tokenizer_find(const struct tokenizer *t, const char *text, size_t n); /* by file text; -1 */
int32_t       tokenizer_bos(const struct tokenizer *t); /* -1: none */
int32_t       tokenizer_eos(const struct tokenizer *t); /* -1: none */
bool          tokenizer_adds_bos(const struct tokenizer *t);
bool          tokenizer_adds_eos(const struct tokenizer *t); /* what the file says; encode never adds it */
/* Whether generating id ends a turn: eos, eot, eom and the known end-of-turn strings (<|im_end|>, ...). */
bool          tokenizer_is_eog(const struct tokenizer *t, int32_t id);
const char   *tokenizer_model_name(const struct tokenizer *t); /* "llama", "gpt2", ... */
const char   *tokenizer_pre_name(const struct tokenizer *t);   /* "llama-bpe", ... or "" */

#endif
