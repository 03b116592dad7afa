#define _GNU_SOURCE 1 /* struct ucred */

#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE does it */
#endif

enum { ASK_EVERY = 100 /* milliseconds */, AT_ONCE = 64 << 10 };

void link_init(struct link *link, bool (*is_interrupted)(void *), void *asked_with)
{
    *link = (struct link){.socket = -1, .is_interrupted = is_interrupted, .asked_with = asked_with};
}

bool link_is_open(const struct link *link) { return link->socket >= 0 && link->process == getpid(); }

void link_close(struct link *link)
{
    if (link->socket >= 0)
        close(link->socket);
    link->socket = -1;
    link->used = 0;
    bytes_free(&link->received);
}

int64_t link_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Waits until the socket can be read or written. */
static enum outcome wait_for(struct link *link, short events, int64_t until)
{
    for (;;) {
        int64_t left = until - link_now();
        struct pollfd one = {.fd = link->socket, .events = events};
        int ready = poll(&one, link->socket >= 0, left <= 0 ? 0 : left < ASK_EVERY ? (int)left : ASK_EVERY);
        if (ready > 0)
            return GOOD;
        if (ready < 0 && errno != EINTR)
            return CLOSED;
        if (link->is_interrupted(link->asked_with))
            return INTERRUPTED;
        if (left <= 0)
            return SILENT;
    }
}

enum outcome link_pause(struct link *link, int milliseconds)
{
    enum outcome outcome = wait_for(link, 0, link_now() + milliseconds);
    return outcome == SILENT ? GOOD : outcome;
}

/* Tells whether the process at the other end runs as this user, or as root. */
static bool is_ours(int socket)
{
#ifdef SO_PEERCRED
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return peer.uid == geteuid() || peer.uid == 0;
#else
    uid_t user;
    gid_t group;
    return getpeereid(socket, &user, &group) == 0 && (user == geteuid() || user == 0);
#endif
}

int link_connect(struct link *link, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return ENAMETOOLONG;
    strcpy(address.sun_path, path);
    link_close(link);
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    if (made < 0)
        return errno;
    fcntl(made, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    setsockopt(made, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    /* Not waiting here either: a server whose queue is full refuses with EAGAIN. */
    fcntl(made, F_SETFL, O_NONBLOCK);
    if (connect(made, (struct sockaddr *)&address, sizeof address) != 0) {
        int code = errno;
        close(made);
        return code;
    }
    if (!is_ours(made)) {
        close(made);
        return EPERM;
    }
    link->socket = made;
    link->process = getpid();
    return 0;
}

size_t frame_begin(struct bytes *out, int type)
{
    size_t begin = out->length;
    put_u32(out, 0);
    put_u8(out, (unsigned)type);
    return begin;
}

void frame_end(struct bytes *out, size_t begin)
{
    if (!out->failed)
        write_u32(out->at + begin, (uint32_t)(out->length - begin - 4));
}

enum outcome link_send(struct link *link, const struct bytes *out, int milliseconds)
{
    if (out->failed)
        return NO_MEMORY;
    int64_t until = link_now() + milliseconds;
    for (size_t sent = 0; sent < out->length;) {
        ssize_t count = send(link->socket, out->at + sent, out->length - sent, MSG_NOSIGNAL);
        if (count >= 0) {
            sent += (size_t)count;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            enum outcome outcome = wait_for(link, POLLOUT, until);
            if (outcome != GOOD)
                return outcome;
        } else if (errno != EINTR) {
            return CLOSED;
        }
    }
    return GOOD;
}

/* Reads what is there; waits for the first byte. The room grows with what comes, not with what is announced. */
static enum outcome more(struct link *link, int64_t until)
{
    if (!bytes_reserve(&link->received, AT_ONCE))
        return NO_MEMORY;
    for (;;) {
        struct bytes *in = &link->received;
        ssize_t count = recv(link->socket, in->at + in->length, in->room - in->length, 0);
        if (count > 0) {
            in->length += (size_t)count;
            return GOOD;
        }
        if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            return CLOSED;
        enum outcome outcome = wait_for(link, POLLIN, until);
        if (outcome != GOOD)
            return outcome;
    }
}

static void forget_used(struct link *link)
{
    size_t left = link->received.length - link->used;
    if (link->used && left)
        memmove(link->received.at, link->received.at + link->used, left);
    link->received.length = left;
    link->used = 0;
    if (!left && link->received.room > 16 * AT_ONCE) /* a large answer does not stay */
        bytes_free(&link->received);
}

/* Tells whether a whole frame has been received, and what length it has or has announced (0: not known yet). */
static bool has_frame(const struct link *link, uint32_t *length)
{
    struct reader reader = {.at = link->received.at, .end = link->received.at + link->received.length};
    *length = get_u32(&reader);
    return !reader.wrong && (size_t)(reader.end - reader.at) >= *length;
}

enum outcome link_receive(struct link *link, struct frame *frame, int milliseconds)
{
    int64_t until = link_now() + milliseconds;
    forget_used(link);
    uint32_t length;
    while (!has_frame(link, &length)) {
        if (length > LARGEST_FRAME)
            return WRONG;
        enum outcome outcome = more(link, until);
        if (outcome != GOOD)
            return outcome;
    }
    if (length < 1)
        return WRONG;
    link->used = 4 + (size_t)length;
    struct reader whole = {.at = link->received.at + 4, .end = link->received.at + link->used};
    frame->type = (int)get_u8(&whole);
    frame->body = whole;
    return GOOD;
}
