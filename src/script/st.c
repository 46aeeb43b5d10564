#include "script/st.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/st_inline.h"
#include "script/st_path.h"
#include "script/st_tree.h"

enum { SPEND_PER_ACCESS = 4, CHILDREN_KEPT_MAX = 64 };

/* The address is a proxy's type, and the registry key of its metatable. */
static const char proxy_type;

struct st {
    struct st_tree tree;
    bool writable;
    struct buffer encoded;
    /* Proxies of the root's tables by key. Within a command nothing is dropped from it, so whether
     * two of them are the same userdata does not depend on what ran before. */
    int children_ref;
    int root_ref;
    size_t children_count;
    size_t prefix_bytes;
    uint8_t prefix[];
};

struct proxy {
    const void *type;
    struct st *st;
    struct st_place place; /* path points to the bytes below */
    uint32_t depth;        /* levels below the root */
    uint8_t path[];
};

int st_raise_exhausted(lua_State *L)
{
    return luaL_error(L, "the command ran over its instruction limit");
}

static void spend(lua_State *L, struct st *st, uint64_t units)
{
    if (!meter_spend(st->tree.meter, units)) {
        st_raise_exhausted(L);
    }
}

bool st_is(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA) {
        return false;
    }
    const struct proxy *p = lua_touserdata(L, index);
    return p->type == &proxy_type;
}

static struct proxy *check_proxy(lua_State *L, int index)
{
    if (!st_is(L, index)) {
        luaL_typeerror(L, index, "table of st");
    }
    return lua_touserdata(L, index);
}

/* Push a proxy for path, key (none: path itself). */
static struct proxy *push_proxy(lua_State *L, struct st *st, struct bytes path, uint32_t depth)
{
    struct proxy *p = lua_newuserdatauv(L, sizeof *p + path.size, 0);
    *p = (struct proxy){.type = &proxy_type, .st = st, .depth = depth};
    memcpy(p->path, path.data, path.size);
    p->place.path = bytes_of(p->path, path.size);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &proxy_type);
    lua_setmetatable(L, -2);
    return p;
}

static int raise_no_table(lua_State *L)
{
    return luaL_error(L, "this table is no longer part of st");
}

/* ---- reading ------------------------------------------------------------------------------- */

static void push_scalar(lua_State *L, struct bytes value)
{
    struct reader r = reader_of(value);
    size_t memory_bytes = 0;
    if (reader_peek(&r) == WIRE_NIL) {
        value_push_null(L);
        return;
    }
    if (value_read(L, &r, NULL, &memory_bytes) != ERR_OK) {
        luaL_error(L, "the state holds a value that is not MessagePack");
    }
}

/* Push the proxy of the table at key in parent. Those of the root are kept: `st.users` is what
 * every command begins with. */
static void push_child(lua_State *L, struct proxy *parent, const struct value_key *key,
                       enum st_node_kind kind)
{
    struct st *st = parent->st;
    struct buffer *path = &st->tree.path;
    buffer_clear(path);
    buffer_add_bytes(path, parent->place.path);
    st_path_add(path, key);
    struct proxy *p = push_proxy(L, st, buffer_bytes(path), parent->depth + 1);
    p->place.spread_epoch = kind == ST_SPREAD ? st->tree.epoch + 1 : 0;
}

/* Push the proxy of a table of the root, if it is kept. */
static struct proxy *push_kept_child(lua_State *L, struct st *st, int key_index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->children_ref);
    lua_pushvalue(L, key_index);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 2);
        return NULL;
    }
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

/* Keep the proxy at the top as that of the root's table at key_index. */
static void keep_child(lua_State *L, struct st *st, int key_index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->children_ref);
    lua_pushvalue(L, key_index);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    st->children_count++;
}

static void push_table(lua_State *L, struct proxy *parent, const struct value_key *key,
                       int key_index, enum st_node_kind kind)
{
    struct st *st = parent->st;
    if (parent->depth > 0) {
        push_child(L, parent, key, kind);
        return;
    }
    struct proxy *kept = push_kept_child(L, st, key_index);
    if (kept != NULL) {
        kept->place.spread_epoch = kind == ST_SPREAD ? st->tree.epoch + 1 : 0;
        return;
    }
    push_child(L, parent, key, kind);
    keep_child(L, st, key_index);
}

static void push_node(lua_State *L, struct proxy *parent, const struct value_key *key,
                      int key_index, const struct st_node *node)
{
    switch (node->kind) {
    case ST_NO_TABLE:
        raise_no_table(L);
        return;
    case ST_ABSENT:
        lua_pushnil(L);
        return;
    case ST_SCALAR:
        spend(L, parent->st, node->value.size / 64);
        push_scalar(L, node->value);
        return;
    case ST_INLINE:
    case ST_SPREAD:
        push_table(L, parent, key, key_index, node->kind);
        return;
    }
}

