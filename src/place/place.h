/* Where a model goes: how many bytes it takes on which device, and who has to leave for it.
 *
 * Three things, all of them plain data without I/O, threads or a clock; the caller (the pool) holds one lock
 * over them:
 *   - a plan: what a model takes, by the planner of the backend that will run it (`corral plan MODEL
 *     --json`), never by a formula, with a ladder of smaller ways to run it;
 *   - a ledger: what every device has and who has taken it. total = external + committed + reserved + what
 *     is kept free + what is left; place_reserve checks against it, so two loads cannot take the same bytes;
 *   - a decision: the best place for a plan on a ledger by a strategy, with its reasons.
 *
 * The order of preference, and nothing is left to luck: one device with all that was asked for; the fewest
 * devices that hold it, layer by layer; the same with a KV cache for fewer sequences of full length, then
 * (if the plan has such rungs) with smaller numbers in it, then with less context; idle models evicted, the
 * cheapest that suffice; some layers on the CPU; all on the CPU; refused, with the numbers. See
 * docs/placement.md. */
#ifndef CORRAL_PLACE_H
#define CORRAL_PLACE_H

#include "base/buf.h"

enum {
    PLACE_MAX_DEVICES = 64, /* in a ledger, the host among them */
    PLACE_MAX_LAYERS = 4096,
    PLACE_MAX_RUNGS = 64,
    PLACE_MAX_EVICT = 64,   /* models that one decision may send away */
    PLACE_MAX_REASONS = 96,
    PLACE_ID = 96,          /* bytes of a UUID or name */
};

/* --- plans --- */

enum place_kind { PLACE_GPU, PLACE_HOST }; /* the host's memory is a device like others */

struct place_layer {
    uint64_t weight_bytes;
    uint64_t kv_block_bytes; /* of one KV block, with the numbers of rung[0] */
};
struct place_rung { /* a way to run the model; the first is what was asked for, each further one takes less */
    uint32_t parallel, context; /* sequences at once, tokens of each */
    uint32_t kv_sequences;      /* so many of that length the KV cache holds, <= parallel; short ones share */
    char     kv_type[8];
    uint64_t kv_block_bytes;    /* of all layers */
    uint64_t scratch_bytes;     /* on each device */
};
struct place_plan {
    char     backend[16]; /* as --backend takes it */
    enum place_kind kind; /* whose memory it computes in */
    uint32_t max_devices; /* that the backend can run one model over; 1: it cannot be split */
    bool     partial_cpu; /* layers may stay with the host */
    uint32_t kv_block_tokens, context_trained;
    uint64_t first_bytes, last_bytes; /* what goes with the first layer (embedding), the last one (output) */
    uint64_t tied_bytes;     /* of the first's, what the last layer needs too when it is on another device */
    uint64_t overhead_bytes; /* on each device besides: the driver's context, libraries, buffers of loading */
    uint32_t n_layer, n_rung;
    struct place_layer *layer;
    struct place_rung  *rung;
};

void   place_plan_deinit(struct place_plan *p);
/* As JSON, and back: the answer of `corral plan`. ERR_FORMAT names what is missing or out of range; sums are
 * checked, so a plan that was read can be added up without overflow. */
void   place_plan_write(struct buf *b, const struct place_plan *p);
status place_plan_read(struct place_plan *out, const char *json, size_t n, struct error *e);
uint64_t place_plan_kv_bytes(const struct place_plan *p, uint32_t rung);
uint64_t place_plan_total_bytes(const struct place_plan *p, uint32_t rung); /* on one device */

/* --- the ledger --- */

