#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const struct {
    const char *name;
    const char *message;
} table[ERR_COUNT] = {
#define X(name, text, message) [ERR_##name] = {text, message},
    ERR_TABLE(X)
#undef X
};

const char *err_name(enum err e)
{
    ASSERT(e < ERR_COUNT);
    return table[e].name;
}

const char *err_message(enum err e)
{
    ASSERT(e < ERR_COUNT);
    return table[e].message;
}

enum err err_from_name(const char *name)
{
    for (unsigned i = 0; i < ERR_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return (enum err)i;
        }
    }
    return ERR_COUNT;
}

enum err err_from_errno(int number)
{
    switch (number) {
    case 0:
        return ERR_OK;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EMFILE: /* it passes: nothing is wrong with what was to be opened */
    case ENFILE:
        return ERR_BUSY;
    case EWOULDBLOCK:
    case EADDRINUSE:
        return ERR_LOCKED;
    default:
        return ERR_IO;
    }
}

enum err err_why(struct why *w, enum err e, const char *format, ...)
{
    if (w != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(w->text, sizeof w->text, format, args);
        va_end(args);
    }
    return e;
}
