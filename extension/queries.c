#include "queries.h"

#include <stdio.h>
#include <string.h>

#include "vec.h"

/* What goes wrong with the query itself goes to the server, which knows what it means. */
struct failure {
    int code;
    char message[512];
};

static bool fail(struct failure *failure, int code, const char *message)
{
    failure->code = code;
    snprintf(failure->message, sizeof failure->message, "%s", message);
    trim_text(failure->message);
    return false;
}

static bool fail_as_sqlite(struct failure *failure, sqlite3 *database)
{
    return fail(failure, sqlite.extended_errcode(database), sqlite.errmsg(database));
}

/* Compiles a query: one statement, that gives rows and writes nothing. */
static sqlite3_stmt *prepared(sqlite3 *database, struct value sql, struct failure *failure)
{
    sqlite3_stmt *statement = NULL, *second = NULL;
    const char *rest;
    if (sqlite.prepare_v2(database, sql.data, (int)sql.length, &statement, &rest) != SQLITE_OK) {
        fail_as_sqlite(failure, database);
        return NULL;
    }
    int left = (int)(sql.data + sql.length - rest);
    bool alone = sqlite.prepare_v2(database, rest, left, &second, NULL) == SQLITE_OK && !second;
    sqlite.finalize(second);
    /* BEGIN and ATTACH count as reading, but have no columns (https://www.sqlite.org/c3ref/stmt_readonly.html). */
    if (statement && alone && sqlite.column_count(statement) && sqlite.stmt_readonly(statement))
        return statement;
    fail(failure, SQLITE_AUTH, "the server may run one query that reads, and nothing else");
    sqlite.finalize(statement);
    return NULL;
}

/* The place of a parameter by its name, which the server gives without the sign before it; 0 if there is none. */
static int place_of(sqlite3_stmt *statement, struct value name)
{
    char whole[256];
    for (const char *sign = ":@$"; *sign; sign++) {
        snprintf(whole, sizeof whole, "%c%.*s", *sign, (int)name.length, name.data);
        int place = sqlite.bind_parameter_index(statement, whole);
        if (place)
            return place;
    }
    return 0;
}

static int bind(sqlite3_stmt *statement, int place, struct value value)
{
    switch (value.tag) {
    case TAG_INTEGER:
        return sqlite.bind_int64(statement, place, value.integer);
    case TAG_REAL:
        return sqlite.bind_double(statement, place, value.real);
    case TAG_TEXT: /* the frame outlives the statement */
        return sqlite.bind_text(statement, place, value.data, (int)value.length, SQLITE_STATIC);
    case TAG_BLOB:
        return sqlite.bind_blob(statement, place, value.data, (int)value.length, SQLITE_STATIC);
    default:
        return SQLITE_OK; /* a parameter is NULL to begin with */
    }
}

/* Binds the parameters; false if the frame is wrong, or SQLite refuses one. */
static bool bind_all(sqlite3_stmt *statement, struct reader *body, struct session *session, struct failure *failure)
{
    struct value count = get_value(body);
    if (count.tag != TAG_INTEGER)
        body->wrong = true;
    for (int64_t number = 1; !body->wrong && number <= count.integer; number++) {
        struct value name = get_value(body), value = get_value(body);
        if (name.tag != TAG_NULL && name.tag != TAG_TEXT)
            body->wrong = true;
        int place = name.tag == TAG_TEXT ? place_of(statement, name) : (int)number;
        bool is_other = name.tag == TAG_TEXT && !place; /* a name that the statement does not have is no error */
        if (!body->wrong && !is_other && bind(statement, place, value) != SQLITE_OK)
            return fail_as_sqlite(failure, session->database);
    }
    return !body->wrong;
}

static void put_column(struct bytes *out, sqlite3_stmt *statement, int column)
{
    switch (sqlite.column_type(statement, column)) {
    case SQLITE_INTEGER:
        put_integer(out, sqlite.column_int64(statement, column));
        break;
    case SQLITE_FLOAT:
        put_real(out, sqlite.column_double(statement, column));
        break;
    case SQLITE_TEXT: {
        const char *text = (const char *)sqlite.column_text(statement, column);
        put_text(out, text, text ? (size_t)sqlite.column_bytes(statement, column) : 0);
        break;
    }
    case SQLITE_BLOB: {
        const void *blob = sqlite.column_blob(statement, column);
        put_blob(out, blob, blob ? (size_t)sqlite.column_bytes(statement, column) : 0);
        break;
    }
    default:
        put_null(out);
    }
}

/* Steps a query and puts its rows; false for an error of SQLite's, or more than a frame takes. */
static bool put_rows(struct bytes *out, sqlite3_stmt *statement, sqlite3 *database, struct failure *failure)
{
    int columns = sqlite.column_count(statement), code;
    uint32_t rows = 0;
    put_u16(out, (unsigned)columns);
    size_t count = out->length;
    put_u32(out, 0);
    while ((code = sqlite.step(statement)) == SQLITE_ROW) {
        for (int column = 0; column < columns; column++)
            put_column(out, statement, column);
        rows++;
        if (out->failed)
            return fail(failure, SQLITE_NOMEM, "out of memory");
        if (out->length > LARGEST_FRAME)
            return fail(failure, SQLITE_TOOBIG, "the rows of a query have more than 64 MiB");
    }
    if (code != SQLITE_DONE)
        return fail_as_sqlite(failure, database);
    if (!out->failed)
        write_u32(out->at + count, rows);
    return true;
}

static bool run(struct session *session, struct reader *body, struct bytes *out, struct failure *failure)
{
    unsigned count = get_u16(body);
    struct value sql = get_value(body);
    if (count < 2 || sql.tag != TAG_TEXT)
        body->wrong = true;
    if (body->wrong)
        return false;
    const char *missing = vec_load(session);
    if (missing)
        return fail(failure, SQLITE_ERROR, missing);
    sqlite3_stmt *statement = prepared(session->database, sql, failure);
    if (!statement)
        return false;
    bool done = bind_all(statement, body, session, failure) && put_rows(out, statement, session->database, failure);
    sqlite.finalize(statement);
    return done;
}

enum outcome answer_query(struct session *session, struct link *link, struct reader *body, int milliseconds)
{
    struct bytes out = {0};
    struct failure failure = {0};
    size_t begin = frame_begin(&out, ROWS);
    if (!run(session, body, &out, &failure)) {
        if (body->wrong || failure.code == SQLITE_INTERRUPT) {
            bytes_free(&out);
            return body->wrong ? WRONG : INTERRUPTED;
        }
        bytes_free(&out);
        begin = frame_begin(&out, FAILED);
        put_u16(&out, 2);
        put_integer(&out, failure.code);
        put_text(&out, failure.message, strlen(failure.message));
    }
    frame_end(&out, begin);
    enum outcome outcome = link_send(link, &out, milliseconds);
    bytes_free(&out);
    return outcome;
}
