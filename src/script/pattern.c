#include "script/pattern.h"

#include <string.h>

#include "base/assert.h"

/* ---- compiling ----------------------------------------------------------------------------- */

struct compiling {
    struct pattern *p;
    const uint8_t *at;
    const uint8_t *end;
    uint8_t open[PATTERN_CAPTURES_MAX]; /* captures that are not closed, innermost last */
    size_t open_count;
    const char *reason;
};

static bool fail(struct compiling *c, const char *reason)
{
    c->reason = reason;
    return false;
}

static void set_add(uint64_t set[4], uint8_t byte)
{
    set[byte >> 6] |= UINT64_C(1) << (byte & 63);
}

static bool set_has(const uint64_t set[4], uint8_t byte)
{
    return (set[byte >> 6] >> (byte & 63) & 1) != 0;
}

static bool in_class(uint8_t class, int c)
{
    bool lower = c >= 'a' && c <= 'z';
    bool upper = c >= 'A' && c <= 'Z';
    bool digit = c >= '0' && c <= '9';
    bool graph = c > ' ' && c < 0x7f;
    switch (class) {
    case 'a':
        return lower || upper;
    case 'c':
        return c < ' ' || c == 0x7f;
    case 'd':
        return digit;
    case 'g':
        return graph;
    case 'l':
        return lower;
    case 'p':
        return graph && !lower && !upper && !digit;
    case 's':
        return c == ' ' || (c >= '\t' && c <= '\r');
    case 'u':
        return upper;
    case 'w':
        return lower || upper || digit;
    default: /* 'x' */
        return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    }
}

