/* One call of the client: a request's options as libcurl wants them, its callbacks, its deadlines, its end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/client_int.h"

enum {
    CONNECT_MS = 10 * 1000,
    WAIT_MS = 60 * 1000,
    KEEP_S = 55 /* less than servers keep idle connections */
};

/* ---- deadlines --------------------------------------------------------------------------------------- */

static int64_t later(int64_t from_us, uint32_t ms)
{
    return from_us + (int64_t)ms * 1000;
}

/* The next one, 0: none, and what to say when it has passed. */
static int64_t deadline(const struct http_call *c, const char **why)
{
    int64_t at = 0, other = 0;
    const char *other_why = "";
    if (c->total_ms) {
        at = later(c->start_us, c->total_ms);
        *why = "the answer was not there in the time that was given";
    }
    if (!c->sent) {
        other = later(c->start_us, c->connect_ms);
        other_why = "no connection in time";
    } else if (!c->head_done && !c->body_waits) {
        other = later(c->active_us, c->body_done ? c->first_byte_ms : c->stall_ms);
        other_why =
            c->body_done ? "no answer in time" : "the request could not be sent: the server does not read";
    } else if (c->head_done && !c->want_pause) {
        other = later(c->active_us, c->stall_ms);
        other_why = "the answer stopped coming";
    }
    if (other && (!at || other < at)) {
        at = other;
        *why = other_why;
    }
    return at;
}

/* A timer that is too early does no harm: it looks and is set again. */
static void arm(struct http_call *c)
{
    const char *why;
    int64_t at = deadline(c, &why);
    if (!at || (c->timer_at_us && c->timer_at_us <= at)) return;
    int64_t wait = MAX(at - clock_us(), 0);
    c->timer_at_us = at;
    event_add(c->timer, &(struct timeval){wait / 1000000, wait % 1000000});
}

static void on_deadline(int fd, short what, void *arg)
{
    struct http_call *c = arg;
    const char *why = "";
    int64_t at = deadline(c, &why);
    c->timer_at_us = 0;
    if (c->cancelled) return;
    if (at && clock_us() >= at)
        call_end(c, HTTP_CAUSE_TIMEOUT, why);
    else
        arm(c);
}

void call_active(struct http_call *c)
{
    c->active_us = clock_us();
    arm(c);
}

struct http_call *http_call_start(struct http_client *k, const struct http_call_options *o,
                                  const struct http_call_ops *ops, void *user)
{
    struct http_call *c = mem_zalloc(1, sizeof *c);
    ASSERT(ops->end);
    c->client = k;
    c->ops = ops;
    c->user = user;
    c->may_connect = o->may_connect;
    c->may_connect_user = o->may_connect_user;
    c->from = o->from;
    c->max_bytes = o->max_bytes;
    c->body_length = o->body_length;
    c->follows = o->max_redirects > 0;
    c->http2 = o->http2;
    c->connect_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_MS;
    c->first_byte_ms = o->first_byte_timeout_ms ? o->first_byte_timeout_ms : WAIT_MS;
    c->stall_ms = o->stall_timeout_ms ? o->stall_timeout_ms : WAIT_MS;
    c->total_ms = o->total_timeout_ms;
    c->start_us = clock_us();
    buf_init(&c->head, CALL_MAX_HEAD);
    c->next = k->calls;
    if (k->calls) k->calls->prev = c;
    k->calls = c;
    c->timer = event_new(k->base, -1, 0, on_deadline, c);
    c->easy = curl_easy_init();
    if (c->timer && c->easy)
        call_set_options(c, o);
    else
        call_note(c, HTTP_CAUSE_LIMIT, "out of memory");
    client_todo(c);
    return c;
}

/* ---- from the loop ----------------------------------------------------------------------------------- */

void call_do(struct http_call *c)
{
    CURLcode r = CURLE_OK;
    if (c->cancelled) {
        call_free(c);
        return;
    }
    if (!c->added) {
        if (!c->cause && curl_multi_add_handle(c->client->multi, c->easy) == CURLM_OK) {
            c->added = true;
            arm(c);
        } else {
            call_note(c, HTTP_CAUSE_LIMIT, "out of memory");
            call_end(c, c->cause, c->why);
        }
        return;
    }
    if ((c->paused && !c->want_pause) || (c->body_waits && c->woken)) {
        if (!c->want_pause) c->paused = false;
        if (c->woken) c->body_waits = false;
        call_active(c);
        r = curl_easy_pause(c->easy, (c->paused ? CURLPAUSE_RECV : 0) | (c->body_waits ? CURLPAUSE_SEND : 0));
    }
    c->woken = false;
    if (r != CURLE_OK) call_done(c, r);
}

void http_call_cancel(struct http_call *c)
{
    c->cancelled = true;
    client_todo(c);
}

