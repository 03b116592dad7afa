#define _GNU_SOURCE 1 /* program_invocation_short_name */

#include "session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queries.h"
#include "server.h"

/* The protocol's version, and its times in milliseconds (docs/protocol.md). A test makes them shorter. */
#ifndef PATIENCE
#define PATIENCE 10000 /* between two frames */
#define WELCOME_PATIENCE 2000
#define START_PATIENCE 15000
#define WORKING_PATIENCE 300000 /* of nothing but WORKING: the server ends such work itself, long before */
#define MOST_QUERIES 100000     /* of one call, which takes a few dozen */
#endif
enum { VERSION = 1, RETRY_EVERY = 20 };

/* SQLite interrupts statements that are started while others are being interrupted, too
   (https://www.sqlite.org/c3ref/interrupt.html): so one that does nothing tells, in every version, when it is compiled
   or when it is run. sqlite3_is_interrupted() came with 3.41. */
static bool is_interrupted(void *with)
{
    struct session *session = with;
    sqlite3_stmt *nothing = NULL;
    int code = sqlite.prepare_v2(session->database, "SELECT 1", -1, &nothing, NULL);
    if (code == SQLITE_OK)
        code = sqlite.step(nothing);
    sqlite.finalize(nothing);
    return code == SQLITE_INTERRUPT;
}

struct session *session_new(sqlite3 *database)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->database = database;
    session->references = 1;
    for (int place = 0; place < LINKS; place++)
        link_init(&session->links[place], is_interrupted, session);
    return session;
}

void session_hold(struct session *session) { session->references++; }

void session_release(void *held)
{
    struct session *session = held;
    if (--session->references)
        return;
    for (int place = 0; place < LINKS; place++)
        link_close(&session->links[place]);
    free(session->vec_path);
    free(session);
}

void session_enter(struct session *session)
{
    if (!session->alive++)
        for (int place = 0; place < LINKS; place++)
            session->begin_due[place] = true;
}

void session_leave(struct session *session) { session->alive--; }

bool session_fail(struct session *session, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->message, sizeof session->message, format, arguments);
    va_end(arguments);
    trim_text(session->message);
    session->code = code;
    return false;
}

/* Closes a link on which something went wrong, and says what. */
static bool give_up(struct session *session, struct link *link, enum outcome outcome)
{
    if (outcome == INTERRUPTED && link_is_open(link)) {
        struct bytes cancel = {0};
        frame_end(&cancel, frame_begin(&cancel, CANCEL));
        link_send(link, &cancel, 0);
        bytes_free(&cancel);
    }
    link_close(link);
    switch (outcome) {
    case INTERRUPTED:
        return session_fail(session, SQLITE_INTERRUPT, "interrupted");
    case NO_MEMORY:
        return session_fail(session, SQLITE_NOMEM, "out of memory");
    case SILENT:
        return session_fail(session, SQLITE_ERROR,
                            "the sqlrag server does not answer: `sqlrag status` tells what it does, "
                            "`sqlrag stop` ends it, and the next statement starts another one");
    case CLOSED:
        return session_fail(session, SQLITE_ERROR,
                            "the sqlrag server ended before it had answered: run the statement again");
    default:
        return session_fail(session, SQLITE_ERROR,
                            "the sqlrag server sent something that its protocol does not have: end it with "
                            "`sqlrag stop`, and see that server and extension are of one version of sqlrag");
    }
}

/* Takes over the text of an ERROR frame. */
static bool complain(struct session *session, struct link *link, struct reader *body)
{
    unsigned count = get_u16(body);
    struct value class = get_value(body), message = get_value(body);
    if (body->wrong || count != 2 || class.tag != TAG_TEXT || message.tag != TAG_TEXT)
        return give_up(session, link, WRONG);
    return session_fail(session, SQLITE_ERROR, "%.*s", (int)message.length, message.data);
}

static const char *client_name(void)
{
#ifdef __GLIBC__
    return program_invocation_short_name;
#elif defined(__APPLE__) || defined(__FreeBSD__)
    return getprogname();
#else
    return "sqlite";
#endif
}

static bool take_welcome(struct session *session, struct link *link, struct reader *body)
{
    unsigned count = get_u16(body);
    struct value version = get_value(body);
    if (body->wrong || count < 1 || version.tag != TAG_INTEGER)
        return give_up(session, link, WRONG);
    if (version.integer != VERSION) {
        link_close(link);
        return session_fail(session, SQLITE_ERROR,
                            "the sqlrag server speaks version %lld of its protocol, and this extension %d: end it "
                            "with `sqlrag stop`, and see that both are of one version of sqlrag",
                            (long long)version.integer, VERSION);
    }
    struct value release = get_value(body), process = get_value(body), vec = get_value(body);
    if (body->wrong || count != 4 || release.tag != TAG_TEXT || process.tag != TAG_INTEGER || vec.tag != TAG_TEXT)
        return give_up(session, link, WRONG);
    free(session->vec_path);
    session->vec_path = strndup(vec.data, vec.length);
    return session->vec_path || give_up(session, link, NO_MEMORY);
}

