/* The load client: keeps connections to a server on this machine busy from one epoll loop.
 *
 *   load mode=echo    pid=SERVER port=N|path=P conns=N request=BYTES response=BYTES [line=N] [ops=N] [udp=1] warm=MS time=MS
 *       on each connection: send the request, read the response, again. The response has to equal the request where
 *       they are as long. With line=N every Nth byte is a newline. An exchange counts as `ops` operations. With udp=1 a
 *       connection is a UDP socket, and each request and response a datagram.
 *   load mode=connect pid=SERVER port=N conns=N [request=BYTES response=BYTES] warm=MS time=MS
 *       connect, send the request, read the response, read the end, close; again, `conns` of them side by side.
 *   load mode=hold    port=N conns=N
 *       make the first 100 connections, wait for a line on stdin, make the others, keep them.
 *   load mode=sink
 *       the other side: listen, send back what comes, and close when the peer does; and the same for datagrams that
 *       come to a UDP socket of the same port.
 *
 * It prints one line of JSON and keeps its connections until stdin ends. After the warm-up it reads the server's CPU
 * clock itself, so that both ends of the measurement fall between two messages. It only ever talks to 127.0.0.1 or to
 * a Unix socket, and never longer than two minutes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, CHUNK = 1 << 18 };

struct conn {
    int fd;
    size_t sent, got;
    bool waits_to_send;
};

static struct {
    const char *mode, *path;
    long pid, port, conns, request, response, line, ops, udp, warm, time;
} opt = {.mode = "", .path = "", .conns = 1, .ops = 1, .warm = 100, .time = 500};

static int ep;
static char *payload, *chunk;
static unsigned long exchanges;
static clockid_t server_clock;

static void die(const char *what)
{
    fprintf(stderr, "load client: %s", what);
    if (errno)
        fprintf(stderr, ": %s", strerror(errno));
    fputc('\n', stderr);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t))
        die("the server is gone");
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void parse(int argc, char **argv)
{
    struct { const char *name; long *value; } numbers[] = {
        {"pid", &opt.pid}, {"port", &opt.port}, {"conns", &opt.conns}, {"request", &opt.request},
        {"response", &opt.response}, {"line", &opt.line}, {"ops", &opt.ops}, {"udp", &opt.udp},
        {"warm", &opt.warm}, {"time", &opt.time},
    };
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            die("arguments are name=value");
        *value++ = 0;
        if (!strcmp(argv[i], "mode")) {
            opt.mode = value;
            continue;
        }
        if (!strcmp(argv[i], "path")) {
            opt.path = value;
            continue;
        }
        size_t k = 0, n = sizeof numbers / sizeof *numbers;
        while (k < n && strcmp(argv[i], numbers[k].name))
            k++;
        if (k == n)
            die("unknown argument");
        *numbers[k].value = atol(value);
    }
    if (opt.conns < 1 || opt.conns > 20000 || opt.warm + opt.time > 60000)
        die("out of bounds");
}

static int dial(int flags)
{
    union {
        struct sockaddr_in in;
        struct sockaddr_un un;
        struct sockaddr any;
    } address = {0};
    socklen_t length;
    if (*opt.path) {
        address.un.sun_family = AF_UNIX;
        strncpy(address.un.sun_path, opt.path, sizeof address.un.sun_path - 1);
        length = sizeof address.un;
    } else {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons((uint16_t)opt.port);
        address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        length = sizeof address.in;
    }
    int one = 1, type = opt.udp ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(address.any.sa_family, type | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, &address.any, length) && errno != EINPROGRESS)
        die("connect");
    if (!*opt.path && !opt.udp)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void watch(struct conn *c, int op, bool send_too)
{
    struct epoll_event event = {.events = EPOLLIN | (send_too ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(ep, op, c->fd, &event))
        die("epoll_ctl");
    c->waits_to_send = send_too;
}

static void send_request(struct conn *c)
{
    while (c->sent < (size_t)opt.request) {
        ssize_t n = send(c->fd, payload + c->sent, opt.request - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                die("send");
            if (!c->waits_to_send)
                watch(c, EPOLL_CTL_MOD, true);
            return;
        }
        c->sent += n;
    }
    if (c->waits_to_send)
        watch(c, EPOLL_CTL_MOD, false);
}

/* Returns what recv() does, but has checked the bytes. */
static ssize_t read_response(struct conn *c)
{
    ssize_t n = recv(c->fd, chunk, CHUNK, 0);
    if (n < 0 && errno == EAGAIN)
        return n;
    if (n < 0)
        die("recv");
    if (c->got + n > (size_t)opt.response) {
        errno = 0;
        die("the response is longer than it should be");
    }
    if (opt.response == opt.request && memcmp(chunk, payload + c->got, n)) {
        errno = 0;
        die("the response is not the request");
    }
    c->got += n;
    return n;
}