void http_call_pause(struct http_call *c, bool pause)
{
    if (c->http2) return;
    c->want_pause = pause;
    if (pause) return; /* the next piece is left with libcurl */
    call_active(c);
    client_todo(c);
}

void http_call_wake(struct http_call *c)
{
    c->woken = true;
    client_todo(c);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static enum http_cause cause_of(CURLcode r)
{
    switch (r) {
    case CURLE_OK: return HTTP_CAUSE_NONE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE: return HTTP_CAUSE_ARGUMENT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: return HTTP_CAUSE_RESOLVE;
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY: return HTTP_CAUSE_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION: return HTTP_CAUSE_TLS;
    case CURLE_OPERATION_TIMEDOUT: return HTTP_CAUSE_TIMEOUT;
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_SEND_FAIL_REWIND: return HTTP_CAUSE_REDIRECTS;
    case CURLE_OUT_OF_MEMORY: return HTTP_CAUSE_LIMIT;
    case CURLE_ABORTED_BY_CALLBACK: return HTTP_CAUSE_BODY;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return HTTP_CAUSE_CUT;
    default: return HTTP_CAUSE_PROTOCOL;
    }
}

void call_done(struct http_call *c, CURLcode r)
{
    enum http_cause cause = cause_of(r);
    if (c->cancelled) {
        call_free(c);
        return;
    }
    if (c->cause) {
        call_end(c, c->cause, c->why);
        return;
    }
    if (cause == HTTP_CAUSE_ARGUMENT && c->sent) /* it was not our URL */
        cause = call_redirects(c) ? HTTP_CAUSE_REDIRECTS : HTTP_CAUSE_PROTOCOL;
    call_end(c, cause, r == CURLE_OK ? "" : c->curl_why[0] ? c->curl_why : curl_easy_strerror(r));
}

void call_end(struct http_call *c, enum http_cause cause, const char *why)
{
    char text[sizeof c->why];
    long opened = 1;
    snprintf(text, sizeof text, "%s", why);
    if (c->easy) curl_easy_getinfo(c->easy, CURLINFO_NUM_CONNECTS, &opened);
    const struct http_result r = {.cause = cause,
                                  .why = text,
                                  .code = c->code,
                                  .sent = c->sent,
                                  .reused = c->sent && opened == 0,
                                  .bytes_in = c->bytes_in,
                                  .bytes_out = c->bytes_out,
                                  .connect_us = c->connect_us ? c->connect_us - c->start_us : 0,
                                  .first_byte_us = c->first_byte_us ? c->first_byte_us - c->start_us : 0,
                                  .total_us = clock_us() - c->start_us};
    c->ops->end(c, c->user, &r);
    call_free(c);
}

void call_free(struct http_call *c)
{
    struct http_client *k = c->client;
    if (c->added) curl_multi_remove_handle(k->multi, c->easy);
    if (c->easy) curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->fields);
    if (c->timer) event_free(c->timer);
    for (struct http_call **at = &k->todo; c->todo && *at; at = &(*at)->todo_next)
        if (*at == c) {
            *at = c->todo_next;
            break;
        }
    if (c->prev)
        c->prev->next = c->next;
    else
        k->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    buf_deinit(&c->head);
    buf_deinit(&c->out);
    free(c->url);
    free(c);
}

/* ---- what the answer says ---------------------------------------------------------------------------- */

const char *http_call_header(const struct http_call *c, const char *name)
{
    return head_find(&c->head, name);
}

bool http_call_field(const struct http_call *c, size_t i, struct http_header *out)
{
    const char *p = c->head.data, *end = p + c->head.n;
    for (; p && p < end; i--) {
        const char *value = p + strlen(p) + 1;
        if (i == 0) {
            *out = (struct http_header){p, value};
            return true;
        }
        p = value + strlen(value) + 1;
    }
    return false;
}

const char *http_call_url(const struct http_call *c)
{
    return c->url ? c->url : "";
}

bool http_call_extent(const struct http_call *c, uint64_t *from, int64_t *whole)
{
    const char *range = head_find(&c->head, "content-range"), *length = head_find(&c->head, "content-length");
    unsigned long long first, last, all;
    int used = 0;
    *from = 0;
    *whole = length && !head_find(&c->head, "content-encoding") ? strtoll(length, NULL, 10) : -1;
    if (c->code == 200) return true; /* all of it, whatever was asked for */
    if (c->code != 206 || !range || sscanf(range, "bytes %llu-%llu/%n", &first, &last, &used) != 2 || !used)
        return false;
    *whole = sscanf(range + used, "%llu", &all) == 1 && all <= INT64_MAX ? (int64_t)all : -1;
    *from = first;
    return first == c->from && last >= first;
}