static bool greet(struct session *session, struct link *link, int patience)
{
    struct bytes hello = {0};
    size_t begin = frame_begin(&hello, HELLO);
    put_u16(&hello, 5);
    put_integer(&hello, VERSION);
    put_text(&hello, client_name(), strlen(client_name()));
    const char *token = server_token();
    if (token)
        put_text(&hello, token, strlen(token));
    else
        put_null(&hello);
    put_null(&hello); /* candidates and rerank_limit: the server's */
    put_null(&hello);
    frame_end(&hello, begin);
    enum outcome outcome = link_send(link, &hello, patience);
    bytes_free(&hello);
    struct frame frame;
    if (outcome == GOOD)
        outcome = link_receive(link, &frame, patience);
    if (outcome != GOOD)
        return give_up(session, link, outcome);
    if (frame.type == WELCOME)
        return take_welcome(session, link, &frame.body);
    if (frame.type != ERROR)
        return give_up(session, link, WRONG);
    complain(session, link, &frame.body);
    link_close(link);
    return false;
}

static bool open_link(struct session *session, struct link *link)
{
    char path[SOCKET_PATH];
    if (!server_socket(session, path))
        return false;
    int code = link_connect(link, path), patience = WELCOME_PATIENCE;
    if (code == ENOENT || code == ECONNREFUSED) {
        if (!server_start(session))
            return false;
        patience = START_PATIENCE;
    }
    for (int waited = 0; code == ENOENT || code == ECONNREFUSED || code == EAGAIN; waited += RETRY_EVERY) {
        if (waited > START_PATIENCE)
            return session_fail(session, SQLITE_ERROR,
                                "the sqlrag server was started and cannot be reached at %s: "
                                "run `sqlrag serve` to see why",
                                path);
        enum outcome outcome = link_pause(link, RETRY_EVERY);
        if (outcome != GOOD)
            return give_up(session, link, outcome);
        code = link_connect(link, path);
    }
    if (code == EPERM)
        return session_fail(session, SQLITE_ERROR, "who listens at %s is another user: nothing is sent there", path);
    if (code)
        return session_fail(session, SQLITE_ERROR, "no sqlrag server at %s: %s", path, strerror(code));
    return greet(session, link, patience);
}

static bool take_result(struct session *session, struct link *link, struct reader *body, struct answer *answer)
{
    if (answer_take(answer, body))
        return true;
    return give_up(session, link, body->wrong ? WRONG : NO_MEMORY);
}

/* Hears the server out. `heard` tells whether it has said anything. */
static bool converse(struct session *session, struct link *link, struct answer *answer, bool *heard)
{
    int64_t busy_since = link_now();
    for (int queries = 0;;) {
        struct frame frame;
        enum outcome outcome = link_receive(link, &frame, PATIENCE);
        *heard = *heard || outcome != CLOSED;
        if (outcome != GOOD)
            return give_up(session, link, outcome);
        switch (frame.type) {
        case WORKING:
            if (link_now() - busy_since > WORKING_PATIENCE)
                return give_up(session, link, SILENT);
            if (is_interrupted(session)) /* where they come so fast that it never waits */
                return give_up(session, link, INTERRUPTED);
            break;
        case QUERY:
            outcome = ++queries > MOST_QUERIES ? WRONG : answer_query(session, link, &frame.body, PATIENCE);
            if (outcome != GOOD)
                return give_up(session, link, outcome);
            busy_since = link_now();
            break;
        case RESULT:
            return take_result(session, link, &frame.body, answer);
        case ERROR:
            return complain(session, link, &frame.body);
        default:
            return give_up(session, link, WRONG);
        }
    }
}

static bool call(struct session *session, int place, const struct bytes *row, struct answer *answer)
{
    struct link *link = &session->links[place];
    for (bool reused = link_is_open(link);; reused = false) {
        if (!reused && !open_link(session, link))
            return false;
        struct bytes out = {0};
        if (session->begin_due[place])
            frame_end(&out, frame_begin(&out, BEGIN));
        size_t begin = frame_begin(&out, CALL);
        put_raw(&out, row->at, row->length);
        frame_end(&out, begin);
        enum outcome outcome = link_send(link, &out, PATIENCE);
        bytes_free(&out);
        bool heard = false;
        session->begin_due[place] = false;
        if (outcome == GOOD && converse(session, link, answer, &heard))
            return true;
        if (outcome != GOOD)
            give_up(session, link, outcome);
        /* A server that has ended since the last call: another one answers. Calls change nothing. */
        if (!reused || heard || outcome == SILENT || outcome == INTERRUPTED || outcome == NO_MEMORY)
            return false;
    }
}

bool session_call(struct session *session, const struct bytes *row, struct answer *answer)
{
    if (row->failed)
        return session_fail(session, SQLITE_NOMEM, "out of memory");
    if (row->length >= LARGEST_FRAME)
        return session_fail(session, SQLITE_TOOBIG, "the arguments have %zu bytes: a call takes %d at most",
                            row->length, LARGEST_FRAME);
    if (session->depth == LINKS)
        return session_fail(session, SQLITE_ERROR, "sqlrag's functions call each other too deeply here");
    bool done = call(session, session->depth++, row, answer);
    session->depth--;
    return done;
}
