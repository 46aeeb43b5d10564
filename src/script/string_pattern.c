#include "script/string_pattern.h"

#include <lauxlib.h>
#include <string.h>

#include "script/pattern.h"
#include "script/value.h"

/* One call: who pays for it. */
struct call {
    lua_State *L;
    const struct string_budget *budget;
    struct meter *meter;
};

static struct call begin(lua_State *L, const struct string_budget *budget)
{
    return (struct call){.L = L, .budget = budget, .meter = budget->meter(L)};
}

static void spend_bytes(const struct call *c, size_t size_bytes)
{
    if (!meter_spend(c->meter, 1 + size_bytes / 16)) {
        c->budget->exhausted(c->L);
    }
}

static struct bytes check_bytes(lua_State *L, int index)
{
    size_t size;
    const char *text = luaL_checklstring(L, index, &size);
    return bytes_of(text, size);
}

/* A pattern takes a few kilobytes: it lives in a userdata, below what the function pushes. */
static struct pattern *push_pattern(const struct call *c, int index, bool with_anchor)
{
    lua_State *L = c->L;
    const char *reason;
    struct bytes text = check_bytes(L, index);
    spend_bytes(c, text.size);
    struct pattern *p = lua_newuserdatauv(L, sizeof *p, 0);
    if (!pattern_compile(p, text, with_anchor, &reason)) {
        luaL_error(L, "%s", reason);
    }
    return p;
}

static bool search(const struct call *c, const struct pattern *p, struct bytes subject,
                   const uint8_t *from, struct pattern_match *match)
{
    bool found = pattern_search(p, subject, from, c->meter, match);
    if (c->meter->exhausted) {
        c->budget->exhausted(c->L);
    }
    return found;
}

static void push_capture(lua_State *L, struct bytes subject, const struct pattern_capture *c)
{
    if (c->end == NULL) {
        lua_pushinteger(L, c->start - subject.data + 1);
    } else {
        lua_pushlstring(L, (const char *)c->start, (size_t)(c->end - c->start));
    }
}

/* Push all captures; of a pattern without any, the whole match if whole says so. */
static int push_captures(lua_State *L, const struct pattern *p, struct bytes subject,
                         const struct pattern_match *match, bool whole)
{
    luaL_checkstack(L, (int)p->captures_count + 1, NULL);
    for (uint32_t i = 0; i < p->captures_count; i++) {
        push_capture(L, subject, &match->captures[i]);
    }
    if (p->captures_count == 0 && whole) {
        lua_pushlstring(L, (const char *)match->start, (size_t)(match->end - match->start));
        return 1;
    }
    return (int)p->captures_count;
}

/* The place that the argument init names, NULL if it is beyond the end. */
static const uint8_t *check_init(lua_State *L, int index, struct bytes subject)
{
    lua_Integer size = (lua_Integer)subject.size;
    lua_Integer init = luaL_optinteger(L, index, 1);
    if (init < 0) {
        init = init < -size ? 1 : size + init + 1;
    } else if (init == 0) {
        init = 1;
    }
    return init > size + 1 ? NULL : subject.data + (init - 1);
}

static int find_plain(lua_State *L, struct bytes subject, const uint8_t *from, struct bytes text)
{
    size_t left = subject.size - (size_t)(from - subject.data);
    const uint8_t *found = text.size == 0 ? from : memmem(from, left, text.data, text.size);
    if (found == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - subject.data + 1);
    lua_pushinteger(L, found - subject.data + (lua_Integer)text.size);
    return 2;
}

static int find_or_match(lua_State *L, const struct string_budget *budget, bool find)
{
    struct call c = begin(L, budget);
    struct bytes subject = check_bytes(L, 1);
    struct bytes text = check_bytes(L, 2);
    const uint8_t *from = check_init(L, 3, subject);
    if (from == NULL) {
        lua_pushnil(L);
        return 1;
    }
    if (find && lua_toboolean(L, 4)) {
        spend_bytes(&c, subject.size + text.size);
        return find_plain(L, subject, from, text);
    }
    const struct pattern *p = push_pattern(&c, 2, true);
    struct pattern_match match;
    if (!search(&c, p, subject, from, &match)) {
        lua_pushnil(L);
        return 1;
    }
    if (!find) {
        return push_captures(L, p, subject, &match, true);
    }
    lua_pushinteger(L, match.start - subject.data + 1);
    lua_pushinteger(L, match.end - subject.data);
    return 2 + push_captures(L, p, subject, &match, false);
}

int string_pattern_find(lua_State *L, const struct string_budget *budget)
{
    return find_or_match(L, budget, true);
}

int string_pattern_match(lua_State *L, const struct string_budget *budget)
{
    return find_or_match(L, budget, false);
}

/* Upvalues: subject, pattern (userdata), where to go on, end of the last match (offsets), budget.
 */
static int next_match(lua_State *L)
{
    struct call c = begin(L, lua_touserdata(L, lua_upvalueindex(5)));
    struct bytes subject = check_bytes(L, lua_upvalueindex(1));
    const struct pattern *p = lua_touserdata(L, lua_upvalueindex(2));
    const uint8_t *from = subject.data + lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last_end = lua_tointeger(L, lua_upvalueindex(4));
    struct pattern_match match;
    while (from <= subject.data + subject.size && search(&c, p, subject, from, &match)) {
        if (match.end - subject.data == last_end) { /* an empty match right after a match is none */
            from = match.start + 1;
            continue;
        }
        lua_pushinteger(L, match.end - subject.data);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(L, p, subject, &match, true);
    }
    lua_pushinteger(L, (lua_Integer)subject.size + 1);
    lua_replace(L, lua_upvalueindex(3));
    return 0;
}

