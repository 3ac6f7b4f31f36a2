#include "pool/aws.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/client.h"

#define METADATA_URL "http://169.254.169.254" /* link-local: only an instance's own host answers there */
enum { LOOK_MS = 50 };

struct aws {
    char url[256], sysfs[256];
    uint32_t timeout_ms;
    void (*on_answer)(void *user);
    void *user;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock; /* over facts */
    struct aws_facts facts;
};

/* --- what the types are --- */

// clang-format off
static const struct family { /* the first row whose beginning fits; without a dot a digit follows: "inf2.xlarge" */
    const char *begins, *accelerator, *backend, *advice;
} families[] = {
    {"p6-b200.", "NVIDIA B200, 180 GiB each", "cuda", "Blackwell: needs a build with CORRAL_CUDA_ARCHS=100"},
    {"p5en.", "NVIDIA H200, 141 GiB each", "cuda", "a model of 70 billion parameters at 8 bits fits one GPU"},
    {"p5e.", "NVIDIA H200, 141 GiB each", "cuda", "a model of 70 billion parameters at 8 bits fits one GPU"},
    {"p5.", "NVIDIA H100, 80 GiB each", "cuda", "a model of 70 billion parameters at 4 to 6 bits fits one GPU"},
    {"p4de.", "NVIDIA A100, 80 GiB each", "cuda", "a model of 70 billion parameters at 4 to 6 bits fits one GPU"},
    {"p4d.", "NVIDIA A100, 40 GiB each", "cuda", "a model of 32 billion parameters at 8 bits fits one GPU"},
    {"p3dn.", "NVIDIA V100, 32 GiB each", "cpu", "the cuda backend needs compute capability 8.0, these have 7.0: models run on the CPU; g5, g6, p4 and p5 do better"},
    {"p3.", "NVIDIA V100, 16 GiB each", "cpu", "the cuda backend needs compute capability 8.0, these have 7.0: models run on the CPU; g5, g6, p4 and p5 do better"},
    {"p2.", "NVIDIA K80, 12 GiB each", "cpu", "these GPUs are too old: models run on the CPU"},
    {"g6e.", "NVIDIA L40S, 48 GiB each", "cuda", "a model of 32 billion parameters at 8 bits fits one GPU"},
    {"gr6.", "NVIDIA L4, 24 GiB each", "cuda", "a model of 32 billion parameters at 4 bits fits one GPU"},
    {"g6.", "NVIDIA L4, 24 GiB each", "cuda", "a model of 32 billion parameters at 4 bits fits one GPU"},
    {"g5g.", "NVIDIA T4G, 16 GiB each", "cpu", "the cuda backend needs compute capability 8.0, these have 7.5: models run on the CPU"},
    {"g5.", "NVIDIA A10G, 24 GiB each", "cuda", "a model of 32 billion parameters at 4 bits fits one GPU"},
    {"g4dn.", "NVIDIA T4, 16 GiB each", "cpu", "the cuda backend needs compute capability 8.0, these have 7.5: models run on the CPU; g5 and g6 do better"},
    {"g4ad.", "AMD Radeon Pro V520, 8 GiB each", "cpu", "AMD GPUs are watched but not computed on: models run on the CPU"},
    {"g3s.", "NVIDIA M60, 8 GiB each", "cpu", "these GPUs are too old: models run on the CPU"},
    {"g3.", "NVIDIA M60, 8 GiB each", "cpu", "these GPUs are too old: models run on the CPU"},
    {"trn", "AWS Trainium", "cpu", "Trainium is not supported: models run on the CPU; g5, g6, p4 and p5 have GPUs that are"},
    {"inf", "AWS Inferentia", "cpu", "Inferentia is not supported: models run on the CPU; g5, g6, p4 and p5 have GPUs that are"},
    {"t", NULL, "cpu", "burstable: when its CPU credits are used up answers become slow; c and m types keep their speed"},
};
// clang-format on

/* "m7g.large", "c7gn.xlarge": Graviton, after the generation's digit. */
static bool is_arm(const char *type)
{
    const size_t family = strcspn(type, ".");
    size_t i = 1;
    while (i < family && !isdigit((unsigned char)type[i])) i++;
    while (i < family && isdigit((unsigned char)type[i])) i++;
    return i < family && type[i] == 'g';
}

void aws_describe(const char *type, struct aws_facts *out)
{
    out->accelerator = NULL;
    out->backend = "cpu";
    out->advice = "";
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        const struct family *f = &families[i];
        const size_t n = strlen(f->begins);
        if (strncmp(type, f->begins, n) != 0 || (f->begins[n - 1] != '.' && !isdigit((unsigned char)type[n])))
            continue;
        out->accelerator = f->accelerator;
        out->backend = f->backend;
        out->advice = f->advice;
        return;
    }
    if (is_arm(type))
        out->advice = "Graviton: the portable kernels run here, slower than those for AVX2 and AVX-512";
}

/* --- asking --- */

struct asking {
    struct buf body;
    bool done;
    int code;
    enum http_cause cause;
};

static void on_body(struct http_call *c, void *user, const char *p, size_t n)
{
    buf_add(&((struct asking *)user)->body, p, n);
}

static void on_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct asking *q = user;
    q->code = r->code;
    q->cause = r->cause;
    q->done = true;
}

