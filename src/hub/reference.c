/* References: what people write to name a model, taken apart. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "hub/hub.h"
#include "hub/hub_int.h"

enum { MAX_TEXT = 2048 };

void hub_ref_deinit(struct hub_ref *r)
{
    char *const own[] = {r->text, r->name, r->host, r->repo, r->tag, r->file, r->rev};
    for (size_t i = 0; i < COUNT_OF(own); i++) free(own[i]);
    *r = (struct hub_ref){0};
}

/* ---- small things ------------------------------------------------------------------------------------ */

static bool begins(const char *s, const char *with)
{
    return !strncasecmp(s, with, strlen(with));
}

static bool is_gguf(const char *s)
{
    size_t n = strlen(s);
    return n > 5 && !strcasecmp(s + n - 5, ".gguf");
}

static size_t count(const char *s, char c)
{
    size_t n = 0;
    for (; *s; s++) n += *s == c;
    return n;
}

/* Cuts s at the last c and returns what follows it; NULL: there is none. */
static char *cut_last(char *s, char c)
{
    char *at = strrchr(s, c);
    if (!at) return NULL;
    *at = 0;
    return at + 1;
}

/* A part of a name: letters, digits and . _ - +, not beginning with '.', '-' or '+'. */
static bool is_word(const char *s)
{
    if (!isalnum((unsigned char)*s) && *s != '_') return false;
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-+", *p)) return false;
    return !strstr(s, "..");
}

/* A name or address, maybe with a port. */
static bool is_host(const char *s)
{
    size_t n = strcspn(s, ":"), port = s[n] ? strlen(s + n + 1) : 1;
    char *host = mem_strndup(s, n);
    bool good = isalnum((unsigned char)*host) && is_word(host) && port >= 1 && port <= 5 &&
                (!s[n] || strspn(s + n + 1, "0123456789") == port);
    free(host);
    return good;
}

static bool is_two_words(const char *s)
{
    const char *slash = strchr(s, '/');
    if (!slash || !is_word(slash + 1)) return false;
    char *first = mem_strndup(s, (size_t)(slash - s));
    bool good = is_word(first);
    free(first);
    return good;
}

/* As a part of a name in the store, which is of small letters (store_name). */
static void add_name(struct buf *b, const char *s, size_t n)
{
    size_t before = b->n;
    for (size_t i = 0; i < n; i++) {
        char c = (char)tolower((unsigned char)s[i]);
        if (!isalnum((unsigned char)c) && !strchr("._-+", c)) c = '-';
        if (b->n == before && !isalnum((unsigned char)c)) continue;
        if (c == '.' && b->data[b->n - 1] == '.') continue;
        buf_addc(b, c);
    }
    if (b->n == before) buf_adds(b, "model");
}

/* The stem of a file's name: without folders, ".gguf", and the "-00001-of-00005" of a part. */
static void add_stem(struct buf *b, const char *path)
{
    const char *base = strrchr(path, '/');
    size_t n;
    base = base ? base + 1 : path;
    n = strlen(base);
    if (is_gguf(base)) n -= 5;
    if (hub_split_part(base, n, NULL, NULL)) n -= HUB_SPLIT_LENGTH;
    add_name(b, base, n);
}

/* ---- the kinds --------------------------------------------------------------------------------------- */

static status parse_hf(struct hub_ref *r, char *s, struct error *e)
{
    char *slash, *rev = cut_last(s, '@'), *tag = NULL;
    if (rev && (!*rev || strstr(rev, "..") || strpbrk(rev, " ?#%\\")))
        return fail(e, ERR_ARG, "the revision behind '@' is malformed");
    if (rev) r->rev = mem_strdup(rev);
    if ((slash = strchr(s, '/')) && (slash = strchr(slash + 1, '/'))) {
        *slash = 0;
        if (!is_gguf(slash + 1) || !hub_path_is_safe(slash + 1))
            return fail(e, ERR_ARG,
                        "behind ORG/REPO/ stands a file that ends in .gguf; without one give ORG/REPO:QUANT");
        r->file = mem_strdup(slash + 1);
    } else if ((tag = cut_last(s, ':'))) {
        if (!is_word(tag)) return fail(e, ERR_ARG, "the quantization behind ':' is malformed");
        if (strcasecmp(tag, "latest") != 0) r->tag = mem_strdup(tag);
    }
    if (!is_two_words(s)) return fail(e, ERR_ARG, "a repository of the hub is written ORG/REPO");
    r->kind = HUB_HF;
    r->repo = mem_strdup(s);
    return OK;
}

