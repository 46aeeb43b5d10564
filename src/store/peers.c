#include "store/peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/identity.h"
#include "store/small_file.h"

#define FIRST_LINE "moonkeeper peers, format 1\n"

void peers_close(struct peers *p)
{
    free(p->at);
    *p = (struct peers){0};
}

const struct peer *peers_find(const struct peers *p, uint64_t id)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->at[i].id == id) {
            return &p->at[i];
        }
    }
    return NULL;
}

enum err peers_add(struct peers *p, uint64_t id, const uint8_t uuid[STORE_UUID_BYTES])
{
    ASSERT(peers_find(p, id) == NULL);
    if (p->count == PEERS_MAX) {
        return ERR_TOO_LARGE;
    }
    p->at = alloc_resize(p->at, p->count + 1, sizeof *p->at);
    p->at[p->count].id = id;
    memcpy(p->at[p->count].uuid, uuid, STORE_UUID_BYTES);
    p->count++;
    p->dirty = true;
    return ERR_OK;
}

void peers_remove(struct peers *p, uint64_t id)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->at[i].id == id) {
            p->count--;
            memmove(p->at + i, p->at + i + 1, (p->count - i) * sizeof *p->at);
            p->dirty = true;
            return;
        }
    }
}

void peers_format(const struct peers *p, struct buffer *text)
{
    buffer_add_format(text, FIRST_LINE);
    for (size_t i = 0; i < p->count; i++) {
        char uuid[UUID_TEXT_BYTES];
        uuid_format(p->at[i].uuid, uuid);
        buffer_add_format(text, "peer %016" PRIx64 " %s\n", p->at[i].id, uuid);
    }
}

static bool parse(struct peers *p, const char *text)
{
    if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0) {
        return false;
    }
    text += strlen(FIRST_LINE);
    while (*text != 0) {
        uint64_t id;
        uint8_t uuid[STORE_UUID_BYTES];
        int uuid_at = 0;
        if (sscanf(text, "peer %16" SCNx64 " %n", &id, &uuid_at) != 1 || uuid_at == 0 ||
            !uuid_parse(text + uuid_at, uuid) || text[uuid_at + UUID_TEXT_BYTES - 1] != '\n' ||
            peers_find(p, id) != NULL || peers_add(p, id, uuid) != ERR_OK) {
            return false;
        }
        text += uuid_at + UUID_TEXT_BYTES;
    }
    p->dirty = false;
    return true;
}

enum err peers_read(struct peers *p, const struct fs_port *fs, struct why *why)
{
    struct buffer text = {0};
    enum err err = small_file_read(fs, "peers", &text, why);
    if (err == ERR_OK && !parse(p, buffer_text(&text))) {
        err = err_why(why, ERR_CORRUPT, "%s/peers cannot be understood: restore it",
                      fs->v->path(fs->ctx));
    }
    buffer_close(&text);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}