/* The answer's text, when it is one of a line that may be shown. */
static bool ask(struct aws *a, struct http_client *client, const char *method, const char *path,
                const struct http_header *header, char *out, size_t size)
{
    static const struct http_call_ops ops = {.body = on_body, .end = on_end};
    struct asking q = {.body = {.max = 4096}};
    char url[400];
    snprintf(url, sizeof url, "%s%s", a->url, path);
    const struct http_call_options o = {.method = method,
                                        .url = url,
                                        .header = header,
                                        .n_header = 1,
                                        .max_bytes = 4096,
                                        .total_timeout_ms = a->timeout_ms,
                                        .proxy = ""};
    struct http_call *call = http_call_start(client, &o, &ops, &q);
    while (!q.done && !atomic_load(&a->stop)) http_client_wait(client, LOOK_MS);
    if (!q.done) http_call_cancel(call);
    bool ok = q.done && q.cause == HTTP_CAUSE_NONE && q.code == 200 && q.body.n > 0 && q.body.n < size;
    for (size_t i = 0; ok && i < q.body.n; i++) ok = isgraph((unsigned char)q.body.data[i]);
    if (ok) memcpy(out, q.body.data, q.body.n + 1);
    buf_deinit(&q.body);
    return ok;
}

static bool says_amazon(const char *sysfs)
{
    static const char *const files[] = {"sys_vendor", "board_vendor", "bios_vendor"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[400], line[64] = "";
        snprintf(path, sizeof path, "%s/class/dmi/id/%s", sysfs, files[i]);
        FILE *f = fopen(path, "re");
        const bool read = f && fgets(line, sizeof line, f);
        if (f) fclose(f);
        if (read && strstr(line, "Amazon")) return true;
    }
    return false;
}

static void look(struct aws *a, struct aws_facts *f)
{
    struct http_client *client;
    char token[1024];
    struct error e;
    if (http_client_new(&client, &e) != OK) {
        LOG(WARN, "aws", "client", "%s", e.msg);
        return;
    }
    const struct http_header life = {"X-aws-ec2-metadata-token-ttl-seconds", "60"};
    if (ask(a, client, "PUT", "/latest/api/token", &life, token, sizeof token)) {
        const struct http_header pass = {"X-aws-ec2-metadata-token", token};
        f->on_aws = ask(a, client, "GET", "/latest/meta-data/instance-type", &pass, f->type, sizeof f->type);
        (void)ask(a, client, "GET", "/latest/meta-data/placement/availability-zone", &pass, f->zone,
                  sizeof f->zone);
    }
    http_client_free(client);
}

static void *find_out(void *user)
{
    struct aws *a = user;
    struct aws_facts f = {.backend = "cpu", .advice = ""};
    const bool amazon = says_amazon(a->sysfs);
    if (amazon || strcmp(a->url, METADATA_URL) != 0) look(a, &f);
    f.on_aws |= amazon;
    if (f.type[0]) aws_describe(f.type, &f);
    f.known = true;
    const bool idle = f.accelerator && strcmp(f.backend, "cpu") == 0; /* paid for, and not used */
    if (f.on_aws && log_on(idle ? LOG_WARN : LOG_INFO))
        log_write(idle ? LOG_WARN : LOG_INFO, "aws", "instance", "type=%s zone=%s accelerator=\"%s\"%s%s",
                  f.type[0] ? f.type : "unknown", f.zone[0] ? f.zone : "unknown",
                  f.accelerator ? f.accelerator : "none", f.advice[0] ? ": " : "", f.advice);
    pthread_mutex_lock(&a->lock);
    a->facts = f;
    pthread_mutex_unlock(&a->lock);
    if (a->on_answer && !atomic_load(&a->stop)) a->on_answer(a->user);
    return NULL;
}

static const char *option(const char *given, const char *variable, const char *otherwise)
{
    const char *v = given ? given : getenv(variable);
    return v && *v ? v : otherwise;
}

status aws_open(struct aws **out, const struct aws_options *options, struct error *e)
{
    const struct aws_options none = {0}, *o = options ? options : &none;
    struct aws *a = mem_zalloc(1, sizeof *a);
    *out = NULL;
    snprintf(a->url, sizeof a->url, "%s", option(o->url, "CORRAL_IMDS_URL", METADATA_URL));
    snprintf(a->sysfs, sizeof a->sysfs, "%s", option(o->sysfs_root, "CORRAL_SYSFS", "/sys"));
    a->timeout_ms = o->timeout_ms ? o->timeout_ms : 1000;
    a->on_answer = o->on_answer;
    a->user = o->user;
    a->facts = (struct aws_facts){.backend = "cpu", .advice = ""};
    pthread_mutex_init(&a->lock, NULL);
    const int code = pthread_create(&a->thread, NULL, find_out, a);
    if (code != 0) {
        pthread_mutex_destroy(&a->lock);
        free(a);
        return fail(e, ERR_IO, "no thread to ask AWS: %s", strerror(code));
    }
    *out = a;
    return OK;
}

void aws_facts(struct aws *a, struct aws_facts *out)
{
    pthread_mutex_lock(&a->lock);
    *out = a->facts;
    pthread_mutex_unlock(&a->lock);
}

void aws_close(struct aws *a)
{
    if (!a) return;
    atomic_store(&a->stop, true);
    pthread_join(a->thread, NULL);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
