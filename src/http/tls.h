/* TLS for connections; only tls.c knows OpenSSL. */
#ifndef CORRAL_HTTP_TLS_H
#define CORRAL_HTTP_TLS_H

#include "base/base.h"

struct tls;
struct bufferevent;
struct event_base;

/* PEM files: the certificate with its chain, its key (NULL: in the same file), and the authorities whose
 * certificates clients must show (NULL: none asked for). h2: offer HTTP/2. */
status tls_new(struct tls **out, const char *cert, const char *key, const char *client_ca, bool h2,
               struct error *e);
void   tls_free(struct tls *t);
/* Read the files again, for connections to come; after a failure the old ones stay. One thread at a time. */
status tls_reload(struct tls *t, struct error *e);
bool   tls_changed(const struct tls *t); /* are the files others than those that were read? */

/* A connection that is being accepted, and its session, which lives as long. Any thread. */
struct bufferevent *tls_bufferevent(struct tls *t, struct event_base *base, int fd, void **session);
bool tls_chose_h2(void *session);
void tls_say_goodbye(void *session); /* close_notify */

#endif