static void name_hf(struct hub_ref *r, struct buf *text, struct buf *name)
{
    const char *slash = strchr(r->repo, '/');
    buf_addf(text, "hf:%s", r->repo);
    if (r->file) buf_addf(text, "/%s", r->file);
    if (r->tag) buf_addf(text, ":%s", r->tag);
    if (r->rev) buf_addf(text, "@%s", r->rev);
    buf_adds(name, "hf.co/");
    add_name(name, r->repo, (size_t)(slash - r->repo));
    buf_addc(name, '/');
    add_name(name, slash + 1, strlen(slash + 1));
    buf_addc(name, ':');
    if (r->file)
        add_stem(name, r->file);
    else if (r->tag)
        add_name(name, r->tag, strlen(r->tag));
    else
        buf_adds(name, "latest");
}

/* %41 is A, in place. False: malformed, or no text. */
static bool decode(char *s)
{
    char *to = s;
    for (const char *p = s; *p; p++) {
        unsigned c = (unsigned char)*p;
        if (c == '%') {
            if (!isxdigit((unsigned char)p[1]) || !isxdigit((unsigned char)p[2])) return false;
            c = (unsigned)strtoul((const char[]){p[1], p[2], 0}, NULL, 16);
            p += 2;
        }
        if (iscntrl((int)c)) return false;
        *to++ = (char)c;
    }
    *to = 0;
    return utf8_valid(s, (size_t)(to - s));
}

/* What a browser shows of the hub: ORG/REPO/blob/REV/FILE (resolve/ to fetch it), ORG/REPO/tree/REV. */
static status parse_hf_page(struct hub_ref *r, char *s, struct error *e)
{
    static const char *const kinds[] = {"resolve/", "blob/", "tree/"};
    char *rest = strchr(s, '/'), *rev = NULL;
    rest = rest ? strchr(rest + 1, '/') : NULL;
    for (size_t i = 0; rest && i < COUNT_OF(kinds); i++)
        if (begins(rest + 1, kinds[i])) rev = rest + 1 + strlen(kinds[i]);
    if (!rev) return parse_hf(r, s, e);
    rev[strcspn(rev, "?")] = 0;
    char *file = strchr(rev, '/');
    struct buf b = {0};
    if (file) *file++ = 0;
    *rest = 0;
    if (!decode(rev) || (file && !decode(file))) return fail(e, ERR_ARG, "the URL is malformed");
    buf_adds(&b, s);
    if (file) buf_addf(&b, "/%s", file);
    if (strcmp(rev, "main") != 0 || (file && strchr(file, '@'))) buf_addf(&b, "@%s", rev);
    status code = parse_hf(r, b.data, e);
    buf_deinit(&b);
    return code;
}

/* NAME, NS/NAME or HOST/NS/NAME, each with :TAG. */
static status parse_ollama(struct hub_ref *r, char *s, struct error *e)
{
    char *last = strrchr(s, '/'), *colon = strchr(last ? last : s, ':');
    r->kind = HUB_OLLAMA;
    if (colon) *colon = 0;
    if (colon && !is_word(colon + 1)) return fail(e, ERR_ARG, "the tag behind ':' is malformed");
    r->tag = mem_strdup(colon ? colon + 1 : "latest");
    if (count(s, '/') == 2) {
        char *slash = strchr(s, '/');
        r->host = mem_strndup(s, (size_t)(slash - s));
        s = slash + 1;
        if (!is_host(r->host)) return fail(e, ERR_ARG, "the registry's host is malformed");
        if (!strcasecmp(r->host, "registry.ollama.ai")) {
            free(r->host);
            r->host = NULL;
        }
    }
    for (char *p = s; *p; p++)
        *p = (char)tolower((unsigned char)*p); /* repositories are; tags may have capitals */
    if (is_word(s)) {
        struct buf b = {0};
        buf_addf(&b, "library/%s", s);
        r->repo = b.data;
        return OK;
    }
    if (!is_two_words(s))
        return fail(e, ERR_ARG, "a model of a registry is written NAME:TAG or HOST/NS/NAME:TAG");
    r->repo = mem_strdup(s);
    return OK;
}

