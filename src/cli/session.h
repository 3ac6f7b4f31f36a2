/* A model file opened for use by a command: metadata, tokenizer, model, and an engine if one is wanted.
 *
 * The options that all such commands share are the rows of SESSION_OPTS. */
#ifndef CORRAL_CLI_SESSION_H
#define CORRAL_CLI_SESSION_H

#include "cli/cli.h"
#include "cli/model_file.h"
#include "engine/engine.h"
#include "model/model.h"
#include "text/tokenizer.h"

struct session_options {
    const char *model, *backend, *devices, *kv_type, *numa;
    int64_t ctx, threads;
    bool mmap, mlock;
    struct opt_list set;
};

enum { SESSION_DEFAULT_CTX = 8192, SESSION_MAX_CTX = 1 << 24, SESSION_MAX_THREADS = 1024 };

/* Single rows, for commands that have some of them; to has static storage. */
#define MODEL_OPT(to)                                                                                      \
    {.name = "model", .letter = 'm', .type = OPT_STR, .at = &(to), .arg = "FILE",                          \
     .help = "model file (GGUF), or the name of a model that is here; without one the demo model"}
#define BACKEND_OPT(to, dflt)                                                                              \
    {.name = "backend", .type = OPT_STR, .at = &(to), .def = dflt, .arg = "NAME",                          \
     .help = "what computes: see corral doctor"}
#define DEVICES_OPT(to)                                                                                    \
    {.name = "devices", .type = OPT_STR, .at = &(to), .arg = "LIST",                                       \
     .help = "devices that share the model by layers: cuda:0=20,cuda:1=12,cpu; without numbers by free "    \
             "memory"}
#define THREADS_OPT(to)                                                                                    \
    {.name = "threads", .letter = 't', .type = OPT_INT, .at = &(to), .min = 0, .max = SESSION_MAX_THREADS, \
     .def = "0", .help = "threads of the CPU backend; 0: all cores"}
#define CTX_OPT(to)                                                                                        \
    {.name = "ctx", .letter = 'c', .type = OPT_INT, .at = &(to), .min = 0, .max = SESSION_MAX_CTX,         \
     .def = "0", .unit = "tokens", .help = "longest sequence; 0: as trained, at most 8192"}
#define KV_TYPES "f16|f32|q8_0|bf16|fp8"
#define KV_TYPE_OPT(to, dflt)                                                                              \
    {.name = "kv-type", .type = OPT_STR, .at = &(to), .choices = KV_TYPES, .def = dflt, .arg = "TYPE",     \
     .help = "numbers in the KV cache; bf16 and fp8 on GPUs"}
/* How weights that stay in the host's memory lie there (docs/memory.md). */
#define MMAP_OPT(to)                                                                                       \
    {.name = "mmap", .type = OPT_BOOL, .at = &(to), .def = "true",                                         \
     .help = "use weights where they lie in the mapped file; --no-mmap copies them to huge pages"}
#define MLOCK_OPT(to)                                                                                      \
    {.name = "mlock", .type = OPT_BOOL, .at = &(to),                                                       \
     .help = "lock the weights in the host's memory, so that they are never paged out"}
#define NUMA_OPT(to)                                                                                       \
    {.name = "numa", .type = OPT_STR, .at = &(to), .choices = "off|distribute|isolate", .def = "off",      \
     .arg = "MODE", .help = "machines with several nodes of memory: use all of them evenly, or one"}
#define SET_OPT(to)                                                                                        \
    {.name = "set", .type = OPT_LIST, .at = &(to), .arg = "KEY=TYPE:VALUE",                                \
     .help = "override metadata of the model file, e.g. llama.rope.freq_base=f32:1e6"}

/* o: a struct session_options with static storage. */
#define SESSION_OPTS(o)                                                                                    \
    MODEL_OPT((o).model), BACKEND_OPT((o).backend, "auto"), DEVICES_OPT((o).devices),                      \
        THREADS_OPT((o).threads), CTX_OPT((o).ctx), KV_TYPE_OPT((o).kv_type, "f16"),                       \
        MMAP_OPT((o).mmap), MLOCK_OPT((o).mlock), NUMA_OPT((o).numa), SET_OPT((o).set)

struct session {
    char path[MODEL_PATH_MAX];      /* "demo": the model inside the program */
    char name[256];                 /* the file's name without folder and ending */
    struct gguf *gguf;
    struct tokenizer *tok;
    struct model *model;
    struct engine *engine;          /* NULL until session_start */
    const struct backend_api *api;
    struct backend_options on;      /* which device of api, or which devices that share the model */
    struct backend_share share[BACKEND_MAX_SHARES];
    uint32_t ctx;                   /* tokens, resolved */
    int32_t *eog;                   /* end-of-generation tokens */
    uint32_t n_eog;
    bool chat;                      /* made for conversation: it has a chat template or ChatML's tokens */
};

/* Open the file that word (or o->model) names. s must be zeroed; close it also after a failure. */
status session_open(struct session *s, const struct session_options *o, const char *word, struct error *e);
/* The same without the tokenizer, for commands that need
 * token numbers only (tok, eog and chat stay empty). */
status session_open_model(struct session *s, const struct session_options *o, const char *word,
                          struct error *e);
/* Engine options as the rows say, for max_seqs sequences at once;
 * change what you like, then session_start. */
status session_engine_options(const struct session *s, const struct session_options *o, uint32_t max_seqs,
                              struct engine_options *out, struct error *e);
/* Load the weights and start the engine, with progress on a terminal's stderr. */
status session_start(struct session *s, const struct engine_options *options, struct error *e);
/* What the rows say of weights in the host's memory. */
struct backend_host session_host(const struct session_options *o);
/* --numa, for this process: before it starts threads that compute. Says what of these rows has no effect. */
status session_place(const struct session *s, const struct session_options *o, struct error *e);
void session_close(struct session *s);
/* A text to continue, as ids. Control tokens are never read out of it. ERR_ARG when nothing comes of it. */
status session_encode(const struct session *s, const char *text, size_t n, struct tok_ids *out,
                      struct error *e);

/* Progress of loading on stderr when that is a terminal; for engine_options and backend_api.load. */
bool session_progress(void *user, size_t done, size_t total);

#endif
