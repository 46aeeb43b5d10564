/* What the nodes of a real cluster are started with. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "scenario/target_real_internal.h"
#include "wire/reader.h"

enum { DEPTH_MAX = 16 };

/* ---- Lua text ------------------------------------------------------------------------------- */

static void add_quoted(struct buffer *out, struct bytes text)
{
    buffer_add_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c >= ' ' && c < 127 && c != '"' && c != '\\') {
            buffer_add_u8(out, c);
        } else {
            buffer_add_format(out, "\\%03u", c);
        }
    }
    buffer_add_u8(out, '"');
}

static void add_value(struct buffer *out, struct reader *r, int depth);

static void add_table(struct buffer *out, struct reader *r, int depth)
{
    bool is_map = reader_peek(r) == WIRE_MAP;
    uint32_t count = is_map ? read_map(r) : read_array(r);
    buffer_add_u8(out, '{');
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        if (is_map) {
            buffer_add_u8(out, '[');
            add_value(out, r, depth + 1);
            buffer_add_format(out, "]=");
        }
        add_value(out, r, depth + 1);
        buffer_add_u8(out, ',');
    }
    buffer_add_u8(out, '}');
}

/* A MessagePack value as Lua has it. */
static void add_value(struct buffer *out, struct reader *r, int depth)
{
    switch (depth < DEPTH_MAX ? reader_peek(r) : WIRE_NONE) {
    case WIRE_NIL:
        read_nil(r);
        buffer_add_format(out, "nil");
        break;
    case WIRE_BOOL:
        buffer_add_format(out, read_bool(r) ? "true" : "false");
        break;
    case WIRE_UINT:
    case WIRE_INT:
        buffer_add_format(out, "%lld", (long long)read_i64(r));
        break;
    case WIRE_FLOAT:
        buffer_add_format(out, "%.17g", read_f64(r));
        break;
    case WIRE_STR:
    case WIRE_BIN:
        add_quoted(out, read_str_or_bin(r, UINT32_MAX));
        break;
    case WIRE_ARRAY:
    case WIRE_MAP:
        add_table(out, r, depth);
        break;
    default:
        reader_fail(r, ERR_INVALID);
        break;
    }
}

static enum err add_apps(const struct target_options *o, struct buffer *out, struct why *why)
{
    buffer_add_format(out, "  apps = {\n");
    for (uint32_t i = 0; i < o->scripts_count; i++) {
        const struct target_script *script = &o->scripts[i];
        buffer_add_format(out, "    { name = ");
        add_quoted(out, bytes_of_string(script->name));
        buffer_add_format(out, ", script = ");
        add_quoted(out, bytes_of_string(script->path));
        if (script->lua_path != NULL) {
            buffer_add_format(out, ", lua_path = ");
            add_quoted(out, bytes_of_string(script->lua_path));
        }
        if (script->config.size > 0) {
            struct reader r = reader_of(buffer_bytes(&script->config));
            buffer_add_format(out, ", config = ");
            add_value(out, &r, 0);
            if (reader_end(&r) != ERR_OK) {
                return err_why(why, ERR_INVALID, "the config of script %s is not plain data",
                               script->name);
            }
        }
        buffer_add_format(out, " },\n");
    }
    buffer_add_format(out, "  },\n");
    return ERR_OK;
}

static void add_unless_zero(struct buffer *out, const char *key, uint64_t value)
{
    if (value > 0) {
        buffer_add_format(out, " %s = %llu,", key, (unsigned long long)value);
    }
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

/* Those that the cluster begins with; and the node itself, if it is to join them. */
static void add_members(const struct host *h, struct buffer *out)
{
    const struct target_real *t = h->target;
    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct host *other = &t->hosts[i];
        bool joins = i >= t->options->nodes;
        if (!joins || other == h) {
            char text[ADDRESS_TEXT_MAX];
            buffer_add_format(out, "    { id = \"%s\", peer = \"%s\",", other->name,
                              address_text(&other->peer, text));
            buffer_add_format(out, " client = \"%s\", joins = %s },\n",
                              address_text(&other->client, text), truth(joins));
        }
    }
}

static enum err add_config(const struct host *h, struct buffer *out, struct why *why)
{
    const struct target_options *o = h->target->options;
    char text[ADDRESS_TEXT_MAX];
    buffer_add_format(out,
                      "return {\n  cluster = \"" TARGET_REAL_CLUSTER "\", id = \"%s\",\n"
                      "  members = {\n",
                      h->name);
    add_members(h, out);
    buffer_add_format(out, "  },\n  client = \"%s\",", address_text(&h->client, text));
    buffer_add_format(out, " http = \"%s\",\n  data_dir = ", address_text(&h->http, text));
    add_quoted(out, bytes_of_string(h->directory));
    buffer_add_format(out,
                      ",\n  election_ms = { %llu, %llu }, heartbeat_ms = %llu, stop_ms = 2000,\n"
                      "  prevote = %s, check_quorum = %s, lease = %s, fast_failover = %s,\n"
                      "  log = { level = \"debug\", format = \"logfmt\" },\n",
                      (unsigned long long)o->election_min_ms,
                      (unsigned long long)o->election_max_ms, (unsigned long long)o->heartbeat_ms,
                      truth(o->prevote), truth(o->check_quorum), truth(o->lease),
                      truth(o->fast_failover));
    buffer_add_format(out, "  snapshot = {");
    add_unless_zero(out, "entries", o->snapshot_entries);
    add_unless_zero(out, "bytes", o->snapshot_bytes);
    add_unless_zero(out, "keep_entries", o->snapshot_keep_entries);
    buffer_add_format(out, " },\n");
    enum err e = add_apps(h->scripts != NULL ? h->scripts : o, out, why);
    buffer_add_format(out, "}\n");
    return e;
}

enum err target_real_write_config(const struct host *h, struct why *why)
{
    struct buffer text = {0};
    enum err e = add_config(h, &text, why);
    FILE *file = e == ERR_OK ? fopen(h->config, "we") : NULL;
    bool written = file != NULL && fwrite(text.data, 1, text.size, file) == text.size;
    if (file != NULL && fclose(file) != 0) {
        written = false;
    }
    if (e == ERR_OK && !written) {
        e = err_why(why, ERR_IO, "cannot write %s: %s", h->config, strerror(errno));
    }
    buffer_close(&text);
    return e;
}

void target_real_dial_map(const struct host *h, struct buffer *out)
{
    const struct target_real *t = h->target;
    char text[ADDRESS_TEXT_MAX];
    for (uint32_t to = 0; to < t->nodes; to++) {
        const struct proxy *p = t->proxies[h->node - 1][to];
        if (p != NULL) {
            buffer_add_format(out, "%s%s=%s", out->size > 0 ? "," : "", t->hosts[to].name,
                              address_text(proxy_address(p), text));
        }
    }
}

void target_real_membership(const struct target_real *t, struct membership *out)
{
    *out = (struct membership){.count = t->options->nodes};
    for (uint32_t i = 0; i < out->count; i++) {
        struct membership_member *m = &out->at[i];
        char text[ADDRESS_TEXT_MAX];
        snprintf(m->name, sizeof m->name, "%s", t->hosts[i].name);
        m->id = membership_id(m->name);
        snprintf(m->address, sizeof m->address, "%s", address_text(&t->hosts[i].peer, text));
        m->voter = true;
    }
}
