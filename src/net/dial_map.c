#include "net/dial_map.h"

#include <string.h>

static enum err add(struct dial_map *m, const char *text, size_t size, struct why *why)
{
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals != NULL ? (size_t)(equals - text) : 0;
    size_t address_size = equals != NULL ? size - name_size - 1 : 0;
    if (name_size == 0 || name_size > HANDSHAKE_NAME_MAX || address_size >= ADDRESS_TEXT_MAX ||
        m->count == RAFT_MEMBERS_MAX) {
        return err_why(why, ERR_INVALID, "\"%.*s\" does not say where to dial; write n2=host:port",
                       (int)size, text);
    }
    memcpy(m->at[m->count].name, text, name_size);
    memcpy(m->at[m->count].address, equals + 1, address_size);
    struct address parsed;
    enum err e = address_parse(m->at[m->count].address, 0, &parsed, why);
    m->count += e == ERR_OK;
    return e;
}

enum err dial_map_parse(const char *text, struct dial_map *out, struct why *why)
{
    *out = (struct dial_map){0};
    enum err e = ERR_OK;
    while (e == ERR_OK && *text != 0) {
        size_t size = strcspn(text, ",");
        e = add(out, text, size, why);
        text += size + (text[size] == ',');
    }
    return e;
}

const char *dial_map_address(const struct dial_map *m, const char *name, const char *address)
{
    for (uint32_t i = 0; m != NULL && i < m->count; i++) {
        if (strcmp(m->at[i].name, name) == 0) {
            return m->at[i].address;
        }
    }
    return address;
}
