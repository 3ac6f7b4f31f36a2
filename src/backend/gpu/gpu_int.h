/* The GPU backends' own view: a loaded model, its memory on the device, and the pieces of a step.
 *
 * One host code for all targets: a target is a shared object with a table of functions (ops.h). The memory of a model is
 * three blocks: weights, scratch, and what a step brings (inputs), each laid out by one walk that is used to plan (no
 * memory) and to load (with it). The engine's thread calls everything here; nothing locks. */
#ifndef CORRAL_GPU_INT_H
#define CORRAL_GPU_INT_H

#include "backend/backend.h"
#include "backend/gpu/ops.h"
#include "backend/kv_layout.h"

enum {
    GPU_ALIGN = 256,
    GPU_MAX_PARTS = 32,    /* of a long sequence at decode */
    GPU_MIN_PART = 256,    /* keys */
    GPU_GRAPH_TOKENS = 64, /* steps of up to so many tokens are kept as graphs */
    GPU_MAX_GRAPHS = 32,
    GPU_DRAW_ROWS = 64, /* rows of logits that tokens are drawn from at a time */
};

/* Memory handed out from the front; with mem NULL only the size is found. */
struct gpu_bump { uint8_t *mem; size_t used; };
void *gpu_take(struct gpu_bump *b, size_t n, size_t bytes);

struct backend {
    const struct gpu_ops *ops;
    struct gpu           *gpu;
    struct gpu_info       info;
    int32_t               device;
    bool                  library_asked; /* for products; what came of it is logged */
    bool                  deterministic; /* one way to multiply, one way to cut a sequence's keys, whatever the step */
};

/* A weight on the device. Vectors are matrices of one row. */
struct gpu_weight {
    struct gpu_matrix m;
    struct gpu_layout layout;  /* of one matrix of a stack */
    uint32_t          n_expert; /* 1: not a stack */
};

struct gpu_weights {
    struct gpu_weight *w;        /* as model_desc.weight; on the heap */
    float            **inv_freq; /* (n_rope), each on the device; on the heap */
    size_t             total_bytes;
};

/* What draws work with on the device; all NULL: the vocabulary is too large. */
struct gpu_draws {
    float    *logit;
    uint32_t *id, *mask;
    double   *block_sum;
    struct program_answer *answer;
};

struct gpu_scratch {
    struct gpu_acts h, o, u;       /* normalised rows; attention's output; hidden rows of the FFN */
    float   *x, *y;                /* residual stream, what is added to it; y: at the end, hidden rows */
    float   *qkv;
    uint16_t *q;
    float   *gate_up;              /* (slots, 2 hidden) */
    uint32_t hidden;               /* widest FFN, padded */
    float   *down, *route_logits, *route_gate;
    uint32_t *chosen, *order, *n_work;
    struct gpu_work *work;
    float   *cos_sin;              /* (n_rope, max_tokens, n_pair of the widest, 2) */
    uint32_t n_pair;
    float   *logits, *part;
    size_t   part_rows;
    uint16_t *panel;               /* rows of a matrix decoded, for steps of many tokens; NULL where there are none */
    size_t   panel_bytes;
    void    *room;                 /* of the library; NULL where no step is large enough */
    size_t   room_bytes;
    struct gpu_draws draws;
    size_t   total_bytes;
};

/* The same in host memory: what came back of the last two steps; of the last one masks on their way, where they are taken
 * from, the rows drawn from. */
struct gpu_draws_host {
    struct program_answer *answer[2];
    uint32_t *mask, *row;
    const uint32_t **from;
    size_t total_bytes;
};

/* What makes two steps the same to the device but for the contents of their inputs. */
struct gpu_shape { uint32_t n_tok, n_row, n_hidden, n_tile, n_merge, n_full; };

/* Arrays of a step: in host memory, and at the same places in device memory. */
struct gpu_inputs {
    uint32_t *token, *pos, *kv_slot; /* of each token */
    uint32_t *row, *hidden;          /* tokens of the rows of logits, of the hidden rows */
    struct gpu_tile  *tile;
    struct gpu_merge *merge;
    uint32_t *table;                 /* block tables, one after the other */
    size_t    bytes;                 /* up to the tables */
};
void gpu_inputs_layout(struct gpu_inputs *in, void *mem, const struct gpu_shape *s);

