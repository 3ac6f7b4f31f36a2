/* What models take: asked of `corral plan`, a process with a limit on its time and memory, because files may
 * be hostile. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/pool_int.h"

enum {
    MAX_PLAN_BYTES = 4 << 20,
    MAX_ARGS = 64,
    TURN_BYTES = 1 << 20 /* that are read at once: more than a pipe holds, and no flood */
};
#if defined(CORRAL_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const uint64_t PLANNER_BYTES = 0; /* the sanitizer's own are beyond any limit */
#else
static const uint64_t PLANNER_BYTES = 8ull << 30; /* the file is mapped, which does not count */
#endif

static struct plan *find(struct pool *p, const char *key)
{
    struct plan *x = p->plan;
    while (x && strcmp(x->key, key) != 0) x = x->next;
    return x;
}

/* Flags of all workers that matter for their size: "--draft=x", or two words. */
static size_t add_common(const struct pool *p, const char **arg, size_t n)
{
    static const char *const matter[] = {"--step-tokens", "--draft-max", "--draft", "--set"};
    for (size_t i = 0; i < p->o.n_worker_arg && n + 16 < MAX_ARGS; i++)
        for (size_t k = 0; k < COUNT_OF(matter); k++) {
            const char *flag = p->o.worker_arg[i];
            size_t len = strlen(matter[k]);
            if (strncmp(flag, matter[k], len) != 0 || (flag[len] && flag[len] != '=')) continue;
            arg[n++] = flag;
            if (!flag[len] && i + 1 < p->o.n_worker_arg) arg[n++] = p->o.worker_arg[++i];
            break;
        }
    return n;
}

/* The command line of a plan; its words are also its key, together with the file's age and size. */
static size_t make_command(struct pool *p, const struct worker *w, const char *backend, char number[3][24],
                           const char **arg)
{
    const struct store_settings *set = &w->spec->set;
    const struct {
        const char *flag;
        int64_t value;
    } row[] = {{"--ctx", set->context}, {"--parallel", set->parallel}, {"--threads", set->threads}};
    size_t n = 0;
    arg[n++] = "corral";
    arg[n++] = "plan";
    arg[n++] = "--json";
    arg[n++] = "--backend";
    arg[n++] = backend;
    n = add_common(p, arg, n);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        if (row[i].value <= 0) continue;
        snprintf(number[i], 24, "%lld", (long long)row[i].value);
        arg[n++] = row[i].flag;
        arg[n++] = number[i];
    }
    if (set->kv_type) {
        arg[n++] = "--kv-type";
        arg[n++] = set->kv_type;
    }
    if (!set->mmap) arg[n++] = "--no-mmap";
    if (w->draft) {
        arg[n++] = "--draft";
        arg[n++] = w->draft;
    }
    arg[n++] = "--";
    arg[n++] = w->spec->path;
    arg[n] = NULL;
    return n;
}

