#include "ids.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Ids are given one after the other, and are listed and met in about this order: a page has the bits of 512 neighbours,
   and the page of the last id is mostly that of the next one, too. */
enum { PAGE_BITS = 9, PAGE_WORDS = 8, FIRST_SLOTS = 6 };

struct id_page {
    int64_t number; /* of its ids, without their lowest bits */
    uint64_t words[PAGE_WORDS];
};

/* Knuth's multiplicative hash. */
static size_t slot_of(const struct ids *ids, int64_t number)
{
    size_t mask = ((size_t)1 << ids->bits) - 1;
    size_t slot = (size_t)((uint64_t)number * 0x9E3779B97F4A7C15u >> (64 - ids->bits));
    while (ids->slots[slot] && ids->pages[ids->slots[slot] - 1].number != number)
        slot = (slot + 1) & mask;
    return slot;
}

static int64_t page_number(int64_t id) { return id >> PAGE_BITS; }
static size_t word_of(int64_t id) { return (uint64_t)id % ((uint64_t)1 << PAGE_BITS) / 64; }
static uint64_t bit_of(int64_t id) { return (uint64_t)1 << (uint64_t)id % 64; }

static bool make_room(struct ids *ids)
{
    if (ids->page_count == ids->page_room) {
        size_t room = ids->page_room ? 2 * ids->page_room : 16;
        struct id_page *pages = realloc(ids->pages, room * sizeof *pages);
        if (!pages)
            return false;
        ids->pages = pages;
        ids->page_room = room;
    }
    if (ids->slots && 2 * ids->page_count < (size_t)1 << ids->bits)
        return true;
    free(ids->slots);
    ids->bits = ids->bits ? ids->bits + 2 : FIRST_SLOTS;
    ids->slots = calloc((size_t)1 << ids->bits, sizeof *ids->slots);
    for (size_t place = 0; ids->slots && place < ids->page_count; place++)
        ids->slots[slot_of(ids, ids->pages[place].number)] = (uint32_t)place + 1;
    return ids->slots;
}

/* Returns the page of an id, new where there was none; NULL if memory is short. */
static struct id_page *page_of(struct ids *ids, int64_t id)
{
    if (!make_room(ids))
        return NULL;
    size_t slot = slot_of(ids, page_number(id));
    if (!ids->slots[slot]) {
        ids->pages[ids->page_count] = (struct id_page){.number = page_number(id)};
        ids->slots[slot] = (uint32_t)++ids->page_count;
    }
    return &ids->pages[ids->slots[slot] - 1];
}

enum ids_outcome ids_read(struct ids *ids, const void *blob, size_t length)
{
    struct id_page *page = NULL;
    *ids = (struct ids){0};
    if (length % sizeof(int64_t))
        return IDS_WRONG;
    if (!make_room(ids))
        return IDS_NO_MEMORY;
    for (size_t at = 0; at < length; at += sizeof(int64_t)) {
        int64_t id;
        memcpy(&id, (const char *)blob + at, sizeof id);
        if (!page || page->number != page_number(id))
            page = page_of(ids, id);
        if (!page)
            return IDS_NO_MEMORY;
        ids->count += !(page->words[word_of(id)] & bit_of(id));
        page->words[word_of(id)] |= bit_of(id);
    }
    return IDS_GOOD;
}

/* A page that was met last. */
struct met {
    int64_t number;
    const struct id_page *page; /* NULL: none has been met */
};

/* The word with an id's bit. */
static uint64_t word_with(const struct ids *ids, int64_t id, struct met *last)
{
    static const struct id_page nothing = {0};
    if (!last->page || last->number != page_number(id)) {
        uint32_t found = ids->slots[slot_of(ids, page_number(id))];
        *last = (struct met){page_number(id), found ? &ids->pages[found - 1] : &nothing};
    }
    return last->page->words[word_of(id)];
}

void ids_mark(const struct ids *ids, const int64_t *some, size_t count, uint8_t *marks)
{
    struct met last = {0};
    for (size_t begin = 0; begin < count; begin += 8) {
        size_t in_byte = count - begin < 8 ? count - begin : 8;
        const int64_t *eight = some + begin;
        uint64_t shift = (uint64_t)eight[0] % 64, byte = 0;
        /* They ascend: these are neighbours. */
        if (in_byte == 8 && (uint64_t)eight[7] - (uint64_t)eight[0] == 7 && shift <= 56)
            byte = word_with(ids, eight[0], &last) >> shift;
        else
            for (size_t place = 0; place < in_byte; place++)
                byte |= (word_with(ids, eight[place], &last) >> (uint64_t)eight[place] % 64 & 1) << place;
        marks[begin / 8] = (uint8_t)byte;
    }
}

static int by_number(const void *one, const void *other)
{
    int64_t a = ((const struct id_page *)one)->number, b = ((const struct id_page *)other)->number;
    return (a > b) - (a < b);
}

int64_t *ids_list(const struct ids *ids)
{
    size_t next = 0;
    int64_t *list = malloc((ids->count ? ids->count : 1) * sizeof *list);
    struct id_page *pages = malloc((ids->page_count ? ids->page_count : 1) * sizeof *pages);
    if (list && pages && ids->page_count) {
        memcpy(pages, ids->pages, ids->page_count * sizeof *pages);
        qsort(pages, ids->page_count, sizeof *pages, by_number);
        for (size_t page = 0; page < ids->page_count; page++)
            for (size_t word = 0; word < PAGE_WORDS; word++)
                for (uint64_t left = pages[page].words[word]; left; left &= left - 1)
                    list[next++] = (int64_t)((uint64_t)pages[page].number << PAGE_BITS | word * 64 |
                                             (uint64_t)__builtin_ctzll(left));
    }
    if (!pages) {
        free(list);
        list = NULL;
    }
    free(pages);
    return list;
}

void ids_free(struct ids *ids)
{
    free(ids->pages);
    free(ids->slots);
    *ids = (struct ids){0};
}
