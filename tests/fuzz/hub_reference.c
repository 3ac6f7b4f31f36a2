/* References as anybody may write them, and lists of files as any server may send them. */
#include <stdlib.h>
#include <string.h>

#include "hub/hub_int.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is taken can be written in full and taken again, and its name is one for the store. */
static void reference(const char *text)
{
    struct hub_ref r, again;
    struct error e;
    char name[STORE_NAME_MAX];
    if (hub_ref_parse(&r, text, &e) != OK) return;
    ASSERT(hub_ref_parse(&again, r.text, &e) == OK);
    ASSERT(!strcmp(again.text, r.text) && !strcmp(again.name, r.name));
    if (strlen(r.name) < STORE_NAME_MAX - 10) ASSERT(store_name(name, r.name, &e) == OK);
    hub_ref_deinit(&again);
    hub_ref_deinit(&r);
}

/* A line per file; the first one is what is wanted. */
static void choice(char *text)
{
    struct hub_plan p = {0};
    struct error e;
    char *want = strsep(&text, "\n"), *tag = strsep(&text, "\n");
    for (char *line; (line = strsep(&text, "\n")) && p.n_file < 64;)
        (void)(hub_plan_add(&p, line, mem_strdup(line), 1, line, &e) == OK);
    if (hub_choose(&p, want && *want ? want : NULL, tag && *tag ? tag : NULL, &e) == OK)
        ASSERT(p.n_file > 0 && p.main == 0);
    hub_plan_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = mem_strndup((const char *)data, n);
    struct hub_config c = {.retry_ms = 1};
    reference(text);
    (void)hub_retry_wait_ms(&c, 1, text, 0.5);
    choice(text);
    free(text);
    return 0;
}
