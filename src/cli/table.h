/* Columns for people: as wide as their widest cell, two blanks between, the heading above. */
#ifndef CORRAL_CLI_TABLE_H
#define CORRAL_CLI_TABLE_H

#include "base/base.h"

struct table { /* zeroed, with heading set */
    const char *heading; /* "NAME|>SIZE|STATE": a > puts a column's cells to the right */
    char **cell;
    size_t n;
};
/* The next cell; rows are filled from the left. */
void table_add(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_print(struct table *t); /* to stdout, and empties it; without a row: nothing */

#endif
