/* Answers that do not change from one request to the next: pages and scripts inside the program, files in a
 * folder. With ETag, If-None-Match, If-Modified-Since, Range and If-Range (RFC 9110, 13 and 14), HEAD, and
 * packed as the client accepts it. */
#ifndef CORRAL_HTTP_STATIC_H
#define CORRAL_HTTP_STATIC_H

#include "http/http.h"

/* Bytes in memory. The owner sets the first four; prepare packs them, so that requests need not. */
struct http_asset {
    const char *type;
    const void *data;
    size_t      n;
    const char *cache; /* Cache-Control; NULL: "no-cache", which asks each time whether it has changed */
    char        etag[24];
    struct buf  gzip, zstd;
};
void http_asset_prepare(struct http_asset *a);
void http_asset_deinit(struct http_asset *a);
void http_serve_asset(struct http_exchange *x, void *asset); /* a handler, for HTTP_BODY_NONE */

/* A file; type NULL: by its name. 404 when it is none. Disks are read on the loop's thread, so this is for
 * files that the system has in memory most of the time. */
void http_reply_file(struct http_exchange *x, const char *path, const char *type);
/* A handler for a path that ends in {path*}: that file under the folder; no segment may begin with a dot. */
void http_serve_folder(struct http_exchange *x, void *folder);

#endif
