/* A connection to the server, on which frames go to and fro. It knows frames, and nothing of what stands in them. */

#ifndef SQLRAG_LINK_H
#define SQLRAG_LINK_H

#include <sys/types.h>

#include "bytes.h"

/* The types of frames. */
enum {
    HELLO = 1,
    WELCOME = 2,
    BEGIN = 3,
    CALL = 4,
    ROWS = 5,
    FAILED = 6,
    CANCEL = 9,
    QUERY = 10,
    RESULT = 11,
    ERROR = 12,
    WORKING = 13,
};

enum { LARGEST_FRAME = 64 << 20 };

enum outcome {
    GOOD,
    CLOSED,      /* the server has gone */
    SILENT,      /* it did not answer, or read, in time */
    INTERRUPTED, /* sqlite3_interrupt() */
    WRONG,       /* what it sent is no frame */
    NO_MEMORY,
};

struct link {
    int socket; /* -1: none */
    pid_t process; /* that opened it: a fork must not share it */
    struct bytes received;
    size_t used; /* of what was received: the frame read last, and those before it */
    bool (*is_interrupted)(void *); /* asked now and then while it waits */
    void *asked_with;
};

/* A frame that lies in the link until the next one is read. */
struct frame {
    int type;
    struct reader body;
};

void link_init(struct link *link, bool (*is_interrupted)(void *), void *asked_with);
bool link_is_open(const struct link *link);
void link_close(struct link *link);

/* Connects to a socket by its path; an errno, 0 for success. Raises nothing else: who answers there is checked. */
int link_connect(struct link *link, const char *path);

/* Puts the head of a frame; frame_end() writes the length when the body stands. */
size_t frame_begin(struct bytes *out, int type);
void frame_end(struct bytes *out, size_t begin);

enum outcome link_send(struct link *link, const struct bytes *out, int milliseconds);
enum outcome link_receive(struct link *link, struct frame *frame, int milliseconds);

/* A clock of milliseconds that nobody sets. */
int64_t link_now(void);

/* Waits, and asks meanwhile whether it is interrupted. */
enum outcome link_pause(struct link *link, int milliseconds);

#endif
