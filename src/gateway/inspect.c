#include "gateway/inspect.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "pool/child.h"
#include "store/store.h"

enum { MAX_BYTES = 256 << 20, LIMIT_MS = 30000 };
#if defined(CORRAL_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const uint64_t SPACE = 0; /* the sanitizer's own is beyond any limit */
#else
static const uint64_t SPACE = 256ull << 30; /* files are mapped, which counts; real memory is far less */
#endif

static status read_all(struct child *c, struct buf *out, struct error *e)
{
    const int64_t until = clock_us() + LIMIT_MS * 1000LL;
    for (;;) {
        int64_t left_ms = (until - clock_us()) / 1000;
        struct pollfd f = {.fd = c->out, .events = POLLIN};
        if (left_ms <= 0) return fail(e, ERR_LIMIT, "it took longer than %d s to read", LIMIT_MS / 1000);
        if (poll(&f, 1, (int)left_ms) < 0 && errno != EINTR) return fail(e, ERR_IO, "%s", strerror(errno));
        char *room = buf_room(out, 64 << 10);
        if (!room) return fail(e, ERR_LIMIT, "more than %d MiB are said of it", MAX_BYTES >> 20);
        ssize_t n = read(c->out, room, 64 << 10);
        if (n == 0) return OK;
        if (n > 0) out->n += (size_t)n;
        if (n < 0 && errno != EAGAIN && errno != EINTR) return fail(e, ERR_IO, "%s", strerror(errno));
    }
}

/* What the process said when it refused the file: {"error": ...}, or nothing. */
static status refusal(const struct buf *said, const char *path, struct error *e)
{
    json_t *v = json_loadb(said->data ? said->data : "", said->n, 0, NULL),
           *why = json_object_get(v, "error");
    const char *text =
        json_is_string(why) ? json_string_value(why) : json_string_value(json_object_get(why, "message"));
    status s = fail(e, ERR_FORMAT, "%.200s: %s", path,
                    text ? text : "it cannot be read as a model (corral inspect says why)");
    json_decref(v);
    return s;
}

static status ask(const char *const *argv, const char *path, json_t **out, struct error *e)
{
    const struct child_options o = {.program = "/proc/self/exe",
                                    .argv = (char *const *)(uintptr_t)argv,
                                    .plain = true,
                                    .memory_bytes = SPACE};
    struct buf said = {.max = MAX_BYTES};
    struct child c;
    int how = -1;
    *out = NULL;
    TRY(child_spawn(&c, &o, e));
    status s = read_all(&c, &said, e);
    if (s != OK) child_signal(&c, SIGKILL);
    while (!child_ended(&c, &how)) poll(NULL, 0, 1);
    child_close(&c);
    if (s == OK && how != 0) s = refusal(&said, path, e);
    if (s == OK) *out = json_loadb(said.data ? said.data : "", said.n, 0, NULL);
    if (s == OK && !*out) s = fail(e, ERR_FORMAT, "%.200s: what is said of it is no JSON", path);
    buf_deinit(&said);
    return s;
}

status inspect_file(const char *path, bool all, json_t **out, struct error *e)
{
    const char *const argv[] = {"corral", "inspect", "--json", path, all ? "--tensors" : NULL, NULL};
    return ask(argv, path, out, e);
}

status inspect_memory(const char *path, const char *options, json_t **out, struct error *e)
{
    struct store_settings set;
    char number[2][24];
    const char *argv[16] = {"corral", "plan", "--json"};
    size_t n = 3;
    TRY(store_settings_read(&set, options, e));
    const struct {
        const char *flag, *value;
    } row[] = {{"--ctx", set.context ? number[0] : NULL},
               {"--parallel", set.parallel ? number[1] : NULL},
               {"--kv-type", set.kv_type},
               {"--backend", set.backend}};
    snprintf(number[0], sizeof number[0], "%lld", (long long)set.context);
    snprintf(number[1], sizeof number[1], "%lld", (long long)set.parallel);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        if (!row[i].value) continue;
        argv[n++] = row[i].flag;
        argv[n++] = row[i].value;
    }
    if (!set.mmap) argv[n++] = "--no-mmap";
    argv[n++] = "--";
    argv[n++] = path;
    status s = ask(argv, path, out, e);
    store_settings_deinit(&set);
    return s;
}
