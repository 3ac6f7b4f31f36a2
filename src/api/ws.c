/* GET /v1/ws: requests to this process's model as messages over one WebSocket; see ws_calls.h. What is
 * generated for a connection that does not read is bounded by api_options.max_buffered, like that of any slow
 * reader. */
#include "api/ws.h"

#include <stdlib.h>
#include <string.h>

#include "api/generator.h"
#include "api/ws_calls.h"
#include "base/log.h"

static const struct generator *const generators[] = {
    &openai_chat_generator, &openai_text_generator,     &responses_generator, &anthropic_generator,
    &ollama_chat_generator, &ollama_generate_generator, &llamacpp_generator,  &native_generator};

struct running {
    struct generation *g;
    bool stream;
};

static const struct generator *find_generator(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(generators); i++)
        if (!strcmp(generators[i]->path, path)) return generators[i];
    return NULL;
}

static void *start(struct ws_calls *c, void *user, const char *path, json_t *body, struct fault *f)
{
    const struct api *api = user;
    const struct generator *gen = find_generator(path);
    struct http_exchange *x = ws_calls_exchange(c);
    struct running *run = NULL;
    struct request r;
    if (!gen) {
        refuse(f, 404, "not_found", "path", "there is no %s here", path);
        return NULL;
    }
    gen->init(&r);
    r.stream = true;
    if (request_read_json(&r, api, gen->fields, x, body, f) && gen->check(&r, api, f)) {
        run = mem_zalloc(1, sizeof *run);
        run->stream = r.stream;
        run->g = generation_new(api, gen->render, &r, http_waker_new(x));
        generation_start(run->g);
    }
    request_deinit(&r);
    return run;
}

static bool advance(struct ws_call *call, void *user)
{
    struct running *r = user;
    struct buf out = {0};
    struct fault f;
    bool ok = generation_advance(r->g, &f), end = !ok;
    if (r->stream) {
        end = generation_stream(r->g, &out) || !ok;
        ws_call_frames(call, out.data, out.n);
    } else if (ok && (end = r->g->n_open == 0)) {
        r->g->render->whole(r->g, &out);
        ws_call_data(call, out.data, out.n);
    }
    buf_deinit(&out);
    if (!ok)
        ws_call_fault(call, &f, r->g->render->family);
    else if (end)
        ws_call_done(call, r->g->req.ignored.n ? r->g->req.ignored.data : NULL);
    return end;
}

static void drop(struct ws_call *call, void *user)
{
    struct running *r = user;
    struct usage u;
    generation_usage(r->g, &u);
    LOG(INFO, "api", "generated", "id=%s ws=%s prompt_tokens=%llu tokens=%llu open=%u", r->g->id,
        http_request_id(ws_call_exchange(call)), (unsigned long long)u.prompt,
        (unsigned long long)u.completion, r->g->n_open);
    generation_end(r->g);
    free(r);
}

void ws_connect(struct http_exchange *x, void *api)
{
    static const struct ws_call_ops ops = {start, advance, drop};
    ws_calls_accept(x, &ops, api);
}
