/* What a backend is: something that holds a model's weights and a paged KV cache, and runs steps.
 *
 * A step is one ragged batch: for each sequence a range of tokens at consecutive positions, its block table,
 * and how many of the last tokens want logits. `step` queues and returns at once; `wait` collects. Steps of
 * one model run in the order queued, one at a time or, see `ahead`, two. One thread (the engine's) calls a
 * model's functions; several models may have several threads. A backend is one exported table; "ref" and
 * "cpu" are built in, GPU backends are shared objects with the same table opened at run time.
 *
 * Determinism (cpu, ref): the logits of a token depend only on the tokens at and before its position in its
 * sequence, bit for bit: not on the batch, on how the prompt was cut into steps, or on the thread count.
 * GPUs: with the option; else they choose the fastest way for a step's shape, and the ways round
 * differently. */
#ifndef CORRAL_BACKEND_H
#define CORRAL_BACKEND_H

#include "base/base.h"
#include "model/model.h"
#include "sample/program.h"

enum { BACKEND_ABI = 7, KV_BLOCK_TOKENS = 16 };

struct backend_api;
struct backend;       /* an open device (or set of devices) */
struct backend_model; /* weights resident on it */
struct backend_kv;    /* a paged pool for one model */

struct backend_device {
    char     name[96];
    char     detail[160]; /* instruction sets, compute capability, ... */
    uint64_t memory_bytes, memory_free_bytes;
    uint32_t n_core;
};

/* For backend_options.device: only to plan, no device is touched or needed. */
enum { BACKEND_NO_DEVICE = -1 };
/* A device's part of a model that several share by layers: the first layers are the first share's. */
struct backend_share {
    const struct backend_api *api;
    int32_t  device;
    uint32_t n_layer; /* 0: as many as the device has memory for beside the others */
};
enum { BACKEND_MAX_SHARES = 16 };
/* How weights that stay in the host's memory lie there (cpu). */
struct backend_host {
    bool copy; /* read to memory of their own, not used where they lie in the mapped file */
    bool lock; /* never paged out. Where the system does not allow it, there is a warning */
};
struct backend_options {
    int32_t  device;
    /* backend_split: who shares the model; device then is 0, or BACKEND_NO_DEVICE for all of them. kv_bytes:
     * what the KV cache will have, to divide layers by; 0: not known yet. */
    const struct backend_share *share;
    uint32_t n_share;
    uint64_t kv_bytes;
    uint32_t n_thread;      /* 0: as many as there are cores to run on */
    bool     deterministic; /* GPUs: logits of a token depend on what is before it alone, as they do on the
                             * others; slower */
    struct backend_host host;
};

struct backend_limits { /* what one step may hold at most; scratch memory is sized by it */
    uint32_t   max_tokens;  /* tokens of all sequences together */
    uint32_t   max_seqs;
    uint32_t   max_logits;  /* rows of logits */
    uint32_t   max_context; /* tokens of one sequence */
    enum dtype kv_type;     /* DT_F16, DT_F32 or DT_Q8_0; DT_BF16 and DT_FP8 on GPUs and ref */
};
/* "f16", ...; false: no KV cache has such numbers. */
bool kv_type_by_name(const char *name, enum dtype *out);

struct backend_plan { /* exact bytes; nothing is allocated to compute it */
    size_t weight_bytes;  /* copied or repacked into the backend's memory */
    size_t mapped_bytes;  /* used where they lie in the mapped file */
    size_t scratch_bytes;
    size_t kv_block_bytes; /* one block of KV_BLOCK_TOKENS tokens, all layers */
};

/* What a model takes on one of its devices. */
struct backend_part {
    struct backend_share on; /* n_layer: as decided */
    uint32_t layer;          /* the first */
    struct backend_plan plan;
};

/* Loading progress: called now and then with bytes done of total; return false to stop (ERR_CANCELLED). */
typedef bool (*backend_progress)(void *user, size_t done, size_t total);

struct batch_seq {
    const int32_t  *token;  /* n_token ids, each < n_vocab; NULL: one that is not known yet, see from */
    uint32_t        n_token;
    /* With token NULL, for backends that can (see ahead): answer number `from` of the step queued before this
     * one. So a step can be queued while that one still runs. One may, if all that the running step was asked
     * for are draws without masks. */
    uint32_t        from;
    uint32_t        pos;      /* position of token[0]; positions before it are in the cache */
    const uint32_t *block;    /* block table: KV block of positions 16 i .. 16 i + 15 */
    uint32_t        n_block;  /* covers at least pos + n_token */
    uint32_t        n_logits; /* rows wanted: the last n_logits tokens of the range */
    /* NULL, or how the token after the last row is to be chosen on the device, for backends that can (see
     * draws): its answer comes back instead of the row's logits. n_logits must be 1. What a mask points to is
     * read by wait, not by step, so that a mask can be computed while the step runs; the rest is read by
     * step. */
    const struct sample_program *draw;
    /* The last n_hidden tokens want what the output matrix is multiplied with: the final norm's output; of a
     * slice without OP_LOGITS, which has no logits, the residual rows after its last operation. Limited by
     * max_tokens only. */
    uint32_t        n_hidden;
    /* Of a slice without OP_EMBED, else NULL: the residual rows (n_token, n_embd) that it begins with, read
     * until wait. */
    const float    *input;
};
struct batch { const struct batch_seq *seq; uint32_t n_seq; };

