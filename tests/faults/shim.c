/* System calls that fail when they are told to. Loaded with LD_PRELOAD, told by fault().
 *
 *   fault(call, error, fd, skip, times, most)
 *       The calls of this name on `fd` (-1: on any) fail with `error`, after `skip` that don't, `times` times (-1: for
 *       ever). With error 0 they do less than they are asked to: at most `most` bytes.
 *   chaos(seed, permille)
 *       Each transfer and each wait fails with EINTR, fails with EAGAIN or is cut short, each as often as said. Only what
 *       any of these calls may do at any time.
 *   hits()      how often any of it struck
 *   calm()      forget all
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

enum { RULES = 16 };

static struct rule {
    char call[24];
    int error, fd, skip, times;
    long most;
} rules[RULES];

static volatile int count;
static int struck;
static unsigned long long state;
static unsigned often;

int fault(const char *call, int error, int fd, int skip, int times, long most)
{
    if (count == RULES || strlen(call) >= sizeof rules->call)
        return -1;
    struct rule *r = &rules[count];
    strcpy(r->call, call);
    r->error = error;
    r->fd = fd;
    r->skip = skip;
    r->times = times;
    r->most = most;
    count++;
    return 0;
}

void chaos(unsigned seed, unsigned permille)
{
    state = seed * 2654435761u + 1;
    often = permille;
}

int hits(void) { return struck; }

void calm(void)
{
    count = 0;
    struck = 0;
    often = 0;
}

static unsigned chance(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % 1000);
}

enum { TRANSFER = 1, WAIT = 2, NONE = 0 };

/* True if the call is to fail, with errno set. `size`, where there is one, may become smaller. */
static int strikes(const char *call, int fd, size_t *size, int kind)
{
    for (int i = 0; i < count; i++) {
        struct rule *r = &rules[i];
        if (strcmp(r->call, call) || (r->fd != -1 && r->fd != fd) || r->times == 0)
            continue;
        if (r->skip > 0) {
            r->skip--;
            continue;
        }
        if (r->times > 0)
            r->times--;
        struck++;
        if (r->error) {
            errno = r->error;
            return 1;
        }
        if (size && (long)*size > r->most)
            *size = (size_t)r->most;
    }
    if (often && kind) {
        unsigned n = chance();
        if (n < often) {
            struck++;
            errno = EINTR;
            return 1;
        }
        if (kind == TRANSFER && n < 2 * often) {
            struck++;
            errno = EAGAIN;
            return 1;
        }
        if (kind == TRANSFER && size && *size > 1 && n < 3 * often) {
            struck++;
            *size = 1 + chance() % *size;
        }
    }
    return 0;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* a datagram isn't cut short */
static int is_stream(int fd)
{
    int type = 0, error = errno;
    socklen_t n = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n);
    errno = error;
    return type == SOCK_STREAM;
}

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    REAL(recv);
    return strikes("recv", fd, is_stream(fd) ? &size : NULL, TRANSFER) ? -1 : real(fd, buffer, size, flags);
}

ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags, struct sockaddr *restrict a, socklen_t *restrict n)
{
    REAL(recvfrom);
    return strikes("recvfrom", fd, is_stream(fd) ? &size : NULL, TRANSFER) ? -1 : real(fd, buffer, size, flags, a, n);
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    REAL(send);
    return strikes("send", fd, is_stream(fd) ? &size : NULL, TRANSFER) ? -1 : real(fd, buffer, size, flags);
}

ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *a, socklen_t n)
{
    REAL(sendto);
    return strikes("sendto", fd, is_stream(fd) ? &size : NULL, TRANSFER) ? -1 : real(fd, buffer, size, flags, a, n);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    size_t size = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += message->msg_iov[i].iov_len;
    size_t allowed = size;
    if (strikes("sendmsg", fd, &allowed, TRANSFER))
        return -1;
    if (allowed == size || message->msg_iovlen == 0)
        return real(fd, message, flags);
    /* less: of the first piece only */
    struct iovec first = message->msg_iov[0];
    if (first.iov_len > allowed)
        first.iov_len = allowed;
    struct msghdr less = *message;
    less.msg_iov = &first;
    less.msg_iovlen = 1;
    return real(fd, &less, flags);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    REAL(sendfile);
    return strikes("sendfile", out, &size, TRANSFER) ? -1 : real(out, in, offset, size);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size)
{
    REAL(sendfile64);
    return strikes("sendfile", out, &size, TRANSFER) ? -1 : real(out, in, offset, size);
}

/* of pipes and the like, by rule only: everything reads and writes */
ssize_t read(int fd, void *buffer, size_t size)
{
    REAL(read);
    return strikes("read", fd, &size, NONE) ? -1 : real(fd, buffer, size);
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    REAL(write);
    return strikes("write", fd, &size, NONE) ? -1 : real(fd, buffer, size);
}

int accept4(int fd, struct sockaddr *restrict a, socklen_t *restrict n, int flags)
{
    REAL(accept4);
    return strikes("accept4", fd, NULL, TRANSFER) ? -1 : real(fd, a, n, flags);
}

int connect(int fd, const struct sockaddr *a, socklen_t n)
{
    REAL(connect);
    /* interrupted, it goes on by itself */
    if (strikes("connect", fd, NULL, NONE)) {
        int error = errno;
        if (error == EINTR || error == EINPROGRESS)
            real(fd, a, n);
        errno = error;
        return -1;
    }
    return real(fd, a, n);
}

int socket(int family, int type, int protocol)
{
    REAL(socket);
    return strikes("socket", -2, NULL, NONE) ? -1 : real(family, type, protocol);
}

int pipe2(int fds[2], int flags)
{
    REAL(pipe2);
    return strikes("pipe", -2, NULL, NONE) ? -1 : real(fds, flags);
}

int pipe(int fds[2])
{
    REAL(pipe);
    return strikes("pipe", -2, NULL, NONE) ? -1 : real(fds);
}

int socketpair(int family, int type, int protocol, int fds[2])
{
    REAL(socketpair);
    return strikes("pipe", -2, NULL, NONE) ? -1 : real(family, type, protocol, fds);
}

int eventfd(unsigned value, int flags)
{
    REAL(eventfd);
    return strikes("pipe", -2, NULL, NONE) ? -1 : real(value, flags);
}

int epoll_create1(int flags)
{
    REAL(epoll_create1);
    return strikes("epoll_create", -2, NULL, NONE) ? -1 : real(flags);
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl);
    if (op != EPOLL_CTL_DEL && strikes(op == EPOLL_CTL_ADD ? "epoll_add" : "epoll_mod", fd, NULL, NONE))
        return -1;
    return real(ep, op, fd, event);
}

int epoll_wait(int ep, struct epoll_event *events, int most, int timeout)
{
    REAL(epoll_wait);
    return strikes("epoll_wait", ep, NULL, WAIT) ? -1 : real(ep, events, most, timeout);
}

long syscall(long number, ...)
{
    REAL(syscall);
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_epoll_pwait2 && strikes("epoll_wait", (int)a[0], NULL, WAIT))
        return -1;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
