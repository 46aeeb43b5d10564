#include "base/url.h"

#include <stdio.h>
#include <string.h>

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_name_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == '_';
}

static bool is_number_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || c == ':' || c == '.';
}

/* "http://" or "https://", in any case. NULL: neither. */
static const char *after_scheme(const char *text, bool *tls)
{
    static const char scheme[] = "http";
    size_t i = 0;
    while (scheme[i] != 0 && lower(text[i]) == scheme[i]) {
        i++;
    }
    if (scheme[i] != 0) {
        return NULL;
    }
    *tls = lower(text[i]) == 's';
    i += *tls ? 1 : 0;
    return strncmp(text + i, "://", 3) == 0 ? text + i + 3 : NULL;
}

/* The host at text, up to end. Returns what follows it; NULL: there is none. */
static const char *take_host(const char *text, const char *end, struct url *out)
{
    bool is_number = text < end && *text == '[';
    size_t size = 0;
    text += is_number ? 1 : 0;
    while (text < end && size < URL_HOST_MAX &&
           (is_number ? is_number_char(lower(*text)) : is_name_char(lower(*text)))) {
        out->host[size++] = lower(*text++);
    }
    out->host[size] = 0;
    if (is_number && (text == end || *text++ != ']')) {
        return NULL;
    }
    return size > 0 ? text : NULL;
}

/* ":8080", or nothing. */
static bool take_port(const char *text, const char *end, struct url *out)
{
    out->port = out->tls ? HTTPS_PORT : HTTP_PORT;
    if (text == end) {
        return true;
    }
    uint32_t port = 0;
    const char *at = text + 1;
    while (at < end && is_digit(*at) && port <= UINT16_MAX) {
        port = port * 10 + (uint32_t)(*at++ - '0');
    }
    out->port = (uint16_t)port;
    return *text == ':' && at == end && port >= 1 && port <= UINT16_MAX;
}

/* What may stand in a request line: nothing that would end it, or needs encoding. */
static enum err take_target(const char *text, struct url *out, struct why *why)
{
    size_t size = strcspn(text, "#"), slash = *text == '/' ? 0 : 1;
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return err_why(why, ERR_INVALID,
                           "the path of a URL has a blank, a control character or a letter beyond "
                           "ASCII in it, which must be percent-encoded");
        }
    }
    if (size + slash > URL_TARGET_MAX) {
        return err_why(why, ERR_INVALID, "a URL of more than %d bytes", URL_TARGET_MAX);
    }
    out->target[0] = '/';
    memcpy(out->target + slash, text, size);
    out->target[size + slash] = 0;
    return ERR_OK;
}

enum err url_parse(const char *text, struct url *out, struct why *why)
{
    const char *authority = after_scheme(text, &out->tls);
    if (authority == NULL) {
        return err_why(why, ERR_INVALID,
                       "\"%.100s\" is no URL: it begins neither with http:// nor "
                       "with https://",
                       text);
    }
    const char *end = authority + strcspn(authority, "/?#");
    if (memchr(authority, '@', (size_t)(end - authority)) != NULL) {
        return err_why(why, ERR_INVALID,
                       "a URL with a name or password before its host: send an authorization "
                       "header instead");
    }
    const char *port = take_host(authority, end, out);
    if (port == NULL || !take_port(port, end, out)) {
        return err_why(why, ERR_INVALID,
                       "\"%.100s\": what follows the :// is no host, or host:port", text);
    }
    return take_target(end, out, why);
}

const char *url_host_text(const struct url *u, char out[URL_TEXT_MAX])
{
    bool is_number = strchr(u->host, ':') != NULL;
    int size = snprintf(out, URL_TEXT_MAX, is_number ? "[%s]" : "%s", u->host);
    if (u->port != (u->tls ? HTTPS_PORT : HTTP_PORT)) {
        snprintf(out + size, URL_TEXT_MAX - (size_t)size, ":%u", u->port);
    }
    return out;
}

const char *url_text(const struct url *u, char out[URL_TEXT_MAX])
{
    char host[URL_TEXT_MAX];
    url_host_text(u, host);
    /* Both are bounded by what url_parse() takes. */
    snprintf(out, URL_TEXT_MAX, "%s://%.*s%s", u->tls ? "https" : "http", URL_HOST_MAX + 8, host,
             u->target);
    return out;
}

static int hex_of(uint8_t c)
{
    char l = lower((char)c);
    return is_digit(l) ? l - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

bool url_decode_path(struct bytes path, struct buffer *out)
{
    for (size_t i = 0; i < path.size; i++) {
        uint8_t c = path.data[i];
        if (c == '%' && i + 2 < path.size && hex_of(path.data[i + 1]) >= 0 &&
            hex_of(path.data[i + 2]) >= 0) {
            c = (uint8_t)(hex_of(path.data[i + 1]) * 16 + hex_of(path.data[i + 2]));
            i += 2;
        }
        if (c == 0) {
            return false;
        }
        buffer_add_u8(out, c);
    }
    return path.size > 0 && path.data[0] == '/';
}
