/* A file that lies somewhere on the web: how large it is, and whether it comes in parts, its server says. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hub/hub_int.h"

/* A URL that ends in -00001-of-00005.gguf stands for all five. */
static status add_parts(struct hub_plan *out, const char *url, size_t stem, uint32_t of, const char *name,
                        struct error *e)
{
    status r = OK;
    for (uint32_t i = 1; r == OK && i <= of; i++) {
        struct buf to = {0}, file = {0};
        buf_addf(&to, "%.*s-%05u-of-%05u%s", (int)stem, url, i, of, url + stem + HUB_SPLIT_LENGTH);
        buf_addf(&file, "%s-%05u-of-%05u.gguf", name, i, of);
        r = hub_plan_add(out, file.data, to.data, HUB_UNKNOWN, "", e);
        buf_deinit(&file);
    }
    return r;
}

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    const char *url = ref->repo;
    size_t path = strcspn(url, "?");
    char *name = mem_strndup(ref->name, strcspn(ref->name, ":"));
    struct buf file = {0};
    uint32_t of = 0;
    status r;
    if (path > 5 && !strncasecmp(url + path - 5, ".gguf", 5) && hub_split_part(url, path - 5, NULL, &of)) {
        r = add_parts(out, url, path - 5 - HUB_SPLIT_LENGTH, of, name, e);
    } else {
        buf_addf(&file, "%s.gguf", name);
        r = hub_plan_add(out, file.data, mem_strdup(url), HUB_UNKNOWN, "", e);
    }
    buf_deinit(&file);
    free(name);
    return r;
}

const struct hub_source hub_http = {.plan = plan, .max_redirects = 10};
