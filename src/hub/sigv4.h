/* AWS Signature Version 4 in header fields.
 * Source: AWS IAM user guide, "Create a signed AWS API request"; Amazon S3 API reference, "Authenticating
 * Requests: Using the Authorization Header". */
#ifndef CORRAL_HUB_SIGV4_H
#define CORRAL_HUB_SIGV4_H

#include <time.h>

#include "hub/hub_int.h"

struct sigv4_key {
    const char *id, *secret, *session; /* session NULL: the key is no temporary one */
    const char *region, *service;
};
struct sigv4_request {
    const char *method, *url; /* percent-encoded; its path is signed as it stands (S3's way) */
    const char *body_sha256;  /* hexadecimal; NULL: no body */
    const struct http_header *header; /* others to sign */
    size_t n_header;
    time_t now;
};
/* Adds X-Amz-Date, Authorization and what belongs to them. */
void sigv4_sign(const struct sigv4_key *key, const struct sigv4_request *r, struct hub_fields *out);

#endif
