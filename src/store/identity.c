#include "store/identity.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/small_file.h"

#define FIRST_LINE "moonkeeper data directory, format "

enum { FORMAT_VERSION = 1 };

void uuid_format(const uint8_t uuid[STORE_UUID_BYTES], char out[UUID_TEXT_BYTES])
{
    for (size_t i = 0; i < STORE_UUID_BYTES; i++) {
        snprintf(out + 2 * i, 3, "%02x", uuid[i]);
    }
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uuid_parse(const char *text, uint8_t uuid[STORE_UUID_BYTES])
{
    for (size_t i = 0; i < STORE_UUID_BYTES; i++) {
        int high = digit_value(text[2 * i]);
        int low = high < 0 ? -1 : digit_value(text[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        uuid[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The name as far as it can stand between quotes in a line; the id if there is none. */
static void printable(const char *name, uint64_t id, char out[IDENTITY_NAME_BYTES])
{
    if (name == NULL || name[0] == 0) {
        snprintf(out, IDENTITY_NAME_BYTES, "%" PRIx64, id);
        return;
    }
    size_t i = 0;
    for (; i + 1 < IDENTITY_NAME_BYTES && name[i] != 0; i++) {
        out[i] = isprint((unsigned char)name[i]) && name[i] != '"' ? name[i] : '?';
    }
    out[i] = 0;
}

static void from_options(const struct store_options *options, struct identity *id)
{
    *id = (struct identity){
        .version = FORMAT_VERSION, .cluster_id = options->cluster_id, .node_id = options->node_id};
    printable(options->cluster_name, id->cluster_id, id->cluster_name);
    printable(options->node_name, id->node_id, id->node_name);
}

static void format(const struct identity *id, struct buffer *text)
{
    char uuid[UUID_TEXT_BYTES];
    uuid_format(id->uuid, uuid);
    buffer_add_format(text, FIRST_LINE "%u\n", id->version);
    buffer_add_format(text, "cluster %016" PRIx64 " \"%s\"\n", id->cluster_id, id->cluster_name);
    buffer_add_format(text, "node %016" PRIx64 " \"%s\"\n", id->node_id, id->node_name);
    buffer_add_format(text, "storage %s\n", uuid);
}

/* Exactly what format() makes of it, or false. */
static bool parse(struct buffer *text, struct identity *id)
{
    char uuid[UUID_TEXT_BYTES];
    *id = (struct identity){0};
    int fields =
        sscanf(buffer_text(text),
               FIRST_LINE "%u cluster %16" SCNx64 " \"%63[^\"\n]\" node %16" SCNx64
                          " \"%63[^\"\n]\" storage %32s",
               &id->version, &id->cluster_id, id->cluster_name, &id->node_id, id->node_name, uuid);
    if (fields != 6 || strlen(uuid) != UUID_TEXT_BYTES - 1 || !uuid_parse(uuid, id->uuid)) {
        return false;
    }
    struct buffer again = {0};
    format(id, &again);
    bool same = bytes_equal(buffer_bytes(&again), buffer_bytes(text));
    buffer_close(&again);
    return same;
}

enum err identity_write(const struct store_options *options, const uint8_t uuid[STORE_UUID_BYTES],
                        struct why *why)
{
    struct identity id;
    struct buffer text = {0};
    from_options(options, &id);
    memcpy(id.uuid, uuid, STORE_UUID_BYTES);
    format(&id, &text);
    enum err err = small_file_replace(options->fs, "identity", &text, why);
    buffer_close(&text);
    return err;
}

static enum err compare(const struct identity *found, const struct identity *expected,
                        const char *path, struct why *why)
{
    if (found->cluster_id != expected->cluster_id &&
        strcmp(found->cluster_name, expected->cluster_name) == 0) {
        return err_why(why, ERR_WRONG_CLUSTER,
                       "%s belongs to a cluster \"%s\" that was formed of other members than this "
                       "node's configuration lists: restore the ids under members as they were at "
                       "the first start, or give the new cluster another data directory",
                       path, found->cluster_name);
    }
    if (found->cluster_id != expected->cluster_id) {
        return err_why(why, ERR_WRONG_CLUSTER,
                       "%s belongs to cluster \"%s\" (%016" PRIx64
                       "), this node is configured for cluster \"%s\" (%016" PRIx64
                       "): correct the cluster's name or the data directory in the configuration",
                       path, found->cluster_name, found->cluster_id, expected->cluster_name,
                       expected->cluster_id);
    }
    if (found->node_id != expected->node_id) {
        return err_why(why, ERR_WRONG_NODE,
                       "%s belongs to node \"%s\" (%016" PRIx64
                       "), this is configured as node \"%s\" (%016" PRIx64
                       "): correct the node's name or the data directory in the configuration",
                       path, found->node_name, found->node_id, expected->node_name,
                       expected->node_id);
    }
    return ERR_OK;
}

enum err identity_read(const struct fs_port *fs, struct identity *out, struct why *why)
{
    const char *path = fs->v->path(fs->ctx);
    struct buffer text = {0};
    enum err err = small_file_read(fs, "identity", &text, why);
    if (err == ERR_OK) {
        unsigned version;
        bool known = parse(&text, out);
        if (sscanf(buffer_text(&text), FIRST_LINE "%u", &version) == 1 &&
            version != FORMAT_VERSION) {
            err = err_why(why, ERR_VERSION,
                          "%s was written in format %u, this version of moonkeeper knows format %d",
                          path, version, FORMAT_VERSION);
        } else if (!known) {
            err = err_why(why, ERR_CORRUPT, "%s/identity cannot be understood: restore it", path);
        }
    }
    buffer_close(&text);
    return err;
}

enum err identity_check(const struct store_options *options, uint8_t uuid[STORE_UUID_BYTES],
                        struct why *why)
{
    struct identity found, expected;
    enum err err = identity_read(options->fs, &found, why);
    if (err != ERR_OK) {
        return err;
    }
    from_options(options, &expected);
    memcpy(uuid, found.uuid, STORE_UUID_BYTES);
    return compare(&found, &expected, options->fs->v->path(options->fs->ctx), why);
}
