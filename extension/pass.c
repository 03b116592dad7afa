#define _GNU_SOURCE 1 /* sched_getaffinity */

#include "pass.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Codes that are worth a thread: it is begun in less than a tenth of the time that they take. */
enum { SHARE = 1 << 16, MOST_WORKERS = 64 };

/* The workers take the next block each, until there is none. */
struct worker {
    const struct pass *pass;
    const struct blocks *blocks;
    atomic_size_t *next;
    struct nearest nearest;
    bool failed;
    pthread_t thread;
};

/* Takes in the wanted codes of a group that are not below the bound. The distance is the estimate, its sign turned; what a
   damaged factor makes of one is farther than all others. */
static bool take(const struct block *block, size_t group, const uint8_t *wanted, const float *estimates, float bound,
                 struct nearest *nearest)
{
    for (size_t lane = 0, place = group * GROUP; lane < GROUP && place < block->count; lane++, place++)
        if (wanted[place] && !(estimates[lane] < bound) &&
            !nearest_take(nearest, isfinite(estimates[lane]) ? -(double)estimates[lane] : INFINITY, block->ids[place]))
            return false;
    return true;
}

static bool scan(const struct pass *pass, const struct block *block, struct nearest *nearest)
{
    uint8_t wanted[MOST_CODES];
    uint16_t groups[MOST_CODES / GROUP];
    struct run run = {block->groups, block->factors, pass->ids ? groups : NULL, (block->count + GROUP - 1) / GROUP};
    memset(wanted, !pass->ids, sizeof wanted);
    if (pass->ids) {
        size_t all = run.count;
        ids_mark(pass->ids, block->ids, block->count, wanted);
        run.count = 0;
        for (size_t group = 0; group < all; group++) { /* without a branch, which would be guessed wrong */
            groups[run.count] = (uint16_t)group;
            run.count += memcmp(wanted + group * GROUP, (uint8_t[GROUP]){0}, GROUP) != 0;
        }
    }
    float estimates[GROUP];
    for (size_t next = 0;; next++) {
        float bound = nearest->is_full ? (float)-nearest->at[0].distance : -INFINITY;
        next = pass->kernel(&pass->planes, &run, next, bound, estimates);
        if (next >= run.count)
            return true;
        if (!take(block, pass->ids ? groups[next] : next, wanted, estimates, bound, nearest))
            return false;
    }
}

static void *work(void *with)
{
    struct worker *worker = with;
    for (size_t next; !worker->failed && (next = atomic_fetch_add(worker->next, 1)) < worker->blocks->count;)
        worker->failed = !scan(worker->pass, worker->blocks->at[next], &worker->nearest);
    return NULL;
}

static size_t processors(void)
{
#ifdef __linux__
    cpu_set_t set; /* of the first 1024, enough for MOST_WORKERS */
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (size_t)CPU_COUNT(&set);
#endif
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (size_t)count : 1;
}

static size_t workers_for(const struct blocks *blocks)
{
    size_t codes = 0;
    for (size_t place = 0; place < blocks->count; place++)
        codes += blocks->at[place]->count;
    size_t count = codes / SHARE < MOST_WORKERS ? codes / SHARE : MOST_WORKERS;
    if (count < 2)
        return 1;
    return count < processors() ? count : processors();
}

/* Begins threads that see no signal: those are the program's. Returns how many there are. */
static size_t begin(struct worker *workers, size_t count)
{
    sigset_t all, before;
    size_t begun = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (begun < count && !pthread_create(&workers[begun].thread, NULL, work, &workers[begun]))
        begun++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return begun;
}

bool pass_run(const struct pass *pass, const struct blocks *blocks, struct nearest *nearest)
{
    atomic_size_t next = 0;
    struct worker own = {.pass = pass, .blocks = blocks, .next = &next, .nearest.wanted = nearest->wanted};
    struct worker others[MOST_WORKERS];
    size_t count = workers_for(blocks) - 1;
    for (size_t place = 0; place < count; place++)
        others[place] = own;
    count = count ? begin(others, count) : 0;
    own.nearest = *nearest;
    work(&own);
    *nearest = own.nearest;
    bool done = !own.failed;
    for (size_t place = 0; place < count; place++) {
        pthread_join(others[place].thread, NULL);
        struct nearest *theirs = &others[place].nearest;
        done &= !others[place].failed;
        for (size_t each = 0; done && each < theirs->count; each++)
            done = nearest_take(nearest, theirs->at[each].distance, theirs->at[each].id);
        nearest_free(theirs);
    }
    return done;
}
