#include "answer.h"

#include <stdlib.h>

static bool find_places(struct answer *answer, struct reader *reader)
{
    const unsigned char *begin = reader->at;
    size_t count = (size_t)answer->columns * answer->rows;
    /* A value takes a byte at least: so much room is never taken for what cannot be there. */
    if (reader->wrong || (answer->rows && !answer->columns) || count > (size_t)(reader->end - reader->at)) {
        reader->wrong = true;
        return false;
    }
    answer->places = malloc((count ? count : 1) * sizeof *answer->places);
    if (!answer->places)
        return false;
    for (size_t place = 0; place < count; place++) {
        answer->places[place] = (uint32_t)(reader->at - begin);
        get_value(reader);
    }
    if (reader->at != reader->end)
        reader->wrong = true;
    put_raw(&answer->body, begin, (size_t)(reader->end - begin));
    return !reader->wrong && !answer->body.failed;
}

bool answer_take(struct answer *answer, struct reader *reader)
{
    answer_free(answer);
    answer->columns = get_u16(reader);
    answer->rows = get_u32(reader);
    if (find_places(answer, reader))
        return true;
    answer_free(answer);
    return false;
}

struct value answer_value(const struct answer *answer, uint32_t row, unsigned column)
{
    const unsigned char *begin = answer->body.at + answer->places[(size_t)row * answer->columns + column];
    struct reader reader = {.at = begin, .end = answer->body.at + answer->body.length};
    return get_value(&reader);
}

void answer_free(struct answer *answer)
{
    free(answer->places);
    bytes_free(&answer->body);
    *answer = (struct answer){0};
}
