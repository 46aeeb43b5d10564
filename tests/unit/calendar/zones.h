/* The system's time zones, for tests. */
#ifndef MK_TESTS_ZONES_H
#define MK_TESTS_ZONES_H

#include <stdio.h>
#include <stdlib.h>

#include "calendar/time_zone.h"

static inline void zone_file_of_system(const char *name, struct buffer *out)
{
    char path[256];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("%s cannot be read; the tests need the package tzdata", path);
    }
    uint8_t *room = buffer_reserve(out, TIME_ZONE_FILE_MAX);
    out->size = fread(room, 1, TIME_ZONE_FILE_MAX, file);
    fclose(file);
}

/* The caller frees it. */
static inline struct time_zone *zone_of_system(const char *name)
{
    struct buffer file = {0};
    struct why why = {0};
    zone_file_of_system(name, &file);
    struct time_zone *zone = malloc(time_zone_size(buffer_bytes(&file)));
    if (time_zone_read(name, buffer_bytes(&file), zone, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    buffer_close(&file);
    return zone;
}

#endif
