/* The names on the disk: one sorted table, of files and of directories one level deep. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_fs_internal.h"

static size_t name_place(const struct sim_fs *fs, const char *text, bool *found)
{
    size_t lo = 0, hi = fs->names_count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (strcmp(fs->names[middle].text, text) < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *found = lo < fs->names_count && strcmp(fs->names[lo].text, text) == 0;
    return lo;
}

struct name *sim_fs_name_find(const struct sim_fs *fs, const char *text)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    return found ? &fs->names[place] : NULL;
}

void sim_fs_name_add_take(struct sim_fs *fs, const char *text, struct inode *inode)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    ASSERT(!found);
    fs->names = alloc_resize(fs->names, fs->names_count + 1, sizeof *fs->names);
    memmove(fs->names + place + 1, fs->names + place,
            (fs->names_count - place) * sizeof *fs->names);
    fs->names[place] = (struct name){.text = alloc_string(text), .inode = inode};
    fs->names_count++;
}

struct inode *sim_fs_name_take(struct sim_fs *fs, const char *text)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    ASSERT(found);
    struct inode *inode = fs->names[place].inode;
    free(fs->names[place].text);
    fs->names_count--;
    memmove(fs->names + place, fs->names + place + 1,
            (fs->names_count - place) * sizeof *fs->names);
    return inode;
}

size_t sim_fs_dir_length(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash == NULL ? 0 : (size_t)(slash - name);
}

bool sim_fs_in_dir(const char *name, const char *dir)
{
    size_t length = strcmp(dir, ".") == 0 ? 0 : strlen(dir);
    return sim_fs_dir_length(name) == length && memcmp(name, dir, length) == 0;
}

bool sim_fs_dir_exists(const struct sim_fs *fs, const char *name)
{
    size_t length = sim_fs_dir_length(name);
    if (length == 0) {
        return true;
    }
    char *dir = alloc_string(name);
    dir[length] = 0;
    struct name *found = sim_fs_name_find(fs, dir);
    free(dir);
    return found != NULL && found->inode == NULL;
}
