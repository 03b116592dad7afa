#include "bytes.h"

#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *bytes)
{
    free(bytes->at);
    *bytes = (struct bytes){0};
}

bool bytes_reserve(struct bytes *bytes, size_t more)
{
    if (bytes->failed)
        return false;
    if (more > bytes->room - bytes->length) {
        size_t room = bytes->room ? bytes->room : 256;
        while (room - bytes->length < more)
            room *= 2;
        unsigned char *at = realloc(bytes->at, room);
        if (!at) {
            bytes->failed = true;
            return false;
        }
        bytes->at = at;
        bytes->room = room;
    }
    return true;
}

void put_raw(struct bytes *bytes, const void *from, size_t length)
{
    if (length && bytes_reserve(bytes, length)) {
        memcpy(bytes->at + bytes->length, from, length);
        bytes->length += length;
    }
}

static void put_number(struct bytes *bytes, uint64_t value, int size)
{
    unsigned char little[8];
    for (int place = 0; place < size; place++)
        little[place] = (unsigned char)(value >> (8 * place));
    put_raw(bytes, little, (size_t)size);
}

void put_u8(struct bytes *bytes, unsigned value) { put_number(bytes, value, 1); }
void put_u16(struct bytes *bytes, unsigned value) { put_number(bytes, value, 2); }
void put_u32(struct bytes *bytes, uint32_t value) { put_number(bytes, value, 4); }

void write_u32(unsigned char *at, uint32_t value)
{
    for (int place = 0; place < 4; place++)
        at[place] = (unsigned char)(value >> (8 * place));
}

void put_null(struct bytes *bytes) { put_u8(bytes, TAG_NULL); }

void put_integer(struct bytes *bytes, int64_t value)
{
    put_u8(bytes, TAG_INTEGER);
    put_number(bytes, (uint64_t)value, 8);
}

void put_real(struct bytes *bytes, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u8(bytes, TAG_REAL);
    put_number(bytes, bits, 8);
}

static void put_data(struct bytes *bytes, int tag, const void *data, size_t length)
{
    if (length > UINT32_MAX) {
        bytes->failed = true;
        return;
    }
    put_u8(bytes, (unsigned)tag);
    put_u32(bytes, (uint32_t)length);
    put_raw(bytes, data, length);
}

void put_text(struct bytes *bytes, const char *text, size_t length) { put_data(bytes, TAG_TEXT, text, length); }
void put_blob(struct bytes *bytes, const void *blob, size_t length) { put_data(bytes, TAG_BLOB, blob, length); }

void trim_text(char *text)
{
    size_t length = strlen(text), back = 1;
    while (back < 4 && back < length && ((unsigned char)text[length - back] & 0xC0) == 0x80)
        back++;
    if (back > length)
        return;
    unsigned char lead = (unsigned char)text[length - back];
    size_t whole = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (whole > back)
        text[length - back] = '\0';
}

static uint64_t get_number(struct reader *reader, int size)
{
    if (reader->wrong || reader->end - reader->at < size) {
        reader->wrong = true;
        return 0;
    }
    uint64_t value = 0;
    for (int place = 0; place < size; place++)
        value |= (uint64_t)reader->at[place] << (8 * place);
    reader->at += size;
    return value;
}

unsigned get_u8(struct reader *reader) { return (unsigned)get_number(reader, 1); }
unsigned get_u16(struct reader *reader) { return (unsigned)get_number(reader, 2); }
uint32_t get_u32(struct reader *reader) { return (uint32_t)get_number(reader, 4); }

struct value get_value(struct reader *reader)
{
    struct value value = {.tag = (int)get_u8(reader)};
    switch (value.tag) {
    case TAG_NULL:
        break;
    case TAG_INTEGER:
        value.integer = (int64_t)get_number(reader, 8);
        break;
    case TAG_REAL: {
        uint64_t bits = get_number(reader, 8);
        memcpy(&value.real, &bits, sizeof bits);
        break;
    }
    case TAG_TEXT:
    case TAG_BLOB:
        value.length = get_u32(reader);
        if (reader->wrong || (size_t)(reader->end - reader->at) < value.length) {
            reader->wrong = true;
            value.length = 0;
        }
        /* Never NULL: SQLite takes an empty text from anywhere, and NULL for nothing. */
        value.data = reader->wrong ? "" : (const char *)reader->at;
        reader->at += value.length;
        break;
    default:
        reader->wrong = true;
    }
    return value;
}