static void exchange(struct conn *c)
{
    ssize_t n = read_response(c);
    errno = 0;
    if (n == 0)
        die("the server closed a connection");
    if (n > 0 && c->got == (size_t)opt.response) {
        exchanges++;
        c->sent = c->got = 0;
        send_request(c);
    }
}

static void begin_connection(struct conn *c)
{
    c->fd = dial(SOCK_NONBLOCK);
    c->sent = c->got = 0;
    watch(c, EPOLL_CTL_ADD, opt.request > 0);
}

static void connection(struct conn *c)
{
    ssize_t n = read_response(c);
    if (n != 0)
        return;
    errno = 0;
    if (c->got < (size_t)opt.response)
        die("the server closed before its whole response");
    close(c->fd);
    exchanges++;
    begin_connection(c);
}

static void wait_for_stdin(void)
{
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
}

static void drive(bool echo)
{
    struct epoll_event events[EVENTS];
    struct conn *conns = calloc(opt.conns, sizeof *conns);
    if (clock_getcpuclockid((pid_t)opt.pid, &server_clock))
        die("no such server");
    for (long i = 0; i < opt.conns; i++) {
        struct conn *c = &conns[i];
        if (!echo) {
            begin_connection(c);
            continue;
        }
        c->fd = dial(0);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        watch(c, EPOLL_CTL_ADD, false);
        send_request(c);
    }

    double start = seconds(CLOCK_MONOTONIC), marked = 0, server = 0, own = 0;
    unsigned long before = 0;
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, 5000);
        errno = 0;
        if (n == 0)
            die("nothing came for five seconds");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_request(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                (echo ? exchange : connection)(c);
        }
        double now = seconds(CLOCK_MONOTONIC);
        if (!marked) {
            if (now - start < opt.warm / 1e3)
                continue;
            before = exchanges;
            own = seconds(CLOCK_PROCESS_CPUTIME_ID);
            server = seconds(server_clock);
            marked = now;
        } else if (now - marked >= opt.time / 1e3 && exchanges > before) {
            server = seconds(server_clock) - server;
            own = seconds(CLOCK_PROCESS_CPUTIME_ID) - own;
            printf("{\"ops\": %lu, \"cpu\": %.9f, \"wall\": %.9f, \"client_cpu\": %.9f}\n",
                   (exchanges - before) * opt.ops, server, now - marked, own);
            fflush(stdout);
            wait_for_stdin();
            return;
        }
    }
}

static void hold(void)
{
    for (long i = 0; i < opt.conns; i++) {
        char byte;
        if (i == 100 && read(0, &byte, 1) != 1)
            die("stdin ended");
        dial(0);
    }
    printf("{\"held\": %ld}\n", opt.conns);
    fflush(stdout);
    wait_for_stdin();
}

static void sink(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS], in = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1024)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        die("listen");
    int datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(datagrams, (struct sockaddr *)&address, length))
        die("bind");
    in.data.fd = listener;
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &in);
    in.data.fd = datagrams;
    epoll_ctl(ep, EPOLL_CTL_ADD, datagrams, &in);
    in.data.fd = 0;
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &in);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0)
                return;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    in.data.fd = fd;
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &in);
                }
                continue;
            }
            if (fd == datagrams) {
                length = sizeof address;
                ssize_t size = recvfrom(fd, chunk, CHUNK, 0, (struct sockaddr *)&address, &length);
                if (size >= 0)
                    sendto(fd, chunk, size, 0, (struct sockaddr *)&address, length);
                continue;
            }
            ssize_t got = recv(fd, chunk, CHUNK, 0);
            if (got > 0) {
                send(fd, chunk, got, MSG_NOSIGNAL);
            } else if (got == 0 || errno != EAGAIN) {
                struct linger reset = {1, 0}; /* no TIME_WAIT on the measured side: its ports would run out */
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                close(fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    alarm(120);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    payload = malloc(opt.request + 1);
    chunk = malloc(CHUNK);
    for (long i = 0; i < opt.request; i++)
        payload[i] = opt.line && i % opt.line == opt.line - 1 ? '\n' : 'a' + (i + i / 997) % 26;
    ep = epoll_create1(EPOLL_CLOEXEC);
    errno = 0;
    if (!strcmp(opt.mode, "echo"))
        drive(true);
    else if (!strcmp(opt.mode, "connect"))
        drive(false);
    else if (!strcmp(opt.mode, "hold"))
        hold();
    else if (!strcmp(opt.mode, "sink"))
        sink();
    else
        die("unknown mode");
    return 0;
}