/* %c: a class of characters, or the character itself. */
static void set_add_escape(uint64_t set[4], uint8_t letter)
{
    uint8_t class = letter | 0x20;
    bool is_letter = (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z');
    if (!is_letter || strchr("acdglpsuwx", class) == NULL) {
        set_add(set, letter);
        return;
    }
    for (int c = 0; c < 256; c++) {
        if (in_class(class, c) == (letter == class)) {
            set_add(set, (uint8_t)c);
        }
    }
}

/* After '['. */
static bool compile_set(struct compiling *c, uint64_t set[4])
{
    bool complement = c->at < c->end && *c->at == '^';
    c->at += complement ? 1 : 0;
    for (bool first = true; c->at < c->end && (first || *c->at != ']'); first = false) {
        uint8_t low = *c->at++;
        if (low == '%') {
            if (c->at == c->end) {
                return fail(c, "malformed pattern (ends with '%')");
            }
            set_add_escape(set, *c->at++);
        } else if (c->end - c->at >= 2 && c->at[0] == '-' && c->at[1] != ']') {
            for (int byte = low; byte <= c->at[1]; byte++) {
                set_add(set, (uint8_t)byte);
            }
            c->at += 2;
        } else {
            set_add(set, low);
        }
    }
    if (c->at == c->end) {
        return fail(c, "malformed pattern (missing ']')");
    }
    c->at++;
    for (int i = 0; complement && i < 4; i++) {
        set[i] = ~set[i];
    }
    return true;
}

static bool compile_open(struct compiling *c, struct pattern_item *item)
{
    struct pattern *p = c->p;
    if (p->captures_count == PATTERN_CAPTURES_MAX) {
        return fail(c, "too many captures");
    }
    item->number = (uint8_t)p->captures_count++;
    if (c->at < c->end && *c->at == ')') {
        c->at++;
        item->kind = PATTERN_POSITION;
        return true;
    }
    item->kind = PATTERN_OPEN;
    c->open[c->open_count++] = item->number;
    return true;
}

static bool compile_close(struct compiling *c, struct pattern_item *item)
{
    if (c->open_count == 0) {
        return fail(c, "invalid pattern capture");
    }
    item->kind = PATTERN_CLOSE;
    item->number = c->open[--c->open_count];
    return true;
}

static bool compile_again(struct compiling *c, struct pattern_item *item, uint8_t digit)
{
    item->kind = PATTERN_AGAIN;
    item->number = (uint8_t)(digit - '1');
    if (digit == '0' || item->number >= c->p->captures_count) {
        return fail(c, "invalid capture index");
    }
    for (size_t i = 0; i < c->open_count; i++) {
        if (c->open[i] == item->number) {
            return fail(c, "invalid capture index");
        }
    }
    return true;
}

/* After '%'. *is_byte: it may be repeated. */
static bool compile_escape(struct compiling *c, struct pattern_item *item, bool *is_byte)
{
    if (c->at == c->end) {
        return fail(c, "malformed pattern (ends with '%')");
    }
    uint8_t letter = *c->at++;
    *is_byte = false;
    if (letter >= '0' && letter <= '9') {
        return compile_again(c, item, letter);
    }
    if (letter == 'b') {
        if (c->end - c->at < 2) {
            return fail(c, "malformed pattern (missing arguments to '%b')");
        }
        item->kind = PATTERN_BALANCED;
        memcpy(item->pair, c->at, 2);
        c->at += 2;
        return true;
    }
    if (letter == 'f') {
        if (c->at == c->end || *c->at != '[') {
            return fail(c, "missing '[' after '%f' in pattern");
        }
        c->at++;
        item->kind = PATTERN_FRONTIER;
        return compile_set(c, item->set);
    }
    *is_byte = true;
    set_add_escape(item->set, letter);
    return true;
}

static bool compile_item(struct compiling *c, struct pattern_item *item)
{
    uint8_t byte = *c->at++;
    bool is_byte = true;
    bool ok = true;
    if (byte == '(' || byte == ')') {
        return byte == '(' ? compile_open(c, item) : compile_close(c, item);
    }
    if (byte == '$' && c->at == c->end) {
        item->kind = PATTERN_END;
        return true;
    }
    if (byte == '%') {
        ok = compile_escape(c, item, &is_byte);
    } else if (byte == '[') {
        ok = compile_set(c, item->set);
    } else if (byte == '.') {
        memset(item->set, 0xff, sizeof item->set);
    } else {
        set_add(item->set, byte);
    }
    if (ok && is_byte && c->at < c->end && *c->at != 0 && strchr("?*+-", *c->at) != NULL) {
        item->repeat = (char)*c->at++;
    }
    return ok;
}

bool pattern_compile(struct pattern *p, struct bytes text, bool with_anchor, const char **reason)
{
    struct compiling c = {.p = p, .at = text.data, .end = text.data + text.size};
    p->items_count = 0;
    p->captures_count = 0;
    p->anchored = with_anchor && text.size > 0 && text.data[0] == '^';
    c.at += p->anchored ? 1 : 0;
    while (c.at < c.end) {
        if (p->items_count == PATTERN_ITEMS_MAX) {
            *reason = "pattern too complex";
            return false;
        }
        struct pattern_item *item = &p->items[p->items_count++];
        *item = (struct pattern_item){.kind = PATTERN_BYTE};
        if (!compile_item(&c, item)) {
            *reason = c.reason;
            return false;
        }
    }
    if (c.open_count > 0) {
        *reason = "unfinished capture";
        return false;
    }
    return true;
}

/* ---- matching ------------------------------------------------------------------------------ */

struct matching {
    const struct pattern *p;
    const uint8_t *begin;
    const uint8_t *end;
    struct meter *meter;
    struct pattern_match *out;
};

static bool byte_matches(const struct matching *m, const struct pattern_item *item,
                         const uint8_t *at)
{
    return at < m->end && set_has(item->set, *at);
}

static const uint8_t *match_items(struct matching *m, size_t i, const uint8_t *at);

/* As many as there are, then fewer. */
static const uint8_t *match_greedy(struct matching *m, size_t i, const uint8_t *at)
{
    const struct pattern_item *item = &m->p->items[i];
    const uint8_t *last = at;
    while (byte_matches(m, item, last) && (item->repeat != '?' || last == at)) {
        last++;
    }
    if (!meter_spend(m->meter, 1 + (uint64_t)(last - at) / 16)) {
        return NULL;
    }
    size_t least = item->repeat == '+' ? 1 : 0;
    if ((size_t)(last - at) < least) {
        return NULL;
    }
    for (;; last--) {
        const uint8_t *end = match_items(m, i + 1, last);
        if (end != NULL || m->meter->exhausted || last == at + least) {
            return end;
        }
    }
}

static const uint8_t *match_lazy(struct matching *m, size_t i, const uint8_t *at)
{
    for (;;) {
        const uint8_t *end = match_items(m, i + 1, at);
        if (end != NULL || m->meter->exhausted || !byte_matches(m, &m->p->items[i], at)) {
            return end;
        }
        at++;
    }
}

/* The end of what begins with pair[0] and closes with pair[1]; NULL if it does not. */
static const uint8_t *match_balanced(struct matching *m, const struct pattern_item *item,
                                     const uint8_t *at)
{
    if (at == m->end || *at != item->pair[0]) {
        return NULL;
    }
    size_t depth = 1;
    const uint8_t *start = at;
    for (at++; at < m->end; at++) {
        if (*at == item->pair[1]) {
            if (--depth == 0) {
                return meter_spend(m->meter, (uint64_t)(at - start) / 8) ? at + 1 : NULL;
            }
        } else if (*at == item->pair[0]) {
            depth++;
        }
    }
    meter_spend(m->meter, (uint64_t)(at - start) / 8);
    return NULL;
}

/* Between a byte outside of the set and one inside; beyond the ends there is a zero byte. */
static bool match_frontier(const struct matching *m, const struct pattern_item *item,
                           const uint8_t *at)
{
    uint8_t before = at == m->begin ? 0 : at[-1];
    uint8_t here = at == m->end ? 0 : *at;
    return !set_has(item->set, before) && set_has(item->set, here);
}

static const uint8_t *match_again(struct matching *m, const struct pattern_item *item,
                                  const uint8_t *at)
{
    struct pattern_capture capture = m->out->captures[item->number];
    if (capture.end == NULL) {
        return NULL;
    }
    size_t size = (size_t)(capture.end - capture.start);
    bool same = size <= (size_t)(m->end - at) && memcmp(capture.start, at, size) == 0;
    return same && meter_spend(m->meter, size / 16) ? at + size : NULL;
}

/* A capture begins or ends at at, or is this position. Nothing is undone when the attempt fails:
 * the next one passes the same items again before anything reads the capture. */
static void capture(struct matching *m, const struct pattern_item *item, const uint8_t *at)
{
    struct pattern_capture *c = &m->out->captures[item->number];
    if (item->kind == PATTERN_CLOSE) {
        c->end = at;
    } else {
        *c = (struct pattern_capture){.start = at};
    }
}

/* The end of a match of the items from i on; NULL if there is none. Recursion goes from an item to
 * a later one only, so its depth is that of the pattern. */
static const uint8_t *match_items(struct matching *m, size_t i, const uint8_t *at)
{
    for (; i < m->p->items_count; i++) {
        const struct pattern_item *item = &m->p->items[i];
        if (!meter_spend(m->meter, 1)) {
            return NULL;
        }
        switch (item->kind) {
        case PATTERN_BYTE:
            if (item->repeat != 0) {
                return item->repeat == '-' ? match_lazy(m, i, at) : match_greedy(m, i, at);
            }
            if (!byte_matches(m, item, at)) {
                return NULL;
            }
            at++;
            break;
        case PATTERN_OPEN:
        case PATTERN_CLOSE:
        case PATTERN_POSITION:
            capture(m, item, at);
            break;
        case PATTERN_AGAIN:
            at = match_again(m, item, at);
            break;
        case PATTERN_BALANCED:
            at = match_balanced(m, item, at);
            break;
        case PATTERN_FRONTIER:
            at = match_frontier(m, item, at) ? at : NULL;
            break;
        case PATTERN_END:
            at = at == m->end ? at : NULL;
            break;
        }
        if (at == NULL) {
            return NULL;
        }
    }
    return at;
}

bool pattern_match_at(const struct pattern *p, struct bytes subject, const uint8_t *from,
                      struct meter *meter, struct pattern_match *out)
{
    ASSERT(from != NULL); /* an empty subject has a place, too: Lua's strings do */
    struct matching m = {
        .p = p,
        .begin = subject.data,
        .end = subject.data + subject.size,
        .meter = meter,
        .out = out,
    };
    out->start = from;
    out->end = match_items(&m, 0, from);
    return out->end != NULL;
}

bool pattern_search(const struct pattern *p, struct bytes subject, const uint8_t *from,
                    struct meter *meter, struct pattern_match *out)
{
    const uint8_t *end = subject.data + subject.size;
    for (const uint8_t *at = from; at <= end && !meter->exhausted; at++) {
        if (pattern_match_at(p, subject, at, meter, out)) {
            return true;
        }
        if (p->anchored || !meter_spend(meter, 1)) {
            return false;
        }
    }
    return false;
}