struct step_result {
    /* (n_row, n_vocab), sequences in batch order; valid until the next step of the model. A row that a token
     * was drawn from is left out: what stands in its place means nothing. */
    const float *logits;
    uint32_t     n_row;
    const struct program_answer *drawn; /* (n_drawn), of the sequences with a draw, in batch order */
    uint32_t     n_drawn;
    const float *hidden; /* (n_hidden, n_embd), the same */
    uint32_t     n_hidden;
    int64_t      elapsed_ns;
};

/* What kinds of work a model's steps spent their time on. */
struct backend_stage {
    const char *name;
    uint64_t    count;
    int64_t     ns;
    double      bytes, ops; /* weights or cache that were read, additions and multiplications; 0 where they
                             * do not matter */
};

struct kv_copy { uint32_t from, to; }; /* whole blocks */

struct backend_api {
    int         abi;
    const char *name;
    int    (*count)(struct error *e); /* usable devices; 0: e says why there is none */
    status (*info)(int device, struct backend_device *out, struct error *e);
    status (*open)(struct backend **out, const struct backend_options *o, struct error *e);
    void   (*close)(struct backend *b);
    /* ERR_UNSUPPORTED names the operation or type that this backend cannot run. */
    status (*plan)(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                   struct backend_plan *out, struct error *e);
    /* NULL, or the devices that a model is divided among, max BACKEND_MAX_SHARES; see backend_parts. */
    status (*parts)(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                    struct backend_part *out, uint32_t *n, struct error *e);
    /* m and the mapped file outlive the result. */
    status (*load)(struct backend_model **out, struct backend *b, const struct model_desc *m,
                   const struct backend_limits *l, backend_progress progress, void *user, struct error *e);
    void   (*unload)(struct backend_model *m);
    status (*kv_open)(struct backend_kv **out, struct backend_model *m, uint32_t n_block, struct error *e);
    void   (*kv_close)(struct backend_kv *kv);
    status (*kv_copy)(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e);
    /* Block contents to and from host memory, kv_block_bytes each. */
    status (*kv_read)(struct backend_kv *kv, uint32_t block, void *to, struct error *e);
    status (*kv_write)(struct backend_kv *kv, uint32_t block, const void *from, struct error *e);
    /* The batch and what it points to stay valid until wait returns for this ticket. Of a step with draws
     * only, what the masks point to does, and the rest until step returns. ERR_BUSY: a step is queued that
     * must be waited for first. */
    status (*step)(struct backend_model *m, struct backend_kv *kv, const struct batch *b, uint64_t *ticket,
                   struct error *e);
    status (*wait)(struct backend_model *m, uint64_t ticket, struct step_result *out, struct error *e);
    /* The stages since the last call, up to max of them; returns how many. NULL: does not measure. */
    size_t (*profile)(struct backend_model *m, struct backend_stage *out, size_t max);
    bool   draws; /* batch_seq.draw is honoured */
    bool   ahead; /* a step may be queued behind one that was not waited for: batch_seq.from is honoured */
};

extern const struct backend_api backend_ref, backend_cpu, backend_cuda, backend_sim;

/* "auto" is the best usable one. ERR_NOT_FOUND lists the names. */
status backend_find(const struct backend_api **out, const char *name, struct error *e);
size_t backend_count(void);
const struct backend_api *backend_at(size_t i);

/* Several devices that share models by layers (split/): the table for these shares; it is not among
 * backend_at. */
const struct backend_api *backend_split(const struct backend_share *share, uint32_t n);
void backend_share_name(char out[24], const struct backend_share *s); /* "cuda:1", "cpu" */
struct buf;
/* "cuda:1=20,cpu=12"; a single part: "cpu" */
void backend_parts_text(struct buf *b, const struct backend_part *part, uint32_t n);
/* Where a model's layers go and what they take there: one part, on this device, if the backend does not
 * divide. */
status backend_parts(const struct backend_api *api, struct backend *b, int32_t device,
                     const struct model_desc *m, const struct backend_limits *l,
                     struct backend_part out[BACKEND_MAX_SHARES], uint32_t *n, struct error *e);

/* Bytes of weights, by the planner: layers [a, b) on a device of their own take the sum of theirs,
 * each_bytes, first_bytes if a is 0, and if b is the last one last_bytes, with tied_bytes if a is not 0. */
struct backend_weights { uint64_t first_bytes, last_bytes, tied_bytes, each_bytes, *layer_bytes; };
status backend_weigh(struct backend_weights *out, const struct backend_api *api, struct backend *b,
                     const struct model_desc *m, const struct backend_limits *l, struct error *e);
void   backend_weights_deinit(struct backend_weights *w);

/* Shared by all backends: check a batch against the limits, the vocabulary, the pool, and how many tokens the
 * step before it draws. */
status batch_check(const struct batch *b, const struct model_desc *m, const struct backend_limits *l,
                   uint32_t n_kv_block, uint32_t n_drawn, struct error *e);

#endif
