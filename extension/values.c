#include "values.h"

void put_argument(struct bytes *out, sqlite3_value *value)
{
    switch (sqlite.value_type(value)) {
    case SQLITE_INTEGER:
        put_integer(out, sqlite.value_int64(value));
        break;
    case SQLITE_FLOAT:
        put_real(out, sqlite.value_double(value));
        break;
    case SQLITE_TEXT: { /* the text first: turning it into UTF-8 changes its length */
        const char *text = (const char *)sqlite.value_text(value);
        put_text(out, text, text ? (size_t)sqlite.value_bytes(value) : 0);
        break;
    }
    case SQLITE_BLOB: {
        const void *blob = sqlite.value_blob(value);
        put_blob(out, blob, blob ? (size_t)sqlite.value_bytes(value) : 0);
        break;
    }
    default:
        put_null(out);
    }
}

void give_result(sqlite3_context *context, struct value value)
{
    switch (value.tag) {
    case TAG_INTEGER:
        sqlite.result_int64(context, value.integer);
        break;
    case TAG_REAL:
        sqlite.result_double(context, value.real);
        break;
    case TAG_TEXT:
        sqlite.result_text(context, value.data, (int)value.length, SQLITE_TRANSIENT);
        break;
    case TAG_BLOB:
        sqlite.result_blob(context, value.data, (int)value.length, SQLITE_TRANSIENT);
        break;
    default:
        sqlite.result_null(context);
    }
}
