/* systemd's two protocols, each a few lines, so that its library is not needed: sockets passed at start
 * (sd_listen_fds(3)) and notifications (sd_notify(3)). */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/http.h"

enum { FIRST_PASSED = 3 };

status http_passed_socket(int *out, struct error *e)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    *out = 0;
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid()) return OK;
    long n = strtol(count, NULL, 10);
    unsetenv("LISTEN_PID"); /* not meant for children */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (n == 0) return OK;
    if (n != 1) return fail(e, ERR_ARG, "%ld sockets were passed to listen on, but this serves one", n);
    *out = FIRST_PASSED;
    return OK;
}

void http_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof a.sun_path || (path[0] != '/' && path[0] != '@')) return;
    memcpy(a.sun_path, path, n);
    if (path[0] == '@') a.sun_path[0] = 0; /* an abstract address */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    ssize_t r = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)r; /* nobody listens: nothing to do about it */
    close(fd);
}
