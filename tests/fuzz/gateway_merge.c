/* Any text as what a worker says at /metrics: no access beyond it, and what comes out is the same when it is
 * merged once more. */
#include <stdlib.h>
#include <string.h>

#include "gateway/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct buf merged(const char *text, size_t n, const char *labels)
{
    struct merge *m = merge_new();
    struct buf out = {0};
    merge_add(m, text, n, labels);
    merge_write(m, &out);
    merge_free(m);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = malloc(n ? n : 1); /* of this size, so that a byte too many is seen */
    memcpy(text, data, n);
    struct buf once = merged(text, n, "model=\"a\\\"b\",worker=\"1\"");
    struct buf twice = merged(once.data ? once.data : "", once.n, "model=\"other\",worker=\"2\"");
    if (once.n != twice.n || (once.n && memcmp(once.data, twice.data, once.n) != 0)) abort();
    buf_deinit(&once);
    buf_deinit(&twice);
    free(text);
    return 0;
}
