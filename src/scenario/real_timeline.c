#include "scenario/real_timeline.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

enum { LINES_KEPT = 1024, LINE_MAX = 512 };

struct line {
    uint64_t time_us;
    char *text; /* as it is printed */
};

struct real_timeline {
    int64_t wall_ms;
    void (*live)(void *ctx, const char *line);
    void *live_ctx;
    struct line ring[LINES_KEPT]; /* the oldest is at begin % LINES_KEPT */
    uint64_t begin, end;
};

static struct line *at(const struct real_timeline *t, uint64_t i)
{
    return (struct line *)&t->ring[i % LINES_KEPT];
}

struct real_timeline *real_timeline_new(int64_t wall_ms)
{
    struct real_timeline *t = NEW(struct real_timeline);
    t->wall_ms = wall_ms;
    return t;
}

void real_timeline_free(struct real_timeline *t)
{
    if (t == NULL) {
        return;
    }
    for (; t->begin < t->end; t->begin++) {
        free(at(t, t->begin)->text);
    }
    free(t);
}

void real_timeline_set_live(struct real_timeline *t, void (*live)(void *ctx, const char *line),
                            void *ctx)
{
    t->live = live;
    t->live_ctx = ctx;
}

static void add(struct real_timeline *t, uint64_t time_us, uint32_t node, const char *text)
{
    char line[LINE_MAX], who[16] = "--";
    if (node != 0) {
        snprintf(who, sizeof who, "n%" PRIu32, node);
    }
    snprintf(line, sizeof line, "%4" PRIu64 ".%06" PRIu64 "  %-3s %s", time_us / 1000000,
             time_us % 1000000, who, text);
    if (t->live != NULL) {
        t->live(t->live_ctx, line);
    }
    if (t->end - t->begin == LINES_KEPT) {
        free(at(t, t->begin++)->text);
    }
    uint64_t place = t->end++;
    for (; place > t->begin && at(t, place - 1)->time_us > time_us; place--) {
        *at(t, place) = *at(t, place - 1);
    }
    *at(t, place) = (struct line){.time_us = time_us, .text = alloc_string(line)};
}

void real_timeline_note(struct real_timeline *t, uint64_t time_us, uint32_t node,
                        const char *format, ...)
{
    char text[LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add(t, time_us, node, text);
}

/* "ts=2026-11-21T14:23:17.123Z level=info msg=..." */
static bool read_stamp(const char *line, int64_t *wall_ms, const char **rest)
{
    struct tm tm = {0};
    int ms, used = 0;
    if (sscanf(line, "ts=%d-%d-%dT%d:%d:%d.%dZ level=%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms, &used) != 7 ||
        used == 0) {
        return false;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *wall_ms = (int64_t)timegm(&tm) * 1000 + ms;
    *rest = line + used;
    return true;
}

void real_timeline_log(struct real_timeline *t, uint64_t time_us, uint32_t node, const char *line)
{
    int64_t wall_ms;
    const char *text = line;
    if (read_stamp(line, &wall_ms, &text)) {
        uint64_t stamp_us = wall_ms > t->wall_ms ? (uint64_t)(wall_ms - t->wall_ms) * 1000 : 0;
        /* The stamp is cut to the millisecond: no line comes before what led to it. */
        stamp_us += 999;
        time_us = stamp_us < time_us ? stamp_us : time_us; /* nor is it read before it is written */
    }
    char said[LINE_MAX], name[24];
    snprintf(name, sizeof name, " node=n%" PRIu32, node); /* which stands in front already */
    snprintf(said, sizeof said, "%s", text);
    char *at_name = strstr(said, name);
    if (at_name != NULL) {
        memmove(at_name, at_name + strlen(name), strlen(at_name + strlen(name)) + 1);
    }
    add(t, time_us, node, said);
}

void real_timeline_print(const struct real_timeline *t, uint32_t lines_max, struct buffer *out)
{
    uint64_t first = t->end - t->begin > lines_max ? t->end - lines_max : t->begin;
    for (uint64_t i = first; i < t->end; i++) {
        buffer_add_format(out, "%s\n", at(t, i)->text);
    }
}
