/* When to try again, and how long to wait before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hub/hub_int.h"

enum { MAX_RETRY_AFTER_S = 3600, LONGEST = 60 /* times the first wait */ };

bool hub_retry_is_worth(enum http_cause cause, int code, bool redirected)
{
    switch (cause) {
    case HTTP_CAUSE_NONE: break;
    case HTTP_CAUSE_RESOLVE:
    case HTTP_CAUSE_CONNECT:
    case HTTP_CAUSE_TIMEOUT:
    case HTTP_CAUSE_CUT:
    case HTTP_CAUSE_PROTOCOL: return true;
    default: return false; /* it would be the same again */
    }
    if (code == 408 || code == 425 || code == 429 || code >= 500) return code != 501 && code != 505;
    /* A link to where the bytes are is good for minutes; the place it came from gives another one. */
    return redirected && (code == 400 || code == 401 || code == 403 || code == 404 || code == 410);
}

/* Seconds or a date (RFC 9110 section 10.2.3). */
static int64_t seconds_of(const char *retry_after)
{
    struct tm t = {0};
    char *end;
    long long s = strtoll(retry_after, &end, 10);
    if (end != retry_after) return s;
    if (!strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT", &t)) return 0;
    return (int64_t)timegm(&t) - (int64_t)time(NULL);
}

uint32_t hub_retry_wait_ms(const struct hub_config *c, uint32_t tries, const char *retry_after, double random)
{
    double wait = MIN(ldexp(1, (int)MIN(tries, 30) - 1), (double)LONGEST) * c->retry_ms;
    double said = retry_after ? (double)MIN(MAX(seconds_of(retry_after), 0), MAX_RETRY_AFTER_S) * 1000 : 0;
    wait *= 0.5 + random; /* so that many who failed together do not come back together */
    return (uint32_t)MAX(wait, said);
}