/* A step under way. Everything runs on one stream, so that two steps share all memory of the device; of the host's, each
 * has its own inputs and answers. */
struct gpu_queued {
    uint32_t n_row, n_hidden, n_draw, n_mask; /* wanted of it */
    bool     complete; /* its draws and the copies to the host are queued, too: masks need not be waited for */
    int64_t  started_ns;
};

struct gpu_kept { struct gpu_shape shape; const struct backend_kv *kv; struct gpu_graph *graph; uint64_t used; };

struct backend_model {
    struct backend          *b;
    const struct model_desc *m;
    struct backend_limits    lim;
    struct kv_layout         kv;
    struct gpu_weights       w;
    struct gpu_scratch       s;
    void    *weight_mem, *scratch_mem, *input_mem; /* on the device */
    void    *input_host[2];
    float   *logits_host, *hidden_host;
    void    *draws_mem; /* host */
    struct gpu_draws_host draws;
    const struct sample_program *draw_program; /* of the last step, on the device */
    const uint32_t *draw_row;
    uint64_t ticket;          /* of the last step */
    uint32_t n_queued;        /* 0 to 2: the last ones */
    struct gpu_queued step[2]; /* ticket % 2 */
    int64_t  ended_ns;        /* when one was last waited for */
    struct gpu_kept kept[GPU_MAX_GRAPHS];
    uint32_t n_kept;
};

struct backend_kv {
    struct backend_model *m;
    uint8_t *mem;
    uint32_t n_block;
};

/* What a step of a model needs at most. */
struct gpu_sizes {
    size_t   weight_bytes, scratch_bytes, input_bytes; /* on the device */
    uint32_t part_keys;                                /* a long sequence is cut into parts of so many keys */
    uint32_t tile_tokens;                              /* query tokens of a tile of attention */
    struct gpu_shape most;
};
/* weights.c: where every weight lies; ERR_UNSUPPORTED names what this target cannot do. */
status gpu_weights_layout(struct gpu_weights *w, void *mem, const struct gpu_ops *ops, const struct model_desc *m,
                          struct error *e);
status gpu_weights_upload(struct backend_model *bm, backend_progress progress, void *user, struct error *e);
void   gpu_weights_deinit(struct gpu_weights *w);

/* plan.c */
status gpu_sizes(struct gpu_sizes *out, const struct gpu_ops *ops, const struct model_desc *m,
                 const struct backend_limits *l, struct error *e);
void gpu_scratch_layout(struct gpu_scratch *s, void *mem, const struct gpu_ops *ops, const struct model_desc *m,
                        const struct backend_limits *l);
uint32_t gpu_part_keys(const struct backend_limits *l);

/* draw.c */
bool   gpu_draws_possible(const struct model_desc *m);
void   gpu_draws_layout(struct gpu_draws *d, struct gpu_bump *b, const struct model_desc *m, const struct backend_limits *l);
void   gpu_draws_host_layout(struct gpu_draws_host *d, void *mem, const struct model_desc *m, const struct backend_limits *l);
size_t gpu_draws_input_bytes(const struct backend_limits *l); /* at most */
/* The draws of a batch behind the first `used` bytes of its inputs; returns the bytes with them. All three are for the last
 * step. */
size_t gpu_draws_fill(struct backend_model *bm, const struct batch *b, size_t used);
void   gpu_draws_queue(struct backend_model *bm);
void   gpu_logits_queue(struct backend_model *bm);

/* step.c */
struct gpu_queued *gpu_step_last(struct backend_model *bm);
void gpu_step_queue(struct backend_model *bm, struct backend_kv *kv, const struct batch *b);
void gpu_step_complete(struct backend_model *bm); /* of the last step: draw, and copy what was asked for to the host */

/* target.c: a target's table, loaded at the first call; NULL: why says what is in the way. */
const struct gpu_ops *gpu_target(const char *name, struct error *why);

#endif
