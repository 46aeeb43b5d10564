#include "script/bundled.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "script/embed.h"

static const char prefix[] = "bundled:";
enum { PREFIX_SIZE = sizeof prefix - 1, SUFFIX_SIZE = sizeof ".lua" - 1 };
enum { NAMES_MAX = 32, NAME_MAX_BYTES = 64 };

bool bundled_is(const char *path)
{
    return strncmp(path, prefix, PREFIX_SIZE) == 0;
}

/* Of a file's name, without ".lua". */
static size_t stem_size(const struct embedded_file *file)
{
    return strlen(file->name) - SUFFIX_SIZE;
}

static bool is_module(const struct embedded_file *file)
{
    return strchr(file->name, '/') != NULL;
}

static enum err unknown(const char *name, struct why *why)
{
    char names[NAMES_MAX][NAME_MAX_BYTES];
    const char *known[NAMES_MAX];
    size_t count = 0;
    struct buffer list = {0};
    for (size_t i = 0; i < bundled_files_count && count < NAMES_MAX; i++) {
        const struct embedded_file *file = &bundled_files[i];
        if (is_module(file)) {
            continue;
        }
        snprintf(names[count], NAME_MAX_BYTES, "%.*s", (int)stem_size(file), file->name);
        known[count] = names[count];
        buffer_add_format(&list, "%s%s", count > 0 ? ", " : "", names[count]);
        count++;
    }
    const char *nearest = nearest_name(name, known, count);
    if (nearest != NULL) {
        err_why(why, ERR_NOT_FOUND,
                "there is no bundled script \"%s\"; did you mean \"bundled:%s\"? There are: %s",
                name, nearest, buffer_text(&list));
    } else {
        err_why(why, ERR_NOT_FOUND, "there is no bundled script \"%s\"; there are: %s", name,
                buffer_text(&list));
    }
    buffer_close(&list);
    return ERR_NOT_FOUND;
}

enum err bundled_find(const char *path, struct bytes *out, struct why *why)
{
    const char *name = path + PREFIX_SIZE;
    for (size_t i = 0; i < bundled_files_count; i++) {
        const struct embedded_file *file = &bundled_files[i];
        size_t size = stem_size(file);
        if (!is_module(file) && strlen(name) == size && memcmp(name, file->name, size) == 0) {
            *out = bytes_of(file->data, file->size);
            return ERR_OK;
        }
    }
    return unknown(name, why);
}

const struct embedded_file *bundled_next_module(const char *path, const struct embedded_file *last)
{
    const char *name = path + PREFIX_SIZE;
    size_t size = strlen(name);
    for (size_t i = last != NULL ? (size_t)(last - bundled_files) + 1 : 0; i < bundled_files_count;
         i++) {
        const struct embedded_file *file = &bundled_files[i];
        if (strncmp(file->name, name, size) == 0 && file->name[size] == '/') {
            return file;
        }
    }
    return NULL;
}

int bundled_load_module(lua_State *L, const struct embedded_file *module)
{
    lua_pushfstring(L, "@%s", prefix);
    lua_pushlstring(L, module->name, stem_size(module));
    lua_concat(L, 2);
    int status =
        luaL_loadbufferx(L, (const char *)module->data, module->size, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    return status;
}
