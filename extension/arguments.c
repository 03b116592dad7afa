#include "arguments.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the planner is told of a call, as sqlrag/engines/sqlite/table_scans.py tells it and for its reasons: a high price keeps
   a call out of inner loops, and a few rows have their partners looked up one by one. */
static const double ESTIMATED_COST = 10000.0;
static const sqlite3_int64 ESTIMATED_ROWS = 25;

/* Chooses the constraints that are arguments: equalities with hidden columns
   (https://www.sqlite.org/vtab.html#tabfunc2). */
int table_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    const struct table_function *function = ((struct table *)base)->module->function;
    int chosen[MOST_PARAMETERS] = {0}; /* the number of a constraint, from 1 */
    bool waits[MOST_PARAMETERS] = {false};
    for (int number = 0; number < info->nConstraint; number++) {
        int parameter = info->aConstraint[number].iColumn - function->columns;
        if (info->aConstraint[number].op != SQLITE_INDEX_CONSTRAINT_EQ || parameter < 0)
            continue;
        if (!info->aConstraint[number].usable)
            waits[parameter] = true;
        else if (!chosen[parameter])
            chosen[parameter] = number + 1;
    }
    bool is_callable = true;
    for (int parameter = 0, position = 0; parameter < function->parameters; parameter++) {
        if (chosen[parameter]) {
            info->aConstraintUsage[chosen[parameter] - 1].argvIndex = ++position;
            /* SQLite need not compare the argument with the hidden column: NULL would not equal NULL. */
            info->aConstraintUsage[chosen[parameter] - 1].omit = 1;
            info->idxNum |= 1 << parameter;
        } else if (waits[parameter]) {
            return SQLITE_CONSTRAINT; /* it depends on a table that comes later: another order of the join knows it */
        } else if (parameter < function->required) {
            is_callable = false;
        }
    }
    info->estimatedRows = ESTIMATED_ROWS;
    /* A missing argument is no error yet: the planner also asks about single terms of an OR. The price of such a plan
       stays at SQLite's default, the highest: it wins only when there is no other. */
    if (is_callable)
        info->estimatedCost = ESTIMATED_COST;
    return SQLITE_OK;
}

/* Says which arguments a call lacks; the words are those of TableFunction.complaint(). */
static int lack(sqlite3_vtab *table, const struct module *module, int given)
{
    const struct table_function *function = module->function;
    char wanted[256] = "", got[256] = "";
    for (int place = 0; place < function->parameters; place++) {
        char *list = wanted;
        for (int both = 0; both < 2; both++, list = got) {
            bool is_in = both ? given >> place & 1 : place < function->required;
            size_t length = strlen(list);
            if (is_in)
                snprintf(list + length, sizeof wanted - length, "%s%s", length ? ", " : "", function->parameter[place]);
        }
    }
    table->zErrMsg = module->api->mprintf("%s() needs %s: got %s", function->name, wanted, *got ? got : "nothing");
    return SQLITE_ERROR;
}

int table_arguments(sqlite3_vtab *base, int given, int count, sqlite3_value **values,
                    sqlite3_value *placed[MOST_PARAMETERS])
{
    const struct module *module = ((struct table *)base)->module;
    int needed = (1 << module->function->required) - 1;
    if ((given & needed) != needed)
        return lack(base, module, given);
    for (int place = 0, next = 0; place < MOST_PARAMETERS; place++)
        placed[place] = given >> place & 1 && next < count ? values[next++] : NULL;
    return SQLITE_OK;
}

int table_connect(sqlite3 *database, void *with, int count, const char *const *words, sqlite3_vtab **made,
                  char **message)
{
    struct module *module = with;
    (void)count, (void)words, (void)message;
    int code = module->api->declare_vtab(database, module->function->declaration);
    struct table *table = code == SQLITE_OK ? calloc(1, sizeof *table) : NULL;
    if (!table)
        return code == SQLITE_OK ? SQLITE_NOMEM : code;
    table->module = module;
    *made = &table->base;
    return SQLITE_OK;
}

int table_disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

int table_next(sqlite3_vtab_cursor *base)
{
    ((struct cursor *)base)->row++;
    return SQLITE_OK;
}

int table_at_end(sqlite3_vtab_cursor *base)
{
    const struct cursor *cursor = (struct cursor *)base;
    return cursor->row >= cursor->rows;
}

int table_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *number)
{
    *number = (sqlite3_int64)((struct cursor *)base)->row + 1;
    return SQLITE_OK;
}