static void name_ollama(struct hub_ref *r, struct buf *text, struct buf *name)
{
    const char *repo = r->host || strncmp(r->repo, "library/", 8) != 0 ? r->repo : r->repo + 8;
    buf_adds(text, "ollama:");
    for (const char *p = r->host; p && *p; p++) {
        buf_addc(text, (char)tolower((unsigned char)*p));
        buf_addc(name, (char)tolower((unsigned char)*p));
    }
    if (r->host) {
        buf_addc(text, '/');
        buf_addc(name, '/');
    }
    buf_addf(text, "%s:%s", repo, r->tag);
    for (const char *slash; (slash = strchr(repo, '/')); repo = slash + 1) {
        add_name(name, repo, (size_t)(slash - repo));
        buf_addc(name, '/');
    }
    add_name(name, repo, strlen(repo));
    buf_addc(name, ':');
    add_name(name, r->tag, strlen(r->tag));
}

static status parse_s3(struct hub_ref *r, char *s, struct error *e)
{
    char *slash = strchr(s, '/');
    r->kind = HUB_S3;
    if (!slash || !slash[1]) return fail(e, ERR_ARG, "write s3://BUCKET/KEY, or s3://BUCKET/FOLDER/");
    r->repo = mem_strndup(s, (size_t)(slash - s));
    r->file = mem_strdup(slash + 1);
    for (const char *p = r->repo; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
            return fail(e, ERR_ARG, "the bucket's name is malformed");
    return is_word(r->repo) ? OK : fail(e, ERR_ARG, "the bucket's name is malformed");
}

static void name_s3(struct hub_ref *r, struct buf *text, struct buf *name)
{
    char *key = mem_strdup(r->file);
    size_t n = strlen(key);
    if (n && key[n - 1] == '/') key[n - 1] = 0;
    buf_addf(text, "s3://%s/%s", r->repo, r->file);
    add_stem(name, key);
    buf_adds(name, ":latest");
    free(key);
}

static status parse_http(struct hub_ref *r, const char *s, struct error *e)
{
    const char *host = strstr(s, "://") + 3;
    size_t n = strcspn(host, "/?#");
    r->kind = HUB_HTTP;
    if (!n || memchr(host, '@', n)) return fail(e, ERR_ARG, "the URL names no host, or a password with it");
    if (host[n] != '/' || strchr("?#", host[n + 1])) return fail(e, ERR_ARG, "the URL names no file");
    r->repo = mem_strdup(s);
    return OK;
}

static void name_http(struct hub_ref *r, struct buf *text, struct buf *name)
{
    char *path = mem_strdup(strstr(r->repo, "://") + 3);
    path[strcspn(path, "?")] = 0;
    buf_adds(text, r->repo);
    add_stem(name, path);
    buf_adds(name, ":latest");
    free(path);
}

static status parse_local(struct hub_ref *r, const char *s, struct error *e)
{
    const char *home = getenv("HOME");
    struct buf b = {0};
    r->kind = HUB_LOCAL;
    if (!*s) return fail(e, ERR_ARG, "the path is empty");
    while (s[0] == '/' && s[1] == '/') s++;
    if (s[0] == '~' && s[1] == '/' && home)
        buf_addf(&b, "%s%s", home, s + 1);
    else
        buf_adds(&b, s);
    while (b.n > 1 && b.data[b.n - 1] == '/') b.data[--b.n] = 0;
    char *whole = realpath(b.data, NULL); /* what is not there is said later */
    if (whole) buf_deinit(&b);
    r->repo = whole ? whole : b.data;
    return OK;
}

static void name_local(struct hub_ref *r, struct buf *text, struct buf *name)
{
    buf_addf(text, "file:%s", r->repo);
    add_stem(name, r->repo);
    buf_adds(name, ":latest");
}

/* ---- which kind it is -------------------------------------------------------------------------------- */

static bool looks_local(const char *s)
{
    return *s == '/' || begins(s, "./") || begins(s, "../") || begins(s, "~/") ||
           (is_gguf(s) && count(s, '/') < 2 && !strchr(s, ':'));
}

/* The first part of a path is a host when it has a dot or a port. */
static bool has_host(const char *s)
{
    size_t n = strcspn(s, "/");
    return count(s, '/') == 2 && s[n] && (memchr(s, '.', n) || memchr(s, ':', n)) && !is_gguf(s);
}

static status parse(struct hub_ref *r, char *s, struct error *e)
{
    static const char *const hf[] = {"hf.co/", "huggingface.co/", "https://huggingface.co/",
                                     "https://hf.co/"};
    if (begins(s, "http://") || begins(s, "https://"))
        s[strcspn(s, "#")] = 0; /* nobody's business but a browser's */
    for (size_t i = 0; i < COUNT_OF(hf); i++)
        if (begins(s, hf[i])) return parse_hf_page(r, s + strlen(hf[i]), e);
    if (begins(s, "hf:")) return parse_hf(r, s + 3 + (begins(s + 3, "//") ? 2 : 0), e);
    if (begins(s, "http://") || begins(s, "https://")) return parse_http(r, s, e);
    if (begins(s, "s3://")) return parse_s3(r, s + 5, e);
    if (begins(s, "ollama:")) return parse_ollama(r, s + 7 + (begins(s + 7, "//") ? 2 : 0), e);
    if (begins(s, "file:")) return parse_local(r, s + 5 + (begins(s + 5, "//") ? 2 : 0), e);
    if (looks_local(s)) return parse_local(r, s, e);
    if (strstr(s, "://"))
        return fail(e, ERR_ARG, "the scheme is none of hf:, ollama:, s3://, http://, https://, file:");
    if (has_host(s) || !strchr(s, '/')) return parse_ollama(r, s, e);
    return parse_hf(r, s, e);
}

static void name(struct hub_ref *r)
{
    static void (*const by_kind[])(struct hub_ref *, struct buf *,
                                   struct buf *) = {[HUB_HF] = name_hf,
                                                    [HUB_OLLAMA] = name_ollama,
                                                    [HUB_S3] = name_s3,
                                                    [HUB_HTTP] = name_http,
                                                    [HUB_LOCAL] = name_local};
    struct buf text = {0}, in_store = {0};
    by_kind[r->kind](r, &text, &in_store);
    r->text = text.data;
    r->name = in_store.data;
}

status hub_ref_parse(struct hub_ref *out, const char *text, struct error *e)
{
    size_t n = strlen(text);
    status s;
    *out = (struct hub_ref){0};
    if (!n || n > MAX_TEXT) return fail(e, ERR_ARG, "a reference has 1 to %d characters", MAX_TEXT);
    for (size_t i = 0; i < n; i++)
        if (iscntrl((unsigned char)text[i])) return fail(e, ERR_ARG, "a reference has no control characters");
    if (!utf8_valid(text, n)) return fail(e, ERR_ARG, "a reference is UTF-8 text");
    char *copy = mem_strdup(text);
    s = parse(out, copy, e);
    free(copy);
    if (s == OK) {
        name(out);
        if (strlen(out->text) <= MAX_TEXT) return OK;
        s = fail(e, ERR_ARG, "written in full, the reference is longer than %d characters", MAX_TEXT);
    }
    hub_ref_deinit(out);
    return fail_in(e, "%.80s", text);
}
