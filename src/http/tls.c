/* TLS 1.2 and 1.3 by OpenSSL. The certificate can change while connections run: each takes the context that
 * is current when it begins and keeps it. */
#include "http/tls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/log.h"

struct tls {
    char *cert, *key, *client_ca;
    bool h2;
    pthread_mutex_t lock; /* guards ctx */
    SSL_CTX *ctx;
    struct stat cert_at, key_at; /* of the files as they were read */
};

static status tls_fail(struct error *e, const char *what, const char *path)
{
    char why[160];
    unsigned long code = ERR_peek_last_error();
    ERR_error_string_n(code, why, sizeof why);
    const char *reason = ERR_reason_error_string(code);
    ERR_clear_error();
    return fail(e, ERR_FORMAT, "%s %s: %s", what, path, reason ? reason : why);
}

/* The client's list in the server's order of preference. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out, const unsigned char *in,
                           unsigned n_in, void *arg)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    const struct tls *t = arg;
    const unsigned char *mine = t->h2 ? both : both + 3;
    unsigned n_mine = (unsigned)(sizeof both - 1) - (t->h2 ? 0 : 3);
    if (SSL_select_next_proto((unsigned char **)out, n_out, mine, n_mine, in, n_in) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static status load(const struct tls *t, SSL_CTX **out, struct error *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    status s = OK;
    if (!ctx) return fail(e, ERR_MEMORY, "cannot set up TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS); /* an idle connection needs none */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"corral", 6);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, (void *)t);
    if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) s = tls_fail(e, "TLS", "ciphers");
    if (s == OK && SSL_CTX_use_certificate_chain_file(ctx, t->cert) != 1)
        s = tls_fail(e, "cannot use the certificate", t->cert);
    if (s == OK && SSL_CTX_use_PrivateKey_file(ctx, t->key, SSL_FILETYPE_PEM) != 1)
        s = tls_fail(e, "cannot use the private key", t->key);
    if (s == OK && SSL_CTX_check_private_key(ctx) != 1) s = tls_fail(e, "not the certificate's key:", t->key);
    if (s == OK && t->client_ca) {
        if (SSL_CTX_load_verify_locations(ctx, t->client_ca, NULL) != 1)
            s = tls_fail(e, "cannot use the authorities for clients", t->client_ca);
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(t->client_ca));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (s == OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return s;
}

status tls_new(struct tls **out, const char *cert, const char *key, const char *client_ca, bool h2,
               struct error *e)
{
    struct tls *t = mem_zalloc(1, sizeof *t);
    t->cert = mem_strdup(cert);
    t->key = mem_strdup(key ? key : cert);
    t->client_ca = client_ca ? mem_strdup(client_ca) : NULL;
    t->h2 = h2;
    pthread_mutex_init(&t->lock, NULL);
    status s = tls_reload(t, e);
    if (s != OK) {
        tls_free(t);
        return s;
    }
    *out = t;
    return OK;
}

void tls_free(struct tls *t)
{
    if (!t) return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t->cert);
    free(t->key);
    free(t->client_ca);
    free(t);
}

status tls_reload(struct tls *t, struct error *e)
{
    SSL_CTX *fresh = NULL, *old;
    /* Looked at before reading: a change in between is then seen as one more. */
    if (stat(t->cert, &t->cert_at) != 0) memset(&t->cert_at, 0, sizeof t->cert_at);
    if (stat(t->key, &t->key_at) != 0) memset(&t->key_at, 0, sizeof t->key_at);
    TRY(load(t, &fresh, e));
    pthread_mutex_lock(&t->lock);
    old = t->ctx;
    t->ctx = fresh;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return OK;
}

static bool differs(const char *path, const struct stat *was)
{
    struct stat now;
    if (stat(path, &now) != 0) return false; /* being replaced: look again later */
    return now.st_ino != was->st_ino || now.st_size != was->st_size ||
           now.st_mtim.tv_sec != was->st_mtim.tv_sec || now.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
}

bool tls_changed(const struct tls *t)
{
    return differs(t->cert, &t->cert_at) || differs(t->key, &t->key_at);
}

struct bufferevent *tls_bufferevent(struct tls *t, struct event_base *base, int fd, void **session)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx); /* holds the context */
    pthread_mutex_unlock(&t->lock);
    if (!ssl) return NULL;
    struct bufferevent *bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                             BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!bev) {
        SSL_free(ssl);
        return NULL;
    }
    /* Many clients just close; HTTP says by itself where a message ends. */
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    *session = ssl;
    return bev;
}

bool tls_chose_h2(void *session)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(session, &name, &n);
    return n == 2 && !memcmp(name, "h2", 2);
}

void tls_say_goodbye(void *session)
{
    SSL_shutdown(session); /* what does not fit the socket is not worth waiting for */
    ERR_clear_error();
}