int string_pattern_gmatch(lua_State *L, const struct string_budget *budget)
{
    struct call c = begin(L, budget);
    struct bytes subject = check_bytes(L, 1);
    const uint8_t *from = check_init(L, 3, subject);
    lua_settop(L, 2);
    push_pattern(&c, 2, false);
    lua_remove(L, 2);
    lua_pushinteger(L, from == NULL ? (lua_Integer)subject.size + 1 : from - subject.data);
    lua_pushinteger(L, -1);
    lua_pushlightuserdata(L, (void *)budget);
    lua_pushcclosure(L, next_match, 5);
    return 1;
}

/* ---- gsub ---------------------------------------------------------------------------------- */

struct substitution {
    struct call call;
    lua_State *L;
    const struct pattern *p;
    struct bytes subject;
    struct buffer *out;
    size_t bytes_max;
};

static void add_bytes(struct substitution *s, struct bytes bytes)
{
    spend_bytes(&s->call, bytes.size);
    if (bytes.size > s->bytes_max - s->out->size) {
        luaL_error(s->L, "the resulting string is too large");
    }
    buffer_add_bytes(s->out, bytes);
}

static void add_value(struct substitution *s, int index)
{
    add_bytes(s, check_bytes(s->L, index));
}

/* The replacement is a string: %0 to %9 stand for captures, %% for %. */
static void add_template(struct substitution *s, const struct pattern_match *match)
{
    lua_State *L = s->L;
    struct bytes text = check_bytes(L, 3);
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t *percent = memchr(text.data + i, '%', text.size - i);
        size_t plain = percent == NULL ? text.size - i : (size_t)(percent - text.data) - i;
        add_bytes(s, bytes_of(text.data + i, plain));
        i += plain + 1;
        if (percent == NULL) {
            return;
        }
        uint8_t c = i < text.size ? text.data[i] : 0;
        uint32_t number = (uint32_t)c - '1';
        if (c == '%') {
            add_bytes(s, bytes_of("%", 1));
        } else if (c == '0' || (c == '1' && s->p->captures_count == 0)) {
            add_bytes(s, bytes_of(match->start, (size_t)(match->end - match->start)));
        } else if (number < s->p->captures_count) {
            push_capture(L, s->subject, &match->captures[number]);
            add_value(s, -1);
            lua_pop(L, 1);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
}

/* The replacement is a table or function: what it gives, or the match itself for false and nil. */
static void add_replacement(struct substitution *s, const struct pattern_match *match)
{
    lua_State *L = s->L;
    struct bytes whole = bytes_of(match->start, (size_t)(match->end - match->start));
    int top = lua_gettop(L);
    if (lua_type(L, 3) == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, s->p, s->subject, match, true), 1);
    } else {
        push_captures(L, s->p, s->subject, match, true);
        lua_settop(L, top + 1);
        lua_gettable(L, 3);
    }
    if (!lua_toboolean(L, -1)) {
        add_bytes(s, whole);
    } else if (lua_isstring(L, -1)) {
        add_value(s, -1);
    } else {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    lua_settop(L, top);
}

int string_pattern_gsub(lua_State *L, const struct string_budget *budget)
{
    struct call c = begin(L, budget);
    int type = lua_type(L, 3);
    bool is_table = type == LUA_TTABLE || (budget->is_table != NULL && budget->is_table(L, 3));
    luaL_argexpected(
        L, type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TFUNCTION || is_table, 3,
        "string/function/table");
    struct bytes subject = check_bytes(L, 1);
    lua_Integer times_max = luaL_optinteger(L, 4, (lua_Integer)subject.size + 1);
    struct substitution s = {
        .call = c, .L = L, .subject = subject, .bytes_max = budget->string_bytes_max(L)};
    s.p = push_pattern(&c, 2, true);
    s.out = value_buffer_push(L);
    const uint8_t *end = subject.data + subject.size;
    const uint8_t *copied = subject.data; /* up to here all is in out */
    const uint8_t *from = subject.data;
    const uint8_t *last_end = NULL;
    lua_Integer times = 0;
    struct pattern_match match;
    while (times < times_max && from <= end && search(&c, s.p, subject, from, &match)) {
        if (match.end == last_end) {
            from = match.start + 1;
        } else {
            add_bytes(&s, bytes_of(copied, (size_t)(match.start - copied)));
            if (type == LUA_TSTRING || type == LUA_TNUMBER) {
                add_template(&s, &match);
            } else {
                add_replacement(&s, &match);
            }
            times++;
            copied = from = last_end = match.end;
        }
        if (s.p->anchored) {
            break;
        }
    }
    add_bytes(&s, bytes_of(copied, (size_t)(end - copied)));
    lua_pushlstring(L, (const char *)s.out->data, s.out->size);
    buffer_close(s.out);
    lua_pushinteger(L, times);
    return 2;
}
