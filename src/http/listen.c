/* Sockets to listen on: TCP, Unix, and those that another process passes. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/http_int.h"

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return 0;
    if (a.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return a.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&a)->sin_port) : 0;
}

status listen_unix(int *out, const char *path, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path)
        return fail(e, ERR_ARG, "%s: the path of a Unix socket is at most %zu bytes", path,
                    sizeof a.sun_path - 1);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(e, ERR_IO, "socket: %s", strerror(errno));
    /* A socket file that nobody listens on is left over from a server that was killed. */
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && connect(fd, (struct sockaddr *)&a, sizeof a) != 0 &&
        errno == ECONNREFUSED)
        unlink(path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(e, ERR_IO, "socket: %s", strerror(errno));
    mode_t old = umask(0177); /* the owner only, from the first moment */
    int r = bind(fd, (struct sockaddr *)&a, sizeof a);
    int why = errno;
    umask(old);
    if (r != 0) {
        close(fd);
        return fail(e, ERR_IO, "cannot listen on %s: %s", path,
                    why == EADDRINUSE ? "another process does, or a file is in the way" : strerror(why));
    }
    *out = fd;
    return OK;
}

/* The first socket is bound without SO_REUSEPORT, so that a port in use is an error even when its owner set
 * that; then it gets the option, and the others share the port with it. */
static int bind_one(const struct addrinfo *a, uint16_t port, bool share)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol), one = 1;
    struct sockaddr_storage at = {0};
    if (fd < 0) return -1;
    memcpy(&at, a->ai_addr, a->ai_addrlen);
    if (at.ss_family == AF_INET6) ((struct sockaddr_in6 *)&at)->sin6_port = htons(port);
    if (at.ss_family == AF_INET) ((struct sockaddr_in *)&at)->sin_port = htons(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (share) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, a->ai_addrlen) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

status listen_tcp(int *out, size_t n, uint16_t *port_out, const char *host, uint16_t port, struct error *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL, *a;
    char service[8];
    int one = 1, why = 0;
    snprintf(service, sizeof service, "%u", port);
    int r = getaddrinfo(host, service, &hints, &list);
    if (r != 0) return fail(e, ERR_ARG, "cannot listen on %s: %s", host, gai_strerror(r));
    for (a = list; a; a = a->ai_next) {
        out[0] = bind_one(a, port, false);
        if (out[0] >= 0) break;
        why = errno;
    }
    if (out[0] >= 0) {
        *port_out = port_of(out[0]);
        if (n > 1) setsockopt(out[0], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        for (size_t i = 1; i < n; i++) {
            out[i] = bind_one(a, *port_out, true);
            if (out[i] < 0) why = errno;
        }
    }
    freeaddrinfo(list);
    for (size_t i = 0; i < n; i++) {
        if (out[i] >= 0) continue;
        if (why == EADDRINUSE)
            return fail(e, ERR_IO,
                        "port %u on %s is taken by another process: stop it, or choose another port with "
                        "--port (0: any free one)",
                        port, host);
        return fail(e, ERR_IO, "cannot listen on port %u of %s: %s%s", port, host, strerror(why),
                    why == EACCES ? " (ports below 1024 need privileges)" : "");
    }
    return OK;
}

status listen_passed(int *out, int fd, uint16_t *port_out, struct error *e)
{
    int type = 0, on = 0;
    socklen_t n = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM)
        return fail(e, ERR_ARG, "descriptor %d, passed to listen on, is no stream socket", fd);
    n = sizeof on;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) != 0 || !on)
        return fail(e, ERR_ARG, "descriptor %d, passed to listen on, does not listen", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        return fail(e, ERR_IO, "descriptor %d: %s", fd, strerror(errno));
    *port_out = port_of(fd);
    *out = fd;
    return OK;
}
