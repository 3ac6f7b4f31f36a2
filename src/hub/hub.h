/* Where models come from: references that people write, and what stands behind them.
 *
 * A reference is text; hub_ref_parse tells what it names without asking anybody. A source then says which
 * files that are and where they lie (hub_plan), which download.h fetches. pulls.h makes jobs of all this. */
#ifndef CORRAL_HUB_H
#define CORRAL_HUB_H

#include "base/base.h"

struct sockaddr;

/* ---- references -------------------------------------------------------------------------------------- */

enum hub_kind {
    HUB_HF,     /* hf:ORG/REPO[:QUANT | /FILE.gguf][@REV], also hf.co/..., huggingface.co/..., ORG/REPO */
    HUB_OLLAMA, /* NAME[:TAG], ollama:NS/NAME[:TAG], HOST/NS/NAME[:TAG] */
    HUB_S3,     /* s3://BUCKET/KEY, s3://BUCKET/FOLDER/ */
    HUB_HTTP,   /* http://... or https://... */
    HUB_LOCAL   /* /PATH, ./PATH, ../PATH, ~/PATH, file:PATH, NAME.gguf */
};

struct hub_ref {
    enum hub_kind kind;
    char *text; /* written in full: two references that mean the same have the same */
    char *name; /* of the model in the store, unless the user gives it another: "hf.co/org/repo:q4_k_m" */
    char *host; /* HUB_OLLAMA: the registry; NULL: hub_config's */
    char *repo; /* ORG/REPO, NS/NAME, BUCKET, URL or PATH */
    char *tag;  /* quantization, or a tag; NULL: not said */
    char *file; /* in the repository, or the S3 key; NULL: to be chosen */
    char *rev;  /* branch, tag or commit; NULL: not said */
};

/* ERR_ARG says what is wrong, and how to write it. */
status hub_ref_parse(struct hub_ref *out, const char *text, struct error *e);
void   hub_ref_deinit(struct hub_ref *r); /* a zeroed one is fine */

/* ---- settings ---------------------------------------------------------------------------------------- */

struct hub_config { /* strings are borrowed */
    const char *hf_endpoint; /* HF_ENDPOINT, https://huggingface.co */
    const char *hf_token;    /* HF_TOKEN, else what is in this file: */
    const char *hf_token_file; /* HF_TOKEN_PATH, else the one that the hub's own tools write */
    const char *registry;    /* CORRAL_REGISTRY, https://registry.ollama.ai */
    const char *s3_endpoint; /* AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; NULL: Amazon's */
    const char *s3_region;   /* AWS_REGION, AWS_DEFAULT_REGION, us-east-1 */
    const char *s3_key, *s3_secret, *s3_session; /* AWS_ACCESS_KEY_ID, ...; NULL: requests are not signed */
    const char *ca_file;     /* authorities to trust; NULL: the system's */
    uint32_t    stall_ms;    /* nothing came for so long: the connection is given up; 0: 30 s */
    uint32_t    slow_ms;     /* much slower than others for so long when nothing else is to do: another
                              * connection takes over; 0: 10 s */
    uint32_t    max_tries;   /* in a row without a byte; 0: 8 */
    uint32_t    retry_ms;    /* before the second try, then doubled up to 60 times that; 0: 500 ms */
    /* May hosts that users choose (URLs, registries) have this address? http_address_is_public; see
     * http/client.h. The hosts named above may be anywhere. NULL: all may. */
    bool (*may_connect)(void *user, const struct sockaddr *a);
    void  *may_connect_user;
    bool   no_local; /* references to files of this machine are refused */
};

/* A copy with what is NULL taken from the environment, then from the defaults. It owns its strings. */
void hub_config_init(struct hub_config *out, const struct hub_config *given /* may be NULL */);
void hub_config_deinit(struct hub_config *c);

/* ---- what stands behind a reference ------------------------------------------------------------------ */

#define HUB_UNKNOWN UINT64_MAX
enum { HUB_MAX_FILES = 512 }; /* of one model: all of them are open while they come */

struct hub_file {
    char    *path;   /* relative, in the model's folder; no "..", no leading '/' */
    char    *url;    /* HUB_LOCAL: a path */
    uint64_t bytes;  /* HUB_UNKNOWN: the server will say */
    char    *digest; /* "sha256:HEX", "git:HEX" (SHA-1 as git names a blob), "": nobody said */
};

struct hub_plan {
    struct hub_file *file;
    size_t           n_file, main; /* main: the one a model is opened by */
    bool             folder;       /* the model is the folder, not one file of it (safetensors) */
    char            *revision;     /* the commit, the manifest's digest, ...; "": none */
    char            *details;      /* options of the model that the source says, a JSON object, or NULL */
};
void hub_plan_deinit(struct hub_plan *p); /* a zeroed one is fine */

#endif
