/* The GGUF reader over any bytes, whole and header only; bytes that are no GGUF are also tried as a --set
 * text. The seeds in fuzz/corpus/format_gguf are small files of our own, made with support/gguf_build.h. */
#include "support/gguf_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_open(const void *data, size_t n, const struct gguf_options *o)
{
    struct gguf *g;
    struct error e = {0};
    if (gguf_open_memory(&g, data, n, o, &e) != OK) {
        ASSERT(e.msg[0] && e.code != OK); /* a failure always says why */
        return;
    }
    build_walk(g);
    gguf_close(g);
}

static void try_set(const uint8_t *data, size_t n)
{
    static const uint8_t empty[24] = {'G', 'G', 'U', 'F', 3};
    char *text = mem_strndup((const char *)data, n);
    const char *const set[] = {text};
    try_open(empty, sizeof empty, &(struct gguf_options){.set = set, .n_set = 1});
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    try_open(data, n, NULL);
    try_open(data, n, &(struct gguf_options){.meta_only = true});
    if (n < 4 || memcmp(data, "GGUF", 4) != 0) try_set(data, n);
    return 0;
}