static int proxy_index(lua_State *L)
{
    struct proxy *p = check_proxy(L, 1);
    struct st *st = p->st;
    spend(L, st, SPEND_PER_ACCESS);
    struct value_key key;
    if (!value_key_get(L, 2, &key)) {
        lua_pushnil(L);
        return 1;
    }
    if (p->depth == 0) {
        const struct proxy *kept = push_kept_child(L, st, 2);
        if (kept != NULL && kept->place.spread_epoch == st->tree.epoch + 1) {
            return 1;
        }
    }
    struct st_node node = st_tree_get(&st->tree, &p->place, &key);
    push_node(L, p, &key, 2, &node);
    return 1;
}

lua_Integer st_length(lua_State *L, int index)
{
    struct proxy *p = check_proxy(L, index);
    uint64_t length = 0;
    switch (st_tree_length(&p->st->tree, &p->place, &length)) {
    case ERR_OK:
        return (lua_Integer)length;
    case ERR_TIMEOUT:
        return st_raise_exhausted(L);
    default:
        return raise_no_table(L);
    }
}

static int proxy_length(lua_State *L)
{
    lua_pushinteger(L, st_length(L, 1));
    return 1;
}

static int proxy_equal(lua_State *L)
{
    struct proxy *a = check_proxy(L, 1);
    struct proxy *b = check_proxy(L, 2);
    lua_pushboolean(L, a->st == b->st && bytes_equal(a->place.path, b->place.path));
    return 1;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Levels of tables in an encoded value. */
static uint32_t depth_of(struct bytes value)
{
    if (!st_inline_is_table(value)) {
        return 0;
    }
    uint32_t deepest = 0;
    struct st_elements e = st_elements_of(value);
    struct value_key key;
    struct bytes element;
    while (st_elements_next(&e, &key, &element)) {
        uint32_t depth = depth_of(element);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

enum err st_write(struct value_writer *w, int index, void *ctx)
{
    (void)ctx;
    if (!st_is(w->L, index)) {
        return err_why(w->why, ERR_INVALID, "a userdata is not data");
    }
    struct proxy *p = lua_touserdata(w->L, index);
    size_t start = w->out->size;
    enum err e = st_tree_encode(&p->st->tree, p->place.path, w->end_bytes_max - start, w->out);
    if (e == ERR_NOT_FOUND) {
        return err_why(w->why, ERR_INVALID, "a table is no longer part of st");
    }
    if (e != ERR_OK) {
        return err_why(w->why, e, "the value is too large");
    }
    struct bytes written = bytes_of(w->out->data + start, w->out->size - start);
    if (w->depth + depth_of(written) > VALUE_DEPTH_MAX) {
        return err_why(w->why, ERR_INVALID, "a table is nested too deep");
    }
    return ERR_OK;
}

/* Encode the value at index for a place below p. */
static struct bytes encode(lua_State *L, struct proxy *p, int index)
{
    struct st *st = p->st;
    struct why why = {.text = ""};
    buffer_clear(&st->encoded);
    struct value_writer w = {
        .L = L,
        .out = &st->encoded,
        .end_bytes_max = STATE_VALUE_BYTES_MAX,
        .why = &why,
        .userdata = st_write,
        .depth = p->depth + 1,
    };
    if (p->depth >= VALUE_DEPTH_MAX) {
        luaL_error(L, "tables of st are nested at most %d deep", (int)VALUE_DEPTH_MAX);
    }
    enum err e = value_write(&w, index);
    if (e == ERR_TIMEOUT) {
        st_raise_exhausted(L);
    }
    if (e != ERR_OK && w.where[0] != 0) {
        luaL_error(L, "%s (at %s)", why.text, w.where);
    }
    if (e != ERR_OK) {
        luaL_error(L, "%s", why.text);
    }
    return buffer_bytes(&st->encoded);
}

static void raise_bad_key(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        luaL_error(L, "a key of st cannot be NaN");
    }
    luaL_error(L, "a key of st is an integer, a float or a string, not a %s",
               luaL_typename(L, index));
}

static int proxy_newindex(lua_State *L)
{
    struct proxy *p = check_proxy(L, 1);
    struct st *st = p->st;
    if (!st->writable) {
        return luaL_error(L, "a query cannot write to st");
    }
    struct value_key key;
    if (!value_key_get(L, 2, &key)) {
        raise_bad_key(L, 2);
    }
    struct bytes value = {0};
    if (!lua_isnil(L, 3)) {
        value = encode(L, p, 3);
    }
    switch (st_tree_set(&st->tree, &p->place, &key, value)) {
    case ERR_OK:
        return 0;
    case ERR_TIMEOUT:
        return st_raise_exhausted(L);
    case ERR_TOO_LARGE:
        return luaL_error(L, "the keys that lead to a value of st are %d bytes at most",
                          (int)STATE_KEY_BYTES_MAX);
    default:
        return raise_no_table(L);
    }
}

/* ---- iterating ----------------------------------------------------------------------------- */

/* Push key and value of the next element; false at the end (nothing pushed). */
static bool push_next(lua_State *L, struct proxy *p, struct st_from from)
{
    struct value_key key;
    struct st_node node;
    spend(L, p->st, SPEND_PER_ACCESS);
    if (!st_tree_next(&p->st->tree, &p->place, from, &key, &node)) {
        if (node.kind == ST_NO_TABLE) {
            raise_no_table(L);
        }
        return false;
    }
    value_key_push(L, &key);
    int key_index = lua_gettop(L);
    /* From here on the key's string is Lua's: pushing a table overwrites the scratch it may be in.
     */
    value_key_get(L, key_index, &key);
    push_node(L, p, &key, key_index, &node);
    return true;
}

static int next_pair(lua_State *L)
{
    struct proxy *p = check_proxy(L, 1);
    lua_settop(L, 2);
    struct value_key last;
    struct st_from from = {.key = NULL};
    if (!lua_isnil(L, 2)) {
        if (!value_key_get(L, 2, &last)) {
            raise_bad_key(L, 2);
        }
        from.key = &last;
    }
    if (!push_next(L, p, from)) {
        lua_pushnil(L);
        return 1;
    }
    return 2;
}

int st_pairs(lua_State *L)
{
    check_proxy(L, 1);
    lua_pushcfunction(L, next_pair);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* Upvalues: to (or nil), whether the first pair is still to come. */
static int next_in_range(lua_State *L)
{
    struct proxy *p = check_proxy(L, 1);
    lua_settop(L, 2);
    struct value_key last;
    if (!value_key_get(L, 2, &last)) {
        raise_bad_key(L, 2);
    }
    struct st_from from = {.key = &last, .inclusive = lua_toboolean(L, lua_upvalueindex(2))};
    if (from.inclusive) {
        lua_pushboolean(L, 0);
        lua_replace(L, lua_upvalueindex(2));
    }
    struct value_key key;
    struct value_key to;
    bool bounded = value_key_get(L, lua_upvalueindex(1), &to);
    if (!push_next(L, p, from) ||
        (bounded && value_key_get(L, -2, &key) && value_key_compare(&key, &to) >= 0)) {
        lua_pushnil(L);
        return 1;
    }
    return 2;
}

int st_range(lua_State *L)
{
    check_proxy(L, 1);
    lua_settop(L, 3);
    struct value_key key;
    if (!value_key_get(L, 2, &key)) {
        raise_bad_key(L, 2);
    }
    if (!lua_isnil(L, 3) && !value_key_get(L, 3, &key)) {
        raise_bad_key(L, 3);
    }
    lua_pushboolean(L, 1);
    lua_pushcclosure(L, next_in_range, 2); /* takes to and the flag */
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    return 3;
}

/* ---- life ---------------------------------------------------------------------------------- */

void st_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        {"__index", proxy_index},
        {"__newindex", proxy_newindex},
        {"__len", proxy_length},
        {"__eq", proxy_equal},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushliteral(L, "table of st");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &proxy_type);
}

struct st *st_new(struct state *state, struct meter *meter, struct bytes prefix)
{
    struct st *st = alloc_zeroed(1, sizeof *st + prefix.size);
    st->tree.state = state;
    st->tree.meter = meter;
    st->tree.root_bytes = prefix.size;
    st->root_ref = LUA_NOREF;
    st->children_ref = LUA_NOREF;
    st->prefix_bytes = prefix.size;
    memcpy(st->prefix, prefix.data, prefix.size);
    return st;
}

void st_attach(lua_State *L, struct st *st)
{
    push_proxy(L, st, bytes_of(st->prefix, st->prefix_bytes), 0);
    st->root_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    st->children_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void st_detach(lua_State *L, struct st *st)
{
    luaL_unref(L, LUA_REGISTRYINDEX, st->root_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, st->children_ref);
    st->root_ref = LUA_NOREF;
    st->children_ref = LUA_NOREF;
}

void st_free(struct st *st)
{
    if (st != NULL) {
        st_tree_close(&st->tree);
        buffer_close(&st->encoded);
        free(st);
    }
}

void st_push(lua_State *L, const struct st *st)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->root_ref);
}

void st_set_writable(struct st *st, bool writable)
{
    st->writable = writable;
}

void st_end(lua_State *L, struct st *st, bool changed)
{
    if (changed) {
        st->tree.epoch++;
    }
    if (st->children_count <= CHILDREN_KEPT_MAX) {
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->children_ref);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, -4);
    }
    lua_pop(L, 1);
    st->children_count = 0;
}
