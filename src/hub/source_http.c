/* A file that lies somewhere on the web: how large it is, and whether it comes in parts, its server says. */
#include "hub/hub_int.h"

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    return hub_plan_url(out, ref->repo, ref->name, e);
}

const struct hub_source hub_http = {.plan = plan, .max_redirects = 10};
