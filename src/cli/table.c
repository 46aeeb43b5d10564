#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

enum { COLUMNS_MAX = 16 };

struct cell {
    char *text;
    enum table_style style;
};

struct table {
    bool colour;
    unsigned columns;
    struct {
        char heading[32];
        bool right;
        unsigned width;
    } column[COLUMNS_MAX];
    struct cell *cells;
    size_t cells_count;
    size_t capacity;
};

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static unsigned width_of(const char *text)
{
    unsigned width = 0;
    for (; *text != 0; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

struct table *table_new(const char *columns, bool colour)
{
    struct table *t = NEW(struct table);
    t->colour = colour;
    while (*columns != 0 && t->columns < COLUMNS_MAX) {
        size_t size = strcspn(columns, "|");
        bool right = *columns == '>';
        snprintf(t->column[t->columns].heading, sizeof t->column[0].heading, "%.*s",
                 (int)(size - right), columns + right);
        t->column[t->columns].right = right;
        t->column[t->columns].width = width_of(t->column[t->columns].heading);
        t->columns++;
        columns += size + (columns[size] == '|');
    }
    return t;
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->cells_count; i++) {
        free(t->cells[i].text);
    }
    free(t->cells);
    free(t);
}

/* What somebody else stored must not command the terminal or break the row: \xNN for control
 * characters. */
static void make_visible(const char *text, char *out, size_t capacity)
{
    size_t size = 0;
    for (; *text != 0 && size + 5 < capacity; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            size += (size_t)snprintf(out + size, capacity - size, "\\x%02x", c);
        } else {
            out[size++] = *text;
        }
    }
    out[size] = 0;
}

void table_cell(struct table *t, enum table_style style, const char *format, ...)
{
    char raw[512], text[sizeof raw * 4];
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    make_visible(raw, text, sizeof text);
    if (t->cells_count == t->capacity) {
        t->capacity = t->capacity * 2 + 16;
        t->cells = alloc_resize(t->cells, t->capacity, sizeof *t->cells);
    }
    unsigned width = width_of(text), column = (unsigned)(t->cells_count % t->columns);
    if (width > t->column[column].width) {
        t->column[column].width = width;
    }
    t->cells[t->cells_count++] = (struct cell){.text = alloc_string(text), .style = style};
}

static void print_cell(const struct table *t, unsigned column, const char *text, const char *style,
                       FILE *out)
{
    unsigned pad = t->column[column].width - width_of(text);
    bool last = column + 1 == t->columns;
    const char *off = t->colour && *style != 0 ? "\033[0m" : "";
    fprintf(out, "%*s%s%s%s%*s", t->column[column].right ? (int)pad : 0, "", t->colour ? style : "",
            text, off, t->column[column].right || last ? 0 : (int)pad, "");
    fputs(last ? "\n" : "  ", out);
}

void table_print(const struct table *t, FILE *out)
{
    ASSERT(t->columns > 0);
    static const char *const styles[] = {"", "\033[32m", "\033[33m", "\033[31m", "\033[2m"};
    for (unsigned i = 0; i < t->columns; i++) {
        print_cell(t, i, t->column[i].heading, "\033[1m", out);
    }
    for (size_t i = 0; i < t->cells_count; i++) {
        print_cell(t, (unsigned)(i % t->columns), t->cells[i].text, styles[t->cells[i].style], out);
    }
    if (t->cells_count % t->columns != 0) {
        fputc('\n', out);
    }
}
