/* Whether this machine is an instance at AWS, of which type, and what that means for running models.
 *
 * Asked once, on a thread of its own that nobody waits for: the instance metadata service (version 2, with
 * its token) where the machine's firmware says that it is Amazon's, or where a URL for it was given. Source:
 * AWS, "Use the Instance Metadata Service to access instance metadata". */
#ifndef CORRAL_POOL_AWS_H
#define CORRAL_POOL_AWS_H

#include "base/base.h"

struct aws_options {
    const char *url;        /* of the metadata service; NULL: $CORRAL_IMDS_URL, else http://169.254.169.254 */
    const char *sysfs_root; /* where the firmware's words are; NULL: $CORRAL_SYSFS, else /sys */
    uint32_t    timeout_ms; /* for each answer; 0: 1000 */
    void      (*on_answer)(void *user); /* on the thread, once it is known; may be NULL */
    void       *user;
};
struct aws_facts {
    bool known;          /* whether the rest is: the asking has ended */
    bool on_aws;
    char type[32];       /* "g5.xlarge"; "" when the service did not say */
    char zone[32];       /* "eu-central-1a" */
    const char *accelerator; /* "NVIDIA A10G, 24 GiB each"; NULL: none, or a type that is not known */
    const char *backend; /* for --backend: "cuda" or "cpu" */
    const char *advice;  /* one line for people; "" when there is nothing to say */
};

struct aws;
status aws_open(struct aws **out, const struct aws_options *o, struct error *e); /* o may be NULL */
void   aws_facts(struct aws *a, struct aws_facts *out); /* any thread, at once */
void   aws_close(struct aws *a); /* ends the asking; NULL is fine */

/* What a type has, from the table alone: accelerator, backend, advice. */
void   aws_describe(const char *type, struct aws_facts *out);

#endif