struct place_ledger;
struct place_limits { /* bytes of each device that are never given away; at most an eighth of it */
    uint64_t gpu_reserve_bytes, host_reserve_bytes;
};
struct place_sample { /* one device as the driver sees it now */
    const char *uuid, *name; /* the host's uuid is "host" */
    enum place_kind kind;
    uint64_t total_bytes, used_bytes;
    uint64_t own_bytes; /* of used_bytes, what our workers have */
    bool     own_known; /* else own_bytes is taken from the ledger */
    bool     lost;      /* it was there and does not answer */
    bool     alone;     /* no process can use it and another one (an instance of a divided card) */
};
struct place_device { /* a line of the ledger; its index stays as long as the ledger lives */
    char     uuid[PLACE_ID], name[PLACE_ID];
    enum place_kind kind;
    bool     lost, alone;
    uint64_t total_bytes;
    uint64_t external_bytes;  /* others' */
    uint64_t committed_bytes; /* loaded models' */
    uint64_t reserved_bytes;  /* those of models being loaded, less what they wait for others to give back */
    uint64_t keep_bytes;      /* kept free */
    uint64_t free_bytes;      /* what may be reserved: 0 when lost, or when others took more than there was */
    uint64_t over_bytes;      /* by how much the sum exceeds total: others took what we had counted on */
    uint32_t n_claim;         /* models on it */
};

status place_ledger_new(struct place_ledger **out, const struct place_limits *l, struct error *e);
void   place_ledger_free(struct place_ledger *l);
/* New devices are added; known ones that are not in the samples are lost until they come back. ERR_LIMIT:
 * too many. */
status place_observe(struct place_ledger *l, const struct place_sample *s, size_t n, struct error *e);
uint32_t place_n_device(const struct place_ledger *l);
const struct place_device *place_device_at(const struct place_ledger *l, uint32_t i);
int32_t place_find(const struct place_ledger *l, const char *uuid); /* -1: none */

/* --- decisions --- */

struct place_resident { /* a model that is there and might leave */
    const char *name;
    uint64_t claim;               /* its entry in the ledger */
    int64_t  idle_ns, reload_ns;  /* since its last request; what loading it took */
    bool     pinned, busy;        /* busy: it has work, or is being loaded */
};

/* A strategy is a row of a table: which of the devices that would do is taken. */
struct place_strategy {
    const char *name, *help;
    bool        only_affinity; /* never a device that the model's options do not name */
    /* < 0: a before b. left_a, left_b: what would remain free. */
    int (*order)(const struct place_device *a, uint64_t left_a, const struct place_device *b,
                 uint64_t left_b);
};
size_t place_n_strategy(void);
const struct place_strategy *place_strategy_at(size_t i); /* the first is the default */
const struct place_strategy *place_strategy_find(const char *name); /* NULL: none of that name */

struct place_want {
    const char *model;             /* for reasons */
    const struct place_plan *gpu, *cpu; /* NULL: it cannot run there */
    const struct place_strategy *strategy; /* NULL: the default */
    const char *const *affinity;   /* UUIDs of devices it may use, or their unique beginnings; none: all */
    uint32_t n_affinity;
    uint32_t max_devices;          /* GPUs at most, beside what the plan says; 0: as many as that */
    uint32_t min_context, min_sequences; /* never less context or KV; 0: as far as the ladder goes */
    uint64_t kv_bytes;             /* of the KV cache, said by hand; 0: what the rung takes */
    uint64_t extra_bytes;          /* on each device: what loads before took beyond their plan */
    bool     allow_cpu;            /* when no GPU has room. Without a gpu plan it goes to the CPU anyway */
    bool     allow_evict, allow_drain; /* idle models may be sent away; busy ones too, after draining */
    int64_t (*clock_ns)(void);     /* for elapsed_ns; NULL: it stays 0 */
};

enum place_way { PLACE_REFUSED, PLACE_ONE, PLACE_SET, PLACE_PARTIAL, PLACE_CPU };
const char *place_way_name(enum place_way w); /* "refused", "one device", ... */