static char *make_key(const struct worker *w, const char *const *arg, size_t n)
{
    struct stat st = {0};
    struct buf b = {0};
    if (stat(w->spec->path, &st) != 0) st.st_size = 0;
    for (size_t i = 0; i < n; i++) buf_addf(&b, "%s\n", arg[i]);
    buf_addf(&b, "%lld %lld.%09ld%s", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
             w->spec->set.kv_bytes > 0 ? " all" : ""); /* see be_modest */
    return b.data;
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static struct plan *keep(struct pool *p, struct worker *w)
{
    struct plan *x = mem_zalloc(1, sizeof *x);
    x->key = w->planning;
    w->planning = NULL;
    x->next = p->plan;
    p->plan = x;
    return x;
}

/* If nobody said how large the KV cache shall be, a host has at most a quarter of its memory for that of
 * one model, and a card half of its own, or the first model would leave no room for a second one. What was
 * asked for by hand, a context, stays. */
static void be_modest(struct pool *p, struct place_plan *x, const struct store_settings *set)
{
    if (set->kv_bytes > 0) return;
    const struct device_sample *s = devices_sample(p->devices);
    uint64_t most = s ? s->host.total_bytes / 4 : 0;
    uint32_t n = 0;
    if (x->kind == PLACE_GPU) most = 0;
    for (uint32_t i = 0; s && x->kind == PLACE_GPU && i < s->n_gpu; i++)
        most = MAX(most, s->gpu[i].total_bytes / 2);
    device_sample_release(s);
    while (most && n + 1 < x->n_rung && place_plan_kv_bytes(x, n) > most &&
           !(set->context > 0 && x->rung[n + 1].context < x->rung[n].context))
        n++;
    x->n_rung -= n;
    memmove(x->rung, x->rung + n, x->n_rung * sizeof *x->rung);
}

/* {"error":{"code":..,"message":..}}, or a plan. */
static void take_answer(struct pool *p, struct plan *x, const struct buf *text, int wait_status,
                        const struct store_settings *set)
{
    struct error e = {0};
    json_t *j = text->n ? json_loadb(text->data, text->n, 0, NULL) : NULL;
    const json_t *error = json_object_get(j, "error");
    const char *why = json_string_value(json_object_get(error, "message"));
    if (why) {
        x->code = code_named(json_string_value(json_object_get(error, "code")));
        snprintf(x->error, sizeof x->error, "%s", why);
    } else if (WIFSIGNALED(wait_status) || !text->n) {
        bool killed = WIFSIGNALED(wait_status);
        x->code = ERR_FORMAT;
        snprintf(x->error, sizeof x->error, "looking at the file ended with %s %d",
                 killed ? "signal" : "status", killed ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
    } else {
        x->code = place_plan_read(&x->plan, text->data ? text->data : "", text->n, &e);
        snprintf(x->error, sizeof x->error, "%s", e.msg);
        if (x->code == OK) be_modest(p, &x->plan, set);
    }
    json_decref(j);
}

void plan_read(struct worker *w)
{
    char piece[8192];
    w->planned.max = MAX_PLAN_BYTES;
    for (size_t got = 0; w->planner.out >= 0 && got < TURN_BYTES;) {
        ssize_t n = read(w->planner.out, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n > 0) {
            got += (size_t)n;
            buf_add(&w->planned, piece, (size_t)n);
            continue;
        }
        close(w->planner.out);
        w->planner.out = -1;
    }
}

/* ---- one after the other ----------------------------------------------------------------------------- */

static bool has_gpu(struct pool *p)
{
    const struct device_sample *s = devices_sample(p->devices);
    bool any = s && s->n_gpu;
    device_sample_release(s);
    return any;
}

/* What is to be planned: "auto" is the GPU's backend where there is one, and the CPU's. */
static size_t choose_backends(struct pool *p, const struct worker *w, const char *out[2])
{
    const char *set = w->spec->set.backend;
    size_t n = 0;
    if (set && strcmp(set, "auto") != 0) {
        out[n++] = set;
        return n;
    }
    if (has_gpu(p)) out[n++] = "cuda";
    out[n++] = "cpu";
    return n;
}

static void spawn(struct pool *p, struct worker *w, const char *const *arg, char *key, int64_t now)
{
    struct error e = {0};
    const struct child_options o = {
        .program = p->program, .argv = (char *const *)arg, .plain = true, .memory_bytes = PLANNER_BYTES};
    w->planning = key;
    w->deadline_ns = now + p->o.plan_ms * MS;
    buf_reset(&w->planned);
    if (child_spawn(&w->planner, &o, &e) == OK) return;
    struct plan *x = keep(p, w);
    x->code = e.code;
    snprintf(x->error, sizeof x->error, "%s", e.msg);
}

static bool still_planning(struct pool *p, struct worker *w, int64_t now)
{
    int wait_status;
    if (!w->planner.pid) return false;
    if (!child_ended(&w->planner, &wait_status)) {
        if (now > w->deadline_ns) child_signal(&w->planner, SIGKILL);
        return true;
    }
    plan_read(w);
    take_answer(p, keep(p, w), &w->planned, wait_status, &w->spec->set);
    child_close(&w->planner);
    buf_reset(&w->planned);
    return false;
}

static void finish(struct pool *p, struct worker *w, const char *const *backend, size_t n, struct plan **plan,
                   int64_t now)
{
    const struct plan *why = NULL;
    for (size_t i = 0; i < n; i++) {
        if (plan[i]->code == OK)
            w->plan[plan[i]->plan.kind == PLACE_HOST] = plan[i];
        else
            why = plan[i];
    }
    if (!w->plan[0] && !w->plan[1]) {
        bool definite = why->code != ERR_IO && why->code != ERR_DEVICE && why->code != ERR_MEMORY;
        char text[300];
        snprintf(text, sizeof text, "%.40s: %s", w->spec->name, why->error);
        w->code = why->code;
        worker_refuse(p, w, definite ? 500 : 503, text, now);
        return;
    }
    w->phase = W_WAITING;
    w->phase_ns = now;
    pool_changed(p);
}

void plan_advance(struct pool *p, struct worker *w, int64_t now)
{
    const char *backend[2], *arg[MAX_ARGS];
    struct plan *plan[2];
    char number[3][24];
    size_t n = choose_backends(p, w, backend);
    if (!w->asked_store || still_planning(p, w, now)) return;
    for (size_t i = 0; i < n; i++) {
        size_t n_arg = make_command(p, w, backend[i], number, arg);
        char *key = make_key(w, arg, n_arg);
        plan[i] = find(p, key);
        if (!plan[i]) {
            spawn(p, w, arg, key, now);
            return; /* that it ended wakes the thread */
        }
        free(key);
    }
    finish(p, w, backend, n, plan, now);
}

void plans_free(struct pool *p)
{
    while (p->plan) {
        struct plan *x = p->plan;
        p->plan = x->next;
        place_plan_deinit(&x->plan);
        free(x->key);
        free(x);
    }
}
