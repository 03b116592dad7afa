/* Bytes on their way to the server and from it: numbers are little-endian, as the protocol says. */

#ifndef SQLRAG_BYTES_H
#define SQLRAG_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A buffer that grows. After a lack of memory `failed` is set and nothing more is put into it. */
struct bytes {
    unsigned char *at;
    size_t length;
    size_t room;
    bool failed;
};

void bytes_free(struct bytes *bytes);
bool bytes_reserve(struct bytes *bytes, size_t more);
void put_u8(struct bytes *bytes, unsigned value);
void put_u16(struct bytes *bytes, unsigned value);
void put_u32(struct bytes *bytes, uint32_t value);
void put_raw(struct bytes *bytes, const void *from, size_t length);
void write_u32(unsigned char *at, uint32_t value);

/* The tags of values. */
enum { TAG_NULL, TAG_INTEGER, TAG_REAL, TAG_TEXT, TAG_BLOB };

void put_null(struct bytes *bytes);
void put_integer(struct bytes *bytes, int64_t value);
void put_real(struct bytes *bytes, double value);
void put_text(struct bytes *bytes, const char *text, size_t length);
void put_blob(struct bytes *bytes, const void *blob, size_t length);

/* What is left to be read of a body. Whoever reads beyond the end, or meets an unknown tag, sets `wrong`. */
struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool wrong;
};

/* A value where it lies in the body: text and BLOB live as long as that. */
struct value {
    int tag;
    int64_t integer;
    double real;
    const char *data;
    uint32_t length;
};

unsigned get_u8(struct reader *reader);
unsigned get_u16(struct reader *reader);
uint32_t get_u32(struct reader *reader);
struct value get_value(struct reader *reader);

/* Drops the last character of a text that was cut in the middle of it, in UTF-8. */
void trim_text(char *text);

#endif
