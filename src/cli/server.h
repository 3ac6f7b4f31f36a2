/* What every command that listens has in common: the rows of options about where, for whom, how many and how
 * long, and from them a server, its log and its signals. */
#ifndef CORRAL_CLI_SERVER_H
#define CORRAL_CLI_SERVER_H

#include "api/keys.h"
#include "cli/opt.h"
#include "http/http.h"

struct server_options {
    const char *host, *socket, *tls_cert, *tls_key, *tls_client_ca, *api_key_file, *proxy_header;
    struct opt_list api_key, cors, trusted_proxy;
    int64_t port, max_body, max_upload, max_head, max_connections, max_per_address, max_streams;
    int64_t http_threads, hsts;
    double handshake_timeout, head_timeout, body_timeout, write_timeout, idle_timeout, drain_timeout;
    bool log_json, quiet, half_close;
};

#define SERVER_SECONDS(o, flag, field, d, text)                                                           \
    {.name = flag, .type = OPT_FLOAT, .at = &(o).field, .min = 0.05, .max = 86400, .def = d, .unit = "s", \
     .help = text}

/* o: a struct server_options with static storage. */
#define SERVER_OPTS(o)                                                                                    \
    {.name = "", .help = "Where"},                                                                        \
    {.name = "host", .type = OPT_STR, .at = &(o).host, .def = "127.0.0.1", .arg = "ADDRESS", .help =      \
     "address to listen on; 0.0.0.0 or :: for all"},                                                      \
    {.name = "port", .type = OPT_INT, .at = &(o).port, .min = 0, .max = 65535, .def = "8080", .help =     \
     "port to listen on; 0: any free one, which is printed"},                                             \
    {.name = "socket", .type = OPT_STR, .at = &(o).socket, .arg = "PATH",                                 \
     .help = "listen on this Unix socket instead"},                                                       \
    {.name = "", .help = "Who"},                                                                          \
    {.name = "api-key", .type = OPT_LIST, .at = &(o).api_key, .arg = "KEY",                               \
     .help = "clients must send this key (better in the environment: others can see flags)"},             \
    {.name = "api-key-file", .type = OPT_STR, .at = &(o).api_key_file, .arg = "FILE",                     \
     .help = "keys, one per line; # begins a comment"},                                                   \
    {.name = "tls-cert", .type = OPT_STR, .at = &(o).tls_cert, .arg = "FILE",                             \
     .help = "serve https with this certificate and chain (PEM); read again on SIGHUP and on change"},    \
    {.name = "tls-key", .type = OPT_STR, .at = &(o).tls_key, .arg = "FILE",                               \
     .help = "its private key; default: in the certificate's file"},                                      \
    {.name = "tls-client-ca", .type = OPT_STR, .at = &(o).tls_client_ca, .arg = "FILE",                   \
     .help = "clients must show a certificate of one of these authorities"},                              \
    {.name = "hsts", .type = OPT_INT, .at = &(o).hsts, .min = 0, .max = 1000000000, .def = "0",           \
     .unit = "s",                                                                                         \
     .help = "with TLS: browsers shall use nothing else for so long (Strict-Transport-Security); 0: no"}, \
    {.name = "cors-origin", .type = OPT_LIST, .at = &(o).cors, .arg = "ORIGIN",                           \
     .help = "web pages from here may use the server, e.g. https://chat.example; * for all"},             \
    {.name = "", .help = "Connections"},                                                                  \
    {.name = "max-connections", .type = OPT_INT, .at = &(o).max_connections, .min = 1, .max = 1000000,    \
     .def = "1024", .help = "connections at once; more are answered 503"},                                \
    {.name = "max-per-address", .type = OPT_INT, .at = &(o).max_per_address, .min = 0, .max = 1000000,    \
     .def = "0", .unit = "connections",                                                                   \
     .help = "at once from one address (an IPv6 /64); more are answered 503; 0: no limit"},               \
    {.name = "trusted-proxy", .type = OPT_LIST, .at = &(o).trusted_proxy, .arg = "ADDRESS",               \
     .help = "a proxy that is believed whom it serves; or a network like 10.0.0.0/8, or unix"},           \
    {.name = "proxy-header", .type = OPT_STR, .at = &(o).proxy_header, .def = "x-forwarded-for",          \
     .choices = "x-forwarded-for|forwarded",                                                              \
     .help = "where it says so: the one that your proxy writes, as clients can send the other"},          \
    {.name = "max-streams", .type = OPT_INT, .at = &(o).max_streams, .min = 1, .max = 100000,             \
     .def = "128", .unit = "requests",                                                                    \
     .help = "at once on one HTTP/2 connection; more wait at the client or are refused"},                 \
    {.name = "http-threads", .type = OPT_INT, .at = &(o).http_threads, .min = 1, .max = 64, .def = "1",   \
     .help = "how many serve connections; one is enough for thousands of streams"},                       \
    {.name = "max-body", .type = OPT_INT, .at = &(o).max_body, .min = 1, .max = 1 << 30, .def = "16M",    \
     .unit = "bytes", .help = "of a request's body at most; larger ones are answered 413"},               \
    {.name = "max-upload", .type = OPT_INT, .at = &(o).max_upload, .min = 1, .max = 1LL << 50, .def =     \
     "256G", .unit = "bytes", .help = "of an uploaded file at most"},                                     \
    {.name = "max-head", .type = OPT_INT, .at = &(o).max_head, .min = 1024, .max = 1 << 20, .def =        \
     "32k", .unit = "bytes", .help = "of a request's header at most; larger ones are answered 431"},      \
    {.name = "", .help = "How long things may take"},                                                     \
    SERVER_SECONDS(o, "handshake-timeout", handshake_timeout, "10", "a TLS handshake"),                   \
    SERVER_SECONDS(o, "head-timeout", head_timeout, "10", "until a request's header is here"),            \
    SERVER_SECONDS(o, "body-timeout", body_timeout, "60",                                                 \
                   "until its body is here; for an upload, until the next 64 KiB are"),                   \
    SERVER_SECONDS(o, "write-timeout", write_timeout, "30", "until a client takes what waits for it"),    \
    SERVER_SECONDS(o, "idle-timeout", idle_timeout, "75", "between two requests of a connection"),        \
    SERVER_SECONDS(o, "drain-timeout", drain_timeout, "30",                                               \
                   "until answers under way have ended, after SIGTERM or SIGINT"),                        \
    {.name = "half-close-answers", .type = OPT_BOOL, .at = &(o).half_close,                               \
     .help = "answer a client that has shut its sending side (default: it has gone)"},                    \
    {.name = "", .help = "Log (stderr)"},                                                                 \
    {.name = "log-json", .type = OPT_BOOL, .at = &(o).log_json, .help = "one JSON object per line"},      \
    {.name = "quiet", .letter = 'q', .type = OPT_BOOL, .at = &(o).quiet,                                  \
     .help = "warnings and errors only"}

status server_options_check(const struct server_options *o, struct error *e);
/* Levels and form of the log, and descriptors for so many connections. */
void   server_begin(const struct server_options *o);
status server_read_keys(const struct server_options *o, struct api_keys *out, struct error *e);
/* Bound, not listening. keys: borrowed. */
status server_bind(struct http_server **out, const struct server_options *o, struct api_keys *keys,
                   struct error *e);
bool   server_replaces(void); /* it was bound with the sockets of a process that goes when this one serves */
/* SIGTERM and SIGINT drain, a second one quits, SIGHUP reads certificates again, SIGUSR2 hands over. */
void   server_catch_signals(struct http_server *s, const struct server_options *o);
/* SIGUSR2 is only noted from now on: somebody asks whether it came, and calls http_server_hand_over. */
void   server_defer_hand_over(void);
bool   server_hand_over_wanted(void);
/* On standard output: where it serves what, and a line to try it with. */
struct server_ready {
    const char *model, *backend;
    uint32_t    context, parallel;
    bool        chat; /* the model holds conversations */
};
void   server_print_ready(const struct http_server *s, const struct server_options *o,
                          const struct server_ready *r);
uint32_t server_ms(double seconds);

#endif
