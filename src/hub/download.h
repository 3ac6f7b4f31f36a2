/* Files from URLs to disk: in parts over several connections, going on where an earlier try stopped, and
 * checked.
 *
 * A file grows in place at its path; beside it lies PATH.parts, which says how far each part is and with
 * which checksum, so that a later process goes on from there. One thread runs a download; a second one, its
 * own, reads what has arrived, compares it with what was received, and computes the digest. */
#ifndef CORRAL_HUB_DOWNLOAD_H
#define CORRAL_HUB_DOWNLOAD_H

#include "hub/hub.h"

struct http_client;
struct hub_session;
struct hub_source;

struct download_item {
    const char *path;   /* where it grows; its folder is there */
    const char *url;
    const char *name;   /* in messages */
    const char *digest; /* "sha256:HEX", "git:HEX" or "" */
    uint64_t    bytes;  /* HUB_UNKNOWN: the server will say */
};

struct download_options { /* all borrowed */
    const struct hub_source *source; /* what to send along, and what answers mean */
    struct hub_session      *session;
    const struct hub_ref    *ref;
    uint32_t connections; /* at once, for all files; 0: 4 */
    uint64_t part_bytes;  /* 0: 64 MiB */
};

struct download;
/* Opens and locks the files, takes up what is there. ERR_BUSY: another download has one of them. */
status download_new(struct download **out, const struct download_item *items, size_t n,
                    const struct download_options *o, struct error *e);
/* Until all files are there and checked, or it failed, or the session was cancelled: then what came stays for
 * the next time. A file whose digest is another in the end is removed (ERR_FORMAT). */
status download_run(struct download *d, struct error *e);
void   download_free(struct download *d); /* NULL is fine */

/* From any thread, while the download exists. */
enum download_phase { DOWNLOAD_WAITING, DOWNLOAD_RUNNING, DOWNLOAD_CHECKING, DOWNLOAD_DONE };
struct download_state {
    enum download_phase phase;
    uint64_t bytes, total; /* total: HUB_UNKNOWN as long as nobody said */
    uint64_t fetched;      /* by this process */
};
void download_file_state(const struct download *d, size_t i, struct download_state *out);
/* "sha256:HEX" of a file that is DONE. */
const char *download_digest(const struct download *d, size_t i);
/* Removes what an unfinished download left. */
void download_discard(const char *path);

#endif
