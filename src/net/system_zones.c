#include "net/system_zones.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ZONES_DIRECTORY "/usr/share/zoneinfo"
#define LOCAL_FILE      "/etc/localtime"

enum { NAME_MAX_BYTES = 128, PATH_MAX_BYTES = 1024 };

/* "America/Argentina/Buenos_Aires": nothing that leads out of the directory. */
static bool is_zone_name(const char *name)
{
    if (strlen(name) > NAME_MAX_BYTES || !isalpha((unsigned char)name[0])) {
        return false;
    }
    for (const char *c = name; *c != 0; c++) {
        bool after_slash = c > name && c[-1] == '/';
        if (!isalnum((unsigned char)*c) && strchr("_+-", *c) == NULL &&
            (*c != '/' || after_slash)) {
            return false;
        }
    }
    return true;
}

static enum err read_all(int fd, void *out, size_t capacity, size_t *size)
{
    uint8_t beyond;
    for (*size = 0;;) {
        size_t room = capacity - *size;
        ssize_t got = read(fd, room > 0 ? (uint8_t *)out + *size : &beyond, room > 0 ? room : 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 ? ERR_OK : ERR_IO;
        }
        if (room == 0) {
            return ERR_TOO_LARGE;
        }
        *size += (size_t)got;
    }
}

static enum err read_zone(void *ctx, const char *name, void *out, size_t capacity, size_t *size,
                          struct why *why)
{
    (void)ctx;
    char path[PATH_MAX_BYTES];
    if (strcmp(name, "local") == 0) {
        snprintf(path, sizeof path, LOCAL_FILE);
    } else if (is_zone_name(name)) {
        const char *directory = getenv("TZDIR");
        snprintf(path, sizeof path, "%s/%s", directory != NULL ? directory : ZONES_DIRECTORY, name);
    } else {
        return err_why(why, ERR_INVALID,
                       "'%s' is not the name of a time zone, such as Europe/Berlin or UTC", name);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_why(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                       "time zone '%s': cannot open %s: %s (names are those of the tz database, "
                       "such as Europe/Berlin; it comes with the package tzdata)",
                       name, path, strerror(errno));
    }
    enum err e = read_all(fd, out, capacity, size);
    close(fd);
    return e == ERR_OK
               ? ERR_OK
               : err_why(why, e, "time zone '%s': cannot read %s: %s", name, path, err_message(e));
}

const struct zones_port *system_zones(void)
{
    static const struct zones_port port = {.read = read_zone};
    return &port;
}
