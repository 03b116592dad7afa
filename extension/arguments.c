#include "arguments.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What the planner is told of a call, as sqlrag/engines/sqlite/table_scans.py tells it and for its reasons: a high price keeps
   a call out of inner loops, and a few rows have their partners looked up one by one. */
static const double ESTIMATED_COST = 10000.0;
static const sqlite3_int64 ESTIMATED_ROWS = 25;

/* Chooses the constraints that are arguments: equalities with hidden columns
   (https://www.sqlite.org/vtab.html#tabfunc2). */
int arguments_choose(const struct table_function *function, sqlite3_index_info *info)
{
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
int arguments_lack(const struct sqlite_routines *api, sqlite3_vtab *table, const struct table_function *function,
                   int given)
{
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
    table->zErrMsg = api->mprintf("%s() needs %s: got %s", function->name, wanted, *got ? got : "nothing");
    return SQLITE_ERROR;
}