struct place_share { /* what goes to one device */
    uint32_t device;          /* of the ledger */
    uint32_t layer, n_layer;  /* contiguous; the first share has the embedding, the last one the output */
    uint64_t weight_bytes, kv_bytes, scratch_bytes, overhead_bytes, bytes; /* bytes: all of them */
};
enum place_code { /* what a reason says; its numbers depend on that */
    PLACE_SAYS_FITS,        /* device, needed, available */
    PLACE_SAYS_SMALL,       /* device, needed for all that was asked for, available */
    PLACE_SAYS_LEAST,       /* device, needed at the very least, available with what might be evicted */
    PLACE_SAYS_LOST,        /* device */
    PLACE_SAYS_NOT_NAMED,   /* device: not among the model's affinities */
    PLACE_SAYS_NO_SUCH,     /* model: no device of that UUID */
    PLACE_SAYS_NO_AFFINITY, /* the strategy wants devices to be named */
    PLACE_SAYS_NO_GPU,
    PLACE_SAYS_NO_GPU_PLAN, /* the model or build has none */
    PLACE_SAYS_NO_SPLIT,    /* n: devices that it may use; was: that its backend can */
    PLACE_SAYS_SET_SMALL,   /* n devices together; needed, available */
    PLACE_SAYS_SET,         /* n devices */
    PLACE_SAYS_SEQUENCES,   /* KV for n instead of was */
    PLACE_SAYS_KV_TYPE,     /* model: the type */
    PLACE_SAYS_CONTEXT,     /* n instead of was */
    PLACE_SAYS_EVICT,       /* model, device, available: what it gives back there */
    PLACE_SAYS_DRAIN,       /* the same of a busy one */
    PLACE_SAYS_NO_EVICT,    /* n models there, none (or not enough of them) may leave */
    PLACE_SAYS_PARTIAL,     /* n layers with the GPUs, was: of so many */
    PLACE_SAYS_CPU,         /* needed, available */
    PLACE_SAYS_CPU_SMALL,   /* needed, available */
    PLACE_SAYS_NO_CPU,      /* not allowed, or no plan for it */
    PLACE_N_CODE
};
struct place_reason {
    enum place_code code;
    int32_t  device; /* -1: none */
    uint32_t n, was;
    uint64_t needed_bytes, available_bytes;
    const char *text; /* borrowed from want or residents */
};
struct place_decision {
    enum place_way way;
    const struct place_plan *plan; /* of the two, the one that was placed */
    uint32_t rung;                 /* of plan: parallel, context, KV type. > 0: less than asked for */
    uint64_t kv_bytes;             /* for the worker: --kv-bytes */
    uint32_t n_share, n_evict, n_reason;
    struct place_share share[PLACE_MAX_DEVICES];
    uint32_t evict[PLACE_MAX_EVICT]; /* indices into the residents; a busy one is to be drained */
    struct place_reason reason[PLACE_MAX_REASONS];
    /* When refused: what the least of the ladder takes on one device; LEAST and CPU_SMALL say the rest. */
    uint64_t needed_bytes;
    int64_t  elapsed_ns;
};

/* Always fills out; nothing in the ledger changes. Text in out's reasons lives as long as want and residents
 * do. */
void place_decide(struct place_decision *out, const struct place_ledger *l, const struct place_want *w,
                  const struct place_resident *resident, size_t n_resident);
/* One sentence for people: "one device: 4.1 GiB on GPU 0 (NVIDIA L4), ...". */
void place_decision_text(struct buf *b, const struct place_ledger *l, const struct place_decision *d);
/* Objects for /health and /gpus:
 * {"way":..,"devices":[..],"evict":[..],"reasons":[{"code":..,"text":..,..}],..}, and
 * {"uuid":..,"total_bytes":..,"external_bytes":..,..}. */
void place_decision_json(struct buf *b, const struct place_ledger *l, const struct place_decision *d,
                         const struct place_resident *resident);
void place_device_json(struct buf *b, const struct place_device *d);

/* --- carrying it out --- */

/* Take what the decision says; the models that it evicts keep their claims until place_release, and what
 * they give back is promised to this claim alone. ERR_BUSY: somebody was faster, decide again. ERR_ARG: the
 * decision was to refuse. */
status place_reserve(struct place_ledger *l, const struct place_decision *d,
                     const struct place_resident *resident, uint64_t *claim, struct error *e);
/* Whether all that the claim was promised has been given back: the worker may start. */
bool place_ready(const struct place_ledger *l, uint64_t claim);
/* The load is done: it took actual[i] bytes on share i's device (0: as planned). */
void place_commit(struct place_ledger *l, uint64_t claim, const uint64_t *actual_bytes, size_t n);
void place_release(struct place_ledger *l, uint64_t claim); /* its process is gone; unknown claims are fine */
uint64_t place_claim_bytes(const struct place_ledger *l, uint64_t claim, uint32_t device);
uint32_t place_n_claim(const struct place_ledger *l);
bool place_ledger_valid(const struct place_ledger *l);

#endif
