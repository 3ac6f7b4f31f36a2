#include "api/generator.h"

void generator_serve(struct http_exchange *x, const struct api *api, const struct generator *g)
{
    struct request r;
    struct fault f;
    g->init(&r);
    if (request_read(&r, api, g->fields, x, &f) && g->check(&r, api, &f))
        generate(x, api, g->render, &r);
    else
        reply_fault(x, g->render, &f);
    request_deinit(&r);
}
