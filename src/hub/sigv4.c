#include "hub/sigv4.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { MAX_SIGNED = 16, MAX_QUERY = 64, DATE_LENGTH = 8 };

/* ---- the canonical request -------------------------------------------------------------------------------
 */

struct url_parts {
    const char *host, *path, *query;
    size_t n_host, n_path;
};

/* The host as it is sent: without the port that goes without saying. */
static struct url_parts take_apart(const char *url)
{
    struct url_parts u = {.host = strstr(url, "://")};
    bool tls = !strncasecmp(url, "https:", 6);
    u.host = u.host ? u.host + 3 : url;
    u.n_host = strcspn(u.host, "/?#");
    u.path = u.host + u.n_host;
    u.n_path = strcspn(u.path, "?#");
    u.query = u.path[u.n_path] == '?' ? u.path + u.n_path + 1 : "";
    const char *port = tls ? ":443" : ":80";
    size_t n = strlen(port);
    if (u.n_host > n && !memcmp(u.host + u.n_host - n, port, n)) u.n_host -= n;
    return u;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* name=value, sorted. '=' and '&' sort below what stands in encoded names except '%', '-' and '.', so names
 * are compared before values: with a byte 1 between them. */
static void add_query(struct buf *b, const char *query)
{
    char *pair[MAX_QUERY];
    size_t n = 0;
    for (const char *p = query; *p && n < MAX_QUERY;) {
        size_t length = strcspn(p, "&"), name = MIN(strcspn(p, "="), length);
        struct buf one = {0};
        buf_add(&one, p, name);
        buf_addc(&one, 1);
        if (name < length) buf_add(&one, p + name + 1, length - name - 1);
        pair[n++] = one.data;
        p += length + (p[length] == '&');
    }
    qsort(pair, n, sizeof *pair, by_text);
    for (size_t i = 0; i < n; i++) {
        *strchr(pair[i], 1) = '=';
        buf_addf(b, "%s%s", i ? "&" : "", pair[i]);
        free(pair[i]);
    }
}

/* "name:value", the name in small letters, the value without needless spaces. */
static char *signed_field(const char *name, const char *value, size_t n)
{
    struct buf b = {0};
    for (; *name; name++) buf_addc(&b, (char)tolower((unsigned char)*name));
    buf_addc(&b, ':');
    size_t begin = b.n;
    for (size_t i = 0; i < n; i++)
        if (value[i] != ' ' || (b.n > begin && b.data[b.n - 1] != ' ')) buf_addc(&b, value[i]);
    if (b.n > begin && b.data[b.n - 1] == ' ') b.data[--b.n] = 0;
    return b.data;
}

/* The fields one per line, then their names. */
static void add_signed(struct buf *b, struct buf *names, char **field, size_t n)
{
    qsort(field, n, sizeof *field, by_text);
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "%s\n", field[i]);
        buf_addf(names, "%s%.*s", i ? ";" : "", (int)strcspn(field[i], ":"), field[i]);
        free(field[i]);
    }
    buf_addf(b, "\n%s\n", names->data);
}

/* ---- the signature
 * ----------------------------------------------------------------------------------------- */

static void hmac(unsigned char out[32], const void *key, size_t n_key, const char *text)
{
    unsigned n = 32;
    ASSERT(HMAC(EVP_sha256(), key, (int)n_key, (const unsigned char *)text, strlen(text), out, &n));
}

static void signature(const struct sigv4_key *key, const char *date, const char *text, char hex[65])
{
    unsigned char k[32];
    struct buf secret = {0};
    buf_addf(&secret, "AWS4%s", key->secret);
    hmac(k, secret.data, secret.n, date);
    hmac(k, k, sizeof k, key->region);
    hmac(k, k, sizeof k, key->service);
    hmac(k, k, sizeof k, "aws4_request");
    hmac(k, k, sizeof k, text);
    hub_hex(hex, k, sizeof k);
    memset(secret.data, 0, secret.n);
    buf_deinit(&secret);
}

void sigv4_sign(const struct sigv4_key *key, const struct sigv4_request *r, struct hub_fields *out)
{
    static const char *const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct url_parts u = take_apart(r->url);
    const char *body = r->body_sha256 ? r->body_sha256 : nothing;
    char stamp[20], date[DATE_LENGTH + 1], hex[65], *field[MAX_SIGNED];
    struct buf canonical = {0}, names = {0}, text = {0}, value = {0};
    struct tm t;
    size_t n = 0;
    gmtime_r(&r->now, &t);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &t);
    snprintf(date, sizeof date, "%.*s", DATE_LENGTH, stamp);

    hub_fields_add(out, "X-Amz-Date", stamp);
    if (!strcmp(key->service, "s3")) hub_fields_add(out, "X-Amz-Content-Sha256", body);
    if (key->session) hub_fields_add(out, "X-Amz-Security-Token", key->session);
    field[n++] = signed_field("host", u.host, u.n_host);
    for (size_t i = 0; i < out->n; i++)
        if (!strncmp(out->at[i].name, "X-Amz-", 6))
            field[n++] = signed_field(out->at[i].name, out->at[i].value, strlen(out->at[i].value));
    for (size_t i = 0; i < r->n_header && n < MAX_SIGNED; i++)
        field[n++] = signed_field(r->header[i].name, r->header[i].value, strlen(r->header[i].value));

    buf_addf(&canonical, "%s\n%.*s\n", r->method, u.n_path ? (int)u.n_path : 1, u.n_path ? u.path : "/");
    add_query(&canonical, u.query);
    buf_addc(&canonical, '\n');
    add_signed(&canonical, &names, field, n);
    buf_adds(&canonical, body);
    hub_sha256_hex(hex, canonical.data, canonical.n);
    buf_addf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", stamp, date, key->region, key->service,
             hex);
    signature(key, date, text.data, hex);
    buf_addf(&value, "AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
             key->id, date, key->region, key->service, names.data, hex);
    hub_fields_add(out, "Authorization", value.data);
    buf_deinit(&canonical);
    buf_deinit(&names);
    buf_deinit(&text);
    buf_deinit(&value);
}
