#include "cli/report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/pages.h"
#include "cli/devices.h"

enum { PROGRESS_EVERY_MS = 100, PATIENCE_MS = 2000 };

static int to = -1;

void report_open(void)
{
    const char *text = getenv("CORRAL_REPORT_FD");
    char *end;
    if (!text) return;
    long fd = strtol(text, &end, 10);
    if (end != text && !*end && fd > STDERR_FILENO && fd < 1 << 20 &&
        fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl((int)fd, F_SETFL, O_NONBLOCK) == 0)
        to = (int)fd;
    unsetenv("CORRAL_REPORT_FD");
    if (to >= 0) signal(SIGPIPE, SIG_IGN); /* who started this may have stopped listening */
}

bool report_wanted(void)
{
    return to >= 0;
}

/* Lines are shorter than PIPE_BUF: they are written whole or not at all. */
static void write_line(struct buf *line, int patience_ms)
{
    buf_addc(line, '\n');
    while (to >= 0 && write(to, line->data, line->n) < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN && patience_ms &&
            poll(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, patience_ms) > 0) {
            patience_ms = 0;
            continue;
        }
        if (errno != EAGAIN) to = -1;
        break;
    }
    buf_deinit(line);
}

bool report_progress(void *user, size_t done, size_t total)
{
    static int64_t last_ns;
    int64_t now = clock_ns();
    struct buf b = {0};
    if (done < total && now - last_ns < PROGRESS_EVERY_MS * 1000000LL) return true;
    last_ns = now;
    buf_addf(&b, "{\"event\":\"progress\",\"done\":%zu,\"total\":%zu}", done, total);
    write_line(&b, 0);
    return true;
}

void report_ready(const struct engine *en, uint32_t parallel)
{
    struct engine_stats st;
    struct buf b = {0};
    const struct backend_plan *p = engine_plan(en);
    uint32_t n_part;
    const struct backend_part *part = engine_parts(en, &n_part);
    engine_stats(en, &st);
    buf_addf(&b,
             "{\"event\":\"ready\",\"pid\":%d,\"backend\":\"%s\",\"context\":%u,\"parallel\":%u,\"plan\":{"
             "\"weight_bytes\":%zu,\"mapped_bytes\":%zu,\"scratch_bytes\":%zu,\"kv_block_bytes\":%zu,"
             "\"kv_blocks\":%u},\"locked_bytes\":%llu,\"parts\":",
             (int)getpid(), part->on.api->name, st.max_context, parallel, p->weight_bytes, p->mapped_bytes,
             p->scratch_bytes, p->kv_block_bytes, st.n_kv_block, (unsigned long long)pages_locked_bytes());
    devices_json(&b, part, n_part, st.n_kv_block);
    buf_addc(&b, '}');
    write_line(&b, PATIENCE_MS);
}

void report_error(const struct error *e)
{
    struct buf b = {0};
    buf_addf(&b, "{\"event\":\"error\",\"code\":\"%s\",\"message\":", status_name(e->code));
    buf_json_str(&b, e->msg, strlen(e->msg));
    buf_addc(&b, '}');
    write_line(&b, PATIENCE_MS);
}
