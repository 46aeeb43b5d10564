/* Tables for people: columns as wide as they need to be, two spaces between them. */
#ifndef MK_CLI_TABLE_H
#define MK_CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct table;

enum table_style { TABLE_PLAIN, TABLE_GOOD, TABLE_WARN, TABLE_BAD, TABLE_DIM };

/* columns: headings separated by '|'; one that begins with '>' is aligned to the right. */
struct table *table_new(const char *columns, bool colour);
void table_free(struct table *t);

/* The next cell of the row; rows follow each other without ceremony. */
void table_cell(struct table *t, enum table_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Missing cells of the last row stay empty. */
void table_print(const struct table *t, FILE *out);

#endif
