/* The owner's view of a download: its files, their parts, the calls that fetch them. */
#ifndef CORRAL_HUB_DOWNLOAD_INT_H
#define CORRAL_HUB_DOWNLOAD_INT_H

#include <pthread.h>
#include <openssl/evp.h>

#include "hub/download.h"
#include "hub/hub_int.h"

enum { DOWNLOAD_MAX_PARTS = 1 << 16, DOWNLOAD_SAVE_MS = 1000 };

struct part {
    uint64_t have; /* so many of its bytes are in the file, from its beginning */
    uint32_t crc;  /* of those, as they were received */
    uint32_t first_crc; /* when fetched a second time: what it was before */
    bool     busy;      /* a call is on it */
    bool     doubtful;  /* the digest was wrong, and this part was not fetched a second time yet */
    bool     second;    /* that is being done */
    bool     moved;     /* it was slow, and began again on another connection */
    bool     damaged;   /* it came back different from the disk once */
};

struct file {
    struct download_item item; /* copies */
    char    *side;             /* the path of PATH.parts */
    int      fd;
    uint64_t bytes; /* HUB_UNKNOWN until it is known */
    uint64_t part_bytes;
    uint32_t n_part;
    struct part *part;
    char    *validator; /* the answer's ETag, else its Last-Modified; NULL: none yet */
    uint64_t have, fetched;
    bool     dirty; /* something changed since PATH.parts was written */

    /* the calls' side */
    bool     no_ranges; /* the server gives only the whole */
    uint32_t n_fetch, next; /* no part before next is missing */
    uint32_t tries, n_reset;
    int64_t  not_before_us;
    double   best_rate;

    /* the checking side */
    uint32_t epoch;    /* changes when what was read so far does not count */
    uint32_t check_at; /* parts before this one are in the digests */
    EVP_MD_CTX *sha, *git;
    bool     second;  /* the digest was wrong: parts are fetched a second time, and compared */
    uint32_t n_doubt; /* doubtful ones */
    bool     changed; /* one came out different */
    bool     done;
    char     digest[72];
};

struct fetch { /* a call, and where its bytes go */
    struct download *d;
    struct file *f;
    struct fetch *next;
    struct http_call *call;
    uint32_t part;
    bool     whole; /* of the file, whatever is there already; else of that part */
    bool     ranged; /* a part of the file was asked for */
    bool     refused; /* the answer is none of the file */
    uint64_t at, got;
    struct http_answer answer; /* of a refusal */
    char    *url;              /* after redirections, of a refusal */
    int64_t  start_us, rate_us;
    uint64_t rate_got;
    double   rate; /* bytes per second */
};

struct download {
    struct download_options o;
    struct file *file;
    size_t n_file;
    uint32_t connections, n_fetch;
    struct fetch *fetches;

    pthread_mutex_t lock; /* everything below, and of the files all but item, side, fd and the calls' side */
    pthread_cond_t  wake; /* the checking thread */
    pthread_t thread;
    bool     stop;
    status   result;
    struct error error;
};

static inline uint64_t part_start(const struct file *f, uint32_t i) { return i * f->part_bytes; }
static inline uint64_t part_size(const struct file *f, uint32_t i)
{
    return MIN(f->part_bytes, f->bytes - i * f->part_bytes);
}

/* download_fetch.c */
/* Ask for what is missing of the part, or of the file where it comes only as a whole. */
void fetch_start(struct download *d, struct file *f, uint32_t part);
void fetch_cancel(struct fetch *x); /* x is gone */

/* download_file.c: a file and PATH.parts. With the lock held, but for open and close. */
status file_open(struct file *f, const struct download_item *item, uint64_t part_bytes, struct error *e);
void   file_close(struct file *f);
void   file_resize(struct file *f, uint64_t bytes); /* known now: parts, none of which is there */
void   file_reset(struct file *f); /* it is another file by now: nothing of it is known or there */
void   file_drop_part(struct file *f, uint32_t i);
void   file_state(const struct file *f, struct buf *out); /* the text of PATH.parts */
status file_save(const struct file *f, const struct buf *text, struct error *e); /* no lock needed */
void   file_give_back(const struct file *f); /* the room of what did not come: perhaps nobody returns */
/* Is there room for what is missing? Then it is taken. ERR_LIMIT says how much is needed, and free. */
status download_take_room(const struct download *d, struct error *e);

/* download_check.c: the checking thread */
void *download_check(void *arg);
void  download_save(struct download *d);
/* The first counts. Takes the lock. */
void  download_fail(struct download *d, status s, const struct error *e);

#endif
