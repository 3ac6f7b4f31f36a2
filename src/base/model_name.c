#include "base/model_name.h"

#include <string.h>
#include <strings.h>

static size_t length_without_latest(const char *s)
{
    static const char latest[] = ":latest";
    size_t n = strlen(s), tail = sizeof latest - 1;
    return n > tail && !strcasecmp(s + n - tail, latest) ? n - tail : n;
}

bool model_name_same(const char *a, const char *b)
{
    size_t n = length_without_latest(a);
    return n == length_without_latest(b) && !strncasecmp(a, b, n);
}
