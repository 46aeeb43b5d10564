#include "script/route.h"

#include <string.h>

/* The paths of the node itself (cli/daemon_http.c). */
static const char *const own_paths[] = {
    "/",       "/healthz",  "/livez",   "/readyz",  "/leader",
    "/status", "/follower", "/metrics", "/propose", "/events",
};
enum { OWN_PATHS = sizeof own_paths / sizeof own_paths[0] };
static const char own_prefix[] = "/kv/";

/* What stands between two slashes; text is at the first. */
static struct bytes segment_at(const char *text)
{
    return bytes_of(text + 1, strcspn(text + 1, "/"));
}

static bool is_open(struct bytes segment)
{
    return segment.size > 0 && (segment.data[0] == ':' || segment.data[0] == '*');
}

static bool is_rest(struct bytes segment)
{
    return segment.size > 0 && segment.data[0] == '*';
}

static bool is_word(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')) {
            return false;
        }
    }
    return text.size > 0;
}

static enum err check_own(const char *pattern, struct why *why)
{
    bool own =
        strncmp(pattern, own_prefix, sizeof own_prefix - 1) == 0 || strcmp(pattern, "/kv") == 0;
    for (size_t i = 0; i < OWN_PATHS; i++) {
        own |= strcmp(pattern, own_paths[i]) == 0;
    }
    return own ? err_why(why, ERR_EXISTS, "the node answers %s itself", pattern) : ERR_OK;
}

enum err route_check(const char *pattern, struct why *why)
{
    if (pattern[0] != '/' || strlen(pattern) > ROUTE_BYTES_MAX) {
        return err_why(why, ERR_INVALID,
                       "a path begins with a slash and has at most %d bytes: \"%.100s\"",
                       ROUTE_BYTES_MAX, pattern);
    }
    uint32_t names = 0;
    for (const char *at = pattern; *at != 0;) {
        struct bytes segment = segment_at(at);
        at += 1 + segment.size;
        if (!is_open(segment)) {
            continue;
        }
        if (!is_word(bytes_of(segment.data + 1, segment.size - 1)) || ++names > ROUTE_NAMES_MAX) {
            return err_why(why, ERR_INVALID,
                           "%.100s: a \":\" or \"*\" is followed by a name, and there are at most "
                           "%d of them",
                           pattern, ROUTE_NAMES_MAX);
        }
        if (is_rest(segment) && *at != 0) {
            return err_why(why, ERR_INVALID, "%.100s: \"*%.*s\" stands for all that follows",
                           pattern, (int)segment.size - 1, (const char *)segment.data + 1);
        }
    }
    return check_own(pattern, why);
}

static struct route_part part_of(struct bytes segment, struct bytes value)
{
    return (struct route_part){.name = bytes_of(segment.data + 1, segment.size - 1),
                               .value = value};
}

int route_match(const char *pattern, const char *path, struct route_part *parts)
{
    int count = 0;
    while (*pattern != 0 && *path == '/') {
        struct bytes wanted = segment_at(pattern), given = segment_at(path);
        if (is_rest(wanted)) {
            parts[count++] = part_of(wanted, bytes_of(path + 1, strlen(path + 1)));
            return count;
        }
        if (is_open(wanted) && given.size > 0) {
            parts[count++] = part_of(wanted, given);
        } else if (is_open(wanted) || !bytes_equal(wanted, given)) {
            return -1;
        }
        pattern += 1 + wanted.size;
        path += 1 + given.size;
    }
    return *pattern == 0 && *path == 0 ? count : -1;
}

static int openness(struct bytes segment)
{
    return is_rest(segment) ? 2 : is_open(segment) ? 1 : 0;
}

int route_compare(const char *a, const char *b)
{
    while (*a != 0 && *b != 0) {
        struct bytes left = segment_at(a), right = segment_at(b);
        int difference = openness(left) - openness(right);
        if (difference == 0 && !is_open(left)) {
            difference = bytes_compare(left, right);
        }
        if (difference != 0) {
            return difference;
        }
        a += 1 + left.size;
        b += 1 + right.size;
    }
    return (*a != 0) - (*b != 0);
}
