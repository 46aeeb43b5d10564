#include "cli/addresses.h"

#include <stdio.h>
#include <string.h>

static enum err parse(const struct config *c, const char *what, const char *text, uint16_t port,
                      struct address *out, struct why *why)
{
    struct why reason = {""};
    if (address_parse(text, port, out, &reason) != ERR_OK) {
        return err_why(why, ERR_INVALID, "%s: %s: %s", c->path, what, reason.text);
    }
    return ERR_OK;
}

static enum err parse_members(const struct config *c, struct addresses *out, struct why *why)
{
    for (uint32_t i = 0; i < c->members_count; i++) {
        const struct config_member *m = &c->members[i];
        struct address peer, client;
        char what[40];
        snprintf(what, sizeof what, "members[%u].peer", i + 1);
        enum err e = parse(c, what, m->peer, DEFAULT_PEER_PORT, &peer, why);
        if (e == ERR_OK && peer.port == 0) {
            e = err_why(why, ERR_INVALID, "%s: %s needs a port, for others to dial", c->path, what);
        }
        if (e == ERR_OK && m->client != NULL) {
            snprintf(what, sizeof what, "members[%u].client", i + 1);
            e = parse(c, what, m->client, DEFAULT_CLIENT_PORT, &client, why);
        }
        if (e != ERR_OK) {
            return e;
        }
        if (m == config_self(c)) {
            out->peer = peer;
        }
    }
    return ERR_OK;
}

static enum err check_loopback(const struct config *c, const char *what, const struct address *a,
                               struct why *why)
{
    if (c->insecure || address_is_loopback(a)) {
        return ERR_OK;
    }
    char text[ADDRESS_TEXT_MAX];
    return err_why(why, ERR_INVALID,
                   "%s: the %s address %s can be reached from other machines, and this version has "
                   "neither TLS nor tokens to protect it; if your network does, say so with "
                   "--insecure (or insecure = true)",
                   c->path, what, address_text(a, text));
}

static enum err check_distinct(const struct config *c, const char *what, const struct address *a,
                               const char *other, const struct address *b, struct why *why)
{
    if (a->port == 0 || a->port != b->port || strcmp(a->host, b->host) != 0) {
        return ERR_OK;
    }
    char text[ADDRESS_TEXT_MAX];
    return err_why(why, ERR_INVALID, "%s: %s and %s are both %s; each listener needs its own port",
                   c->path, what, other, address_text(a, text));
}

enum err addresses_of(const struct config *c, struct addresses *out, struct why *why)
{
    *out = (struct addresses){.has_http = c->http != NULL};
    enum err e = parse_members(c, out, why);
    e = e != ERR_OK ? e : parse(c, "client", c->client, DEFAULT_CLIENT_PORT, &out->client, why);
    e = e != ERR_OK ? e : check_loopback(c, "peer", &out->peer, why);
    e = e != ERR_OK ? e : check_loopback(c, "client", &out->client, why);
    e = e != ERR_OK ? e : check_distinct(c, "peer", &out->peer, "client", &out->client, why);
    if (e == ERR_OK && out->has_http) {
        e = parse(c, "http", c->http, DEFAULT_HTTP_PORT, &out->http, why);
        e = e != ERR_OK ? e : check_loopback(c, "http", &out->http, why);
        e = e != ERR_OK ? e : check_distinct(c, "peer", &out->peer, "http", &out->http, why);
        e = e != ERR_OK ? e : check_distinct(c, "client", &out->client, "http", &out->http, why);
    }
    return e;
}
